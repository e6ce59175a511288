"""Kernels enabled, where they can be compiled: for this machine, and for lower levels than its own.

A test that asks for `every_level` runs once with the kernels of each level that the machine can
run. They are compiled side by side, once for each state of the source.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock

from bnrun import kernels
from bnrun.errors import EngineError
from bnrun.kernels import build, dispatch

TESTED_LEVELS = ("native", "avx2", "sse4.2")


@pytest.fixture
def enabled(compilable: None) -> Iterator[None]:
    with kernels.enabled():
        yield


@pytest.fixture(scope="session")
def compiled_levels(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The levels that this machine can compile and run.

    One process of pytest-xdist compiles, while the others wait.
    """
    levels = [level for level in TESTED_LEVELS if level in build.runnable_levels()]
    lock = FileLock(tmp_path_factory.getbasetemp().parent / "kernels.lock")
    with contextlib.suppress(EngineError), lock, ThreadPoolExecutor() as pool:
        list(pool.map(build._load, levels))
    return tuple(levels)


@pytest.fixture(params=TESTED_LEVELS)
def every_level(
    request: pytest.FixtureRequest,
    compilable: None,
    compiled_levels: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Kernels enabled, compiled for one level."""
    if request.param not in compiled_levels:
        pytest.skip(f"this machine can't run {request.param}")
    monkeypatch.setenv(build.LEVEL_VARIABLE, request.param)
    dispatch._kernels.cache_clear()
    with kernels.enabled():
        yield
    dispatch._kernels.cache_clear()
