"""The kernels are compiled for a level of instructions, and say for which."""

import os
import shutil

import pytest
import torch

from bnrun import kernels
from bnrun.errors import EngineError
from bnrun.kernels import build, dispatch

FEATURES = {"avx2": ("AVX2", "FMA"), "sse4.2": ("SSE4.2",)}


@pytest.mark.usefixtures("every_level")
def test_a_level_has_no_more_than_its_name_says() -> None:
    found = kernels.describe_build()
    level = os.environ[build.LEVEL_VARIABLE]
    assert found.features == FEATURES.get(level, found.features)
    assert found.compiler.startswith(("GCC ", "Clang "))
    assert found.features


@pytest.mark.usefixtures("compilable")
def test_each_level_has_a_library_of_its_own() -> None:
    assert len({build._library_path(level) for level in build.LEVELS}) == len(build.LEVELS)


@pytest.mark.parametrize(
    ("name", "problem"), [("avx3", "is no level"), ("avx512", "this machine can't run")]
)
def test_a_level_that_cannot_be_run_is_refused_with_those_that_can(
    name: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_cpu_flags", lambda: frozenset({"avx2", "fma", "sse4_2"}))
    monkeypatch.setenv(build.LEVEL_VARIABLE, name)
    with pytest.raises(EngineError, match=rf"BNRUN_KERNELS names '{name}', which {problem}") as e:
        kernels.is_compiled()
    assert e.value.reason.endswith("Here: native, avx2, sse4.2.")


@pytest.mark.skipif(shutil.which("clang++") is None, reason="there is no clang++")
def test_clang_compiles_them_too_and_they_run_on_torchs_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "clang++")
    path = build._library_path.__wrapped__(build.NATIVE)
    monkeypatch.setattr(build, "_library_path", lambda level: path)
    library = build._load.__wrapped__(build.NATIVE)
    monkeypatch.setattr(build, "load", lambda: library)
    assert kernels.describe_build().compiler.startswith("Clang ")
    monkeypatch.setattr(dispatch, "load", lambda: library)
    monkeypatch.setattr(dispatch, "_kernels", dispatch._kernels.__wrapped__)
    x, weight, bias = torch.randn(3, 1, 28, 28), torch.randn(6, 1, 5, 5), torch.randn(6)
    with kernels.enabled():
        y = kernels.conv2d(x, weight, bias)
    torch.testing.assert_close(y, torch.nn.functional.conv2d(x, weight, bias))
