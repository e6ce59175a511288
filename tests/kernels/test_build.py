"""The kernels are compiled once for a machine; where that can't be, it is told how it could."""

import contextlib
import subprocess
from pathlib import Path

import pytest

from bnrun import kernels
from bnrun.errors import EngineError
from bnrun.kernels import build


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is known yet of this machine, and the cache is empty."""
    with contextlib.suppress(EngineError):
        build.load()  # what `enabled` uses comes from the real cache, whichever test runs first
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path))
    for known in (build.load, build._place):
        monkeypatch.setattr(build, known.__name__, known.__wrapped__)


def test_they_are_compiled_once_and_kept(
    enabled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not kernels.is_compiled()
    build.load()
    assert kernels.is_compiled()
    (kept,) = (tmp_path / "kernels").iterdir()  # and nothing is left of compiling
    assert kept.suffix == ".so"

    def run(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(subprocess, "run", run)
    build.load()


def test_another_processor_has_another_library(
    enabled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = build._place()
    monkeypatch.setattr(build, "_processor", lambda: "another")
    assert build._place() != here


def test_without_a_compiler_it_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EngineError, match=r"no c\+\+\. On Debian and Ubuntu: apt install g\+\+"):
        kernels.is_compiled()


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "mine"
    compiler.write_text("#!/bin/sh\necho 'too old' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(EngineError, match=r"mine can't compile the kernels: too old\.$"):
        build.load()
    assert not kernels.is_compiled()
    assert list((tmp_path / "kernels").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(
    enabled: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BNRUN_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"can't be compiled into .*Not a directory.*BNRUN_CACHE"):
        build.load()


def test_on_other_systems_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.sys, "platform", "darwin")
    with pytest.raises(EngineError, match="on Linux alone"):
        kernels.is_compiled()


def test_outside_enabled_nothing_takes_them() -> None:
    import torch

    assert not kernels.take(torch.zeros(1))
