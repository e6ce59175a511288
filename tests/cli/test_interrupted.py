"""A training that is killed or interrupted goes on to the same bits."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.process

Run = Callable[..., subprocess.CompletedProcess[str]]


# Sends bnrun's own process a signal: before a step of the run, or when an event of an epoch is
# about to be recorded.
SIGNAL = """
import os
from bnrun.runs import Run
from bnrun.training.stepper import Stepper

KIND, NUMBER, SIGNAL = {kind!r}, {number}, {signal}
take, record, steps_taken = Stepper.take, Run.record, 0

def signal_at_step(*args):
    global steps_taken
    steps_taken += 1
    if (KIND, NUMBER) == ("step", steps_taken):
        os.kill(os.getpid(), SIGNAL)
    return take(*args)

def signal_at_event(run, event):
    if (KIND, NUMBER) == (type(event).__name__, getattr(event, "epoch", 0)):
        os.kill(os.getpid(), SIGNAL)
    record(run, event)

Stepper.take, Run.record = signal_at_step, signal_at_event
"""

# Sends SIGINT when torch would be imported, with what trains; an empty module stands for both.
INTERRUPT_IMPORT = """
import importlib.machinery, os, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == "bnrun.training":
            os.kill(os.getpid(), signal.SIGINT)
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        pass
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Interrupt())
"""

# Sends SIGINT when bnrun would import its first module.
INTERRUPT_START = INTERRUPT_IMPORT.replace("bnrun.training", "bnrun.show")

# Sends SIGINT when the data would be loaded.
INTERRUPT_DATA = """
import os, signal
from bnrun.data import load
load.synthetic = lambda: os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture(scope="module")
def arguments(idx_root: Path) -> list[str]:
    """Arguments of a small training: three epochs of ten steps, the last of 12 images."""
    return [
        "train", "--device", "cpu", "--norm", "textbook", "--epochs", "3", "-q",
        "--set", f"data.root={idx_root}", "--set", "training.batch_size=32",
        "--set", "optimizer={lr: 0.5, momentum: 0.9, nesterov: true, schedule: one-cycle}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(
    bnrun_in: Run, arguments: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = bnrun_in(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return _run_in(folder)


def _run_in(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def _assert_same_end(run: Path, uninterrupted: Path) -> None:
    ended, expected = (
        torch.load(path / "checkpoint.pt", weights_only=True) for path in (run, uninterrupted)
    )
    for part in ("model", "attributes", "optimizer", "rng"):
        _assert_same(ended[part], expected[part])
    for a, b in zip(_epochs(run), _epochs(uninterrupted), strict=True):
        assert {key: a[key] for key in METRICS} == {key: b[key] for key in METRICS}


METRICS = ("epoch", "loss", "train_acc", "test_acc")


def _epochs(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run, which its metrics and its summary must agree on."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if line["event"] == "epoch_ended"]
    epochs: list[dict[str, Any]] = json.loads((run / "summary.json").read_text())["epochs"]
    assert [line["loss"] for line in logged] == [epoch["loss"] for epoch in epochs]
    return epochs


def _assert_same(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _assert_same(a[key], b[key])
    elif isinstance(a, list):
        for inner_a, inner_b in zip(a, b, strict=True):
            _assert_same(inner_a, inner_b)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize(
    ("kind", "number", "epochs"),
    [
        pytest.param("step", 3, 0, id="inside epoch 1"),
        pytest.param("step", 10 + 5, 1, id="inside epoch 2"),
        pytest.param("EpochEnded", 2, 2, id="between the checkpoint and the metrics of epoch 2"),
        pytest.param("step", 20 + 1, 2, id="between epochs 2 and 3"),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    bnrun: Run,
    tmp_path: Path,
    arguments: list[str],
    uninterrupted: Path,
    kind: str,
    number: int,
    epochs: int,
) -> None:
    kill = SIGNAL.format(kind=kind, number=number, signal=int(signal.SIGKILL))
    assert bnrun(*arguments, before=kill).returncode == -signal.SIGKILL
    run = _run_in(tmp_path)
    if epochs:
        state = torch.load(run / "checkpoint.pt", weights_only=True)
        assert len(state["epochs"]) == epochs
    else:
        assert not (run / "checkpoint.pt").exists()
    assert not (run / "summary.json").exists()

    resumed = bnrun("train", "--resume", run.name, "-q")
    assert resumed.returncode == 0, resumed.stderr
    _assert_same_end(run, uninterrupted)


def test_ctrl_c_keeps_what_was_finished_and_says_how_to_go_on(
    start_bnrun: Callable[..., Any], tmp_path: Path, arguments: list[str]
) -> None:
    endless = ("--epochs", 100_000, "--set", "training.engine=eager")
    command = start_bnrun(*arguments, *endless)
    command.wait_until(lambda: _epochs_recorded(tmp_path) >= 2)
    command.send_signal(signal.SIGINT)
    done = command.wait(30)
    run = _run_in(tmp_path)

    assert done.returncode == 130
    assert "Traceback" not in done.stdout + done.stderr
    summary = json.loads((run / "summary.json").read_text())
    assert done.stderr.splitlines()[-1] == (
        f"interrupted: {len(summary['epochs'])} of 100000 epochs are finished and kept; "
        f"continue with: bnrun train --resume runs/{run.name}"
    )
    assert summary["status"] == "interrupted"
    assert len(summary["epochs"]) >= 2
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert [epoch["loss"] for epoch in state["epochs"]] == [e["loss"] for e in summary["epochs"]]
    assert len(_epochs(run)) == len(summary["epochs"])


def test_ctrl_c_that_a_script_in_the_background_ignores_changes_nothing(
    bnrun: Run, tmp_path: Path, arguments: list[str], uninterrupted: Path
) -> None:
    interrupt = SIGNAL.format(kind="step", number=20, signal=int(signal.SIGINT))
    done = bnrun(*arguments, before=interrupt, ignore_sigint=True)
    assert (done.returncode, done.stderr) == (0, "")
    _assert_same_end(_run_in(tmp_path), uninterrupted)


@pytest.mark.parametrize(
    ("before", "fresh"),
    [
        pytest.param(INTERRUPT_IMPORT, True, id="torch"),
        pytest.param(INTERRUPT_START, True, id="bnrun"),
        pytest.param(INTERRUPT_DATA, False, id="data"),
    ],
)
def test_ctrl_c_while_loading_ends_with_130_and_leaves_nothing(
    bnrun: Run, tmp_path: Path, before: str, fresh: bool
) -> None:
    done = bnrun("train", "--set", "data.name=synthetic", before=before, fresh=fresh)
    words = "interrupted: nothing was kept; run the command again to start over.\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", words)
    assert list(tmp_path.iterdir()) == []


def _epochs_recorded(folder: Path) -> int:
    """How many epochs a run below a folder has recorded so far."""
    files = folder.glob("runs/*/metrics.jsonl")
    return sum(file.read_text().count('"epoch_ended"') for file in files)
