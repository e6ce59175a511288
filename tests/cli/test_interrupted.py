"""A real process, killed or interrupted, and gone on with to the same bits."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

ARGUMENTS = [
    "train", "--device", "cpu", "--norm", "textbook", "--epochs", "3", "--set",
    "data.name=synthetic", "--set",
    "optimizer={lr: 0.5, momentum: 0.9, nesterov: true, schedule: one-cycle}", "-q",
]  # fmt: skip

# Runs bnrun, and kills its own process, the hard way: at a step of the run, or when an event of
# an epoch is about to be recorded.
DYING = """
import os, signal, sys
from bnrun.cli import app
from bnrun.runs import Run
from bnrun.training import steps

what, number, *arguments = sys.argv[1:]
train_step, record, taken = steps.train_step, Run.record, 0

def dying_step(*args):
    global taken
    taken += 1
    if (what, int(number)) == ("step", taken):
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(*args)

def dying_record(run, event):
    if (what, int(number)) == (type(event).__name__, getattr(event, "epoch", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    record(run, event)

steps.train_step, Run.record = dying_step, dying_record
app(arguments)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run([sys.executable, "-m", "bnrun", *ARGUMENTS], cwd=folder, check=True)
    return _run_in(folder)


def _run_in(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def _assert_same_end(run: Path, whole: Path) -> None:
    ended, expected = (
        torch.load(path / "checkpoint.pt", weights_only=True) for path in (run, whole)
    )
    for part in ("model", "attributes", "optimizer", "rng"):
        _assert_same(ended[part], expected[part])
    for a, b in zip(_epochs(run), _epochs(whole), strict=True):
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
    ("what", "number", "kept"),
    [
        pytest.param("step", 3, 0, id="inside epoch 1"),
        pytest.param("step", 16 + 7, 1, id="inside epoch 2"),
        pytest.param("EpochEnded", 2, 2, id="between the checkpoint and the metrics of epoch 2"),
        pytest.param("step", 32 + 1, 2, id="between epochs 2 and 3"),
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(
    tmp_path: Path, whole: Path, what: str, number: int, kept: int
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", DYING, what, str(number), *ARGUMENTS], cwd=tmp_path
    )
    assert killed.returncode == -signal.SIGKILL
    run = _run_in(tmp_path)
    if kept:
        state = torch.load(run / "checkpoint.pt", weights_only=True)
        assert len(state["epochs"]) == kept
    else:
        assert not (run / "checkpoint.pt").exists()
    assert not (run / "summary.json").exists()

    subprocess.run(
        [sys.executable, "-m", "bnrun", "train", "--resume", run.name, "-q"],
        cwd=tmp_path,
        check=True,
    )
    _assert_same_end(run, whole)


def test_ctrl_c_keeps_what_was_finished_and_says_how_to_go_on(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bnrun", "train", "--set", "data.name=synthetic", "--epochs", "500"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run started in a script's background has Ctrl-C ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        _wait_for(tmp_path, epochs=2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    run = _run_in(tmp_path)

    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert f"go on with: bnrun train --resume runs/{run.name}" in err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "interrupted"
    assert len(summary["epochs"]) >= 2
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    assert [epoch["loss"] for epoch in state["epochs"]] == [e["loss"] for e in summary["epochs"]]
    assert len(_epochs(run)) == len(summary["epochs"])


def test_ctrl_c_while_loading_ends_with_130_and_leaves_nothing(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from bnrun.data import load\n"
        "load.synthetic = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "from bnrun.cli import app\n"
        "app(['train', '--set', 'data.name=synthetic'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def _wait_for(folder: Path, epochs: int) -> None:
    """Wait until a run below a folder has finished some epochs."""
    for _ in range(600):
        for metrics in folder.glob("runs/*/metrics.jsonl"):
            if metrics.read_text().count('"epoch_ended"') >= epochs:
                return
        time.sleep(0.1)
    raise AssertionError("the run never got there")
