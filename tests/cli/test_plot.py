"""`bnrun plot` draws what a directory holds, into it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.events import Probed
from bnrun.runs.metrics_file import MetricsFile
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
    MetricsFile(run).append(Probed("gradients", 0, {"fc1": {"rms": 0.5, "ratio": 0.25}}))
    names += ["probe-gradients.svg", "probe-gradients.png"]
    code, output = _plot(run.name[:8], "--json")
    assert code == 0
    assert json.loads(output)["files"] == [f"runs/{run.name}/{name}" for name in names]

    shown = CliRunner().invoke(app, ["runs", "show"]).output
    assert "gradients  rms       fc1      0.5     0.5   0.5" in shown
    document = json.loads(CliRunner().invoke(app, ["runs", "show", "--json"]).output)
    values = {"fc1": {"rms": 0.5, "ratio": 0.25}}
    assert document["probes"] == [{"probe": "gradients", "step": 0, "values": values}]

    code, output = _plot("latest", "--checkpoint", 7)
    assert code == 2
    assert "has no checkpoint '7'" in output


def test_what_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = _plot()
    assert code == 2
    assert "`bnrun train` makes one" in output
