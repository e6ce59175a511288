"""`bnrun plot` draws what a directory holds, into it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.show import pictures

Trained = tuple[Path, subprocess.CompletedProcess[str]]


def _plot(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["plot", *map(str, arguments)])
    return done.exit_code, done.output


def test_a_run_has_curves_and_gammas(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = trained
    shutil.copytree(folder / "runs", tmp_path / "runs")
    (run,) = (tmp_path / "runs").iterdir()
    monkeypatch.chdir(tmp_path)
    code, output = _plot()
    assert code == 0
    names = ["curves.svg", "curves.png", "gamma.svg", "gamma.png"]
    assert output.splitlines() == [f"runs/{run.name}/{name}" for name in names]
    for name in names:
        content = (run / name).read_bytes()
        assert content.startswith(b"<?xml" if name.endswith("svg") else b"\x89PNG")

    monkeypatch.setattr(
        pictures, "render", lambda figure: {"svg": b"", "png": b""}
    )  # a second each
    code, output = _plot(run.name[:8], "--json")
    assert code == 0
    assert json.loads(output)["files"] == [f"runs/{run.name}/{name}" for name in names]

    code, output = _plot("latest", "--checkpoint", 7)
    assert code == 2
    assert "has no checkpoint '7'" in output


def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = _plot()
    assert code == 2
    assert "`bnrun train` makes one" in output
