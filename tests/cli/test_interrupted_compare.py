"""A comparison that is interrupted goes on, and ends as the uninterrupted one."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import FEW_ROUNDS, NO_PICTURE

from bnrun.config import Config
from bnrun.data.load import load
from bnrun.events import EpochEnded, drain
from bnrun.training import train

pytestmark = pytest.mark.process

Run = Callable[..., subprocess.CompletedProcess[str]]

# Norms that train as `textbook` does, but wait once their trial has finished an epoch.
PAUSING = """
import os, time
from pathlib import Path
from bnrun.norms.textbook import TextbookBatchNorm

class Pausing(TextbookBatchNorm):
    def forward(self, X):
        checkpoints = Path("runs").glob(f"*/trials/{self.trial}/checkpoint.pt")
        if any(checkpoints) and not Path("go on").exists():
            part = Path(f"{self.trial} part")
            part.write_text(str(os.getpid()))
            part.rename(f"{self.trial} waits")
            while not Path("go on").exists():
                time.sleep(0.05)
        return super().forward(X)

class A(Pausing):
    trial = "a-s0"

class B(Pausing):
    trial = "b-s0"
"""

QUICK = FEW_ROUNDS + NO_PICTURE


@pytest.fixture
def arguments(tmp_path: Path, idx_root: Path) -> list[str]:
    """Arguments of a small comparison of one seed over three epochs, but for its arms."""
    (tmp_path / "mine.py").write_text(PAUSING)
    return [
        "--seeds", "1", "--epochs", "3", "--device", "cpu",
        "--set", f"data.root={idx_root}", "--set", "training.batch_size=32",
        "--set", "training.population_images=100", "--set", "training.engine=eager",
        "--no-throughput",
    ]  # fmt: skip


def test_ctrl_c_inside_a_trial_and_going_on_end_as_the_uninterrupted_one(
    start_bnrun: Callable[..., Any], bnrun: Run, tmp_path: Path, arguments: list[str]
) -> None:
    command = start_bnrun("compare", "textbook", "b=mine.py:B", *arguments, before=QUICK)
    _interrupt(command, tmp_path / "b-s0 waits")
    folder = _assert_interrupted(command, tmp_path, finished=1)
    assert _statuses(folder) == {"textbook-s0": "completed", "b-s0": "interrupted"}
    finished = folder / "trials" / "textbook-s0" / "metrics.jsonl"
    before = finished.read_bytes()

    (tmp_path / "go on").touch()
    resumed = bnrun("compare", "--json", "--resume", "latest", before=QUICK)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.startswith(
        f"resuming {folder.relative_to(tmp_path)} after 1 of 2 trials\n"
    )
    document = json.loads(resumed.stdout)
    assert finished.read_bytes() == before  # what was finished is not repeated
    assert [arm["n"] for arm in document["arms"]] == [1, 1]
    for arm in document["arms"]:
        assert [epoch["epoch"] for epoch in arm["trials"][0]["epochs"]] == [1, 2, 3]
    assert document["arms"][1]["trials"][0]["loss"] == _uninterrupted_loss(document)


def test_ctrl_c_ends_trials_side_by_side_in_order(
    start_bnrun: Callable[..., Any], tmp_path: Path, arguments: list[str]
) -> None:
    arms = ("a=mine.py:A", "b=mine.py:B")
    command = start_bnrun("compare", *arms, *arguments, "--jobs", 2)
    _interrupt(command, tmp_path / "a-s0 waits", tmp_path / "b-s0 waits")
    folder = _assert_interrupted(command, tmp_path, finished=0)
    assert _statuses(folder) == {"a-s0": "interrupted", "b-s0": "interrupted"}


def test_ctrl_c_that_a_script_in_the_background_ignores_changes_nothing(
    start_bnrun: Callable[..., Any], tmp_path: Path, arguments: list[str]
) -> None:
    arms = ("textbook", "b=mine.py:B")
    command = start_bnrun(
        "compare", *arms, *arguments, "--jobs", 2, "--json", before=QUICK, ignore_sigint=True
    )
    _interrupt(command, tmp_path / "b-s0 waits")
    (tmp_path / "go on").touch()
    done = command.wait(60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"


def _assert_interrupted(command: Any, folder: Path, finished: int) -> Path:
    """Assert that a command ends as an interrupted one, and return its comparison's directory."""
    done = command.wait(60)
    (path,) = (folder / "runs").iterdir()
    assert done.returncode == 130
    assert "Traceback" not in done.stdout + done.stderr
    assert f"continue with: bnrun compare --resume runs/{path.name}" in done.stderr
    assert f"\ninterrupted: {finished} of 2 trials are finished and kept; " in f"\n{done.stderr}"
    assert json.loads((path / "summary.json").read_text())["status"] == "interrupted"
    return path


def _statuses(folder: Path) -> dict[str, str]:
    """The status of each trial of a comparison."""
    return {
        path.parent.name: json.loads(path.read_text())["status"]
        for path in folder.glob("trials/*/summary.json")
    }


def _uninterrupted_loss(document: dict[str, Any]) -> float:
    """Train the second arm's trial in one go, here, and return its last loss."""
    config = Config.model_validate(document["arms"][1]["trials"][0]["config"])
    textbook = config.model.model_copy(update={"norm": "textbook"})
    config = config.model_copy(update={"model": textbook})
    dataset = drain(load(config.data), lambda event: None)
    ended = [e for e in train(config, dataset, torch.device("cpu")) if isinstance(e, EpochEnded)]
    return ended[-1].loss


def _interrupt(command: Any, *waiting: Path) -> None:
    """Send Ctrl-C to a command and its trials, as a terminal does, as soon as these files exist."""
    command.wait_until(lambda: all(path.exists() for path in waiting))
    trials = {int(path.read_text()) for path in waiting}  # a shared worker is not in the group
    for pid in {*trials, command.pid}:
        os.kill(pid, signal.SIGINT)
