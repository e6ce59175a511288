"""A trial that is trained elsewhere comes back as if it had been trained here."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.cluster import TaskContext, Unwanted
from bnrun.comparison.comparison_events import Trial
from bnrun.comparison.plan import make_plan
from bnrun.config import parse_override
from bnrun.errors import RunError
from bnrun.events import (
    Activity,
    DataUsed,
    EpochEnded,
    Notice,
    Probed,
    Progress,
    RunEnded,
    RunStarted,
    drain,
)
from bnrun.runs import trial_parcel
from bnrun.runs.checkpoint_files import read_last_checkpoint
from bnrun.runs.comparison_directory import create_comparison
from bnrun.runs.run_records import read_run
from bnrun.runs.trial_directory import train_trial
from bnrun.runs.trial_parcel import event_from_dict, event_to_dict, pack, train_parcel, unpack

HALF = """
from torch import nn

class Half(nn.Identity):
    def forward(self, X):
        return X / 2
"""
STUCK = "import time\n" + HALF.replace("return X / 2", "time.sleep(60)")

Make = Callable[..., tuple[Trial, ...]]


@pytest.fixture
def trials_of(tmp_path: Path, idx_root: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the trials of a new comparison, of `none` and of the norm in a user's file."""
    monkeypatch.chdir(tmp_path)
    settings = [
        f"data.root={idx_root}", "training.device=cpu", "training.batch_size=100",
        "training.epochs=2", "training.engine=eager", "training.population_images=50",
    ]  # fmt: skip
    overrides = [a for text in settings for a in parse_override(text)]

    def make(out: str, source: str = HALF) -> tuple[Trial, ...]:
        Path("mine.py").write_text(source)
        plan = make_plan(build_arms(["none", "mine=mine.py:Half"], None, overrides), seeds=1)
        with create_comparison(Path(out), plan) as directory:
            return tuple(directory.unfinished_trials())

    return make


class FakeWorker:
    """A worker of Dask, as far as a task looks at it."""

    address = "tcp://10.0.0.7:4000"

    def __init__(self, status: str = "running") -> None:
        self.said: list[dict[str, Any]] = []
        self.status = SimpleNamespace(name=status)
        self.state = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})

    def get_current_task(self) -> str:
        return "key"

    def log_event(self, topic: str, message: dict[str, Any]) -> None:
        self.said.append(message)


def _elsewhere(trial: Trial, worker: FakeWorker | None = None) -> dict[str, Any]:
    """Train a trial as a worker does, and return what it sends back."""
    parcel = pack(trial, torch.get_num_threads())
    return train_parcel(parcel, TaskContext(worker or FakeWorker(), "topic", trial.name))


def test_an_event_crosses_as_plain_values() -> None:
    epoch = EpochEnded(1, 0.5, 0.8, 0.7, None, 1e4, None, 2.0)
    data = DataUsed("fashion-mnist", "here", True, 60_000, 0, 10_000)
    for event in (
        RunStarted("none", "cpu", "a CPU", 0, 2, 6, data, finished=(epoch,)),
        Progress(1, 3, 0.5, 0.8, None),
        epoch,
        Probed("gradients", 3, {"norm1": {"mean": 1.0}}),
        Notice("read this"),
        Activity("evaluating"),
        RunEnded("completed", 1e4, None),
    ):
        assert event_from_dict(json.loads(json.dumps(event_to_dict(event)))) == event


def test_a_trial_that_was_elsewhere_is_the_one_that_was_here(trials_of: Make) -> None:
    here = {trial.name: drain(train_trial(trial)) for trial in trials_of("here")}
    none, mine = trials_of("there")
    with closing(train_trial(none)) as events:  # interrupted here: it continues there
        assert any(isinstance(event, EpochEnded) for event in events)
    Path("mine.py").unlink()  # which no worker has: the copy travels
    for trial in (none, mine):
        worker = FakeWorker()
        returned = _elsewhere(trial, worker)
        assert returned["failure"] is None
        unpack(trial, returned["files"], worker.address)

        record, expected = read_run(Path(str(trial.run))), here[trial.name]
        assert record.status == "completed"
        assert record.environment["worker"] == worker.address
        assert record.environment["threads"] == torch.get_num_threads()
        figures = [(one.loss, one.train_acc, one.test_acc) for one in expected.epochs]
        assert [(one.loss, one.train_acc, one.test_acc) for one in record.summary.epochs] == figures
        assert _weights(trial.run) == _weights(expected.run)
        assert json.loads((record.path / "summary.json").read_text())["run"] == trial.run

        kinds = [message["fields"]["event"] for message in worker.said]
        assert kinds.count("EpochEnded") == (1 if trial is none else 2)
        assert "Notice" not in kinds
    assert sorted(path.name for path in Path(str(mine.run)).iterdir() if path.name[0] != ".") == [
        "checkpoint.pt", "config.yaml", "environment.json", "metrics.jsonl", "norm", "summary.json",
    ]  # fmt: skip


def _weights(run: str | None) -> dict[str, list[Any]]:
    checkpoint = read_last_checkpoint(Path(str(run)))
    assert checkpoint is not None
    return {name: tensor.tolist() for name, tensor in checkpoint["model"].items()}


def test_a_trial_that_fails_elsewhere_fails_here(trials_of: Make) -> None:
    _, mine = trials_of("raises", HALF.replace("X / 2", "X.view(0)"))
    returned = _elsewhere(mine)
    unpack(mine, returned["files"], "a worker")
    summary = read_run(Path(str(mine.run))).summary
    assert (returned["failure"], summary.status) == (None, "failed")
    assert "shape '[0]' is invalid" in str(summary.reason)

    _, mine = trials_of("dies", "import os\nos.abort()")
    assert _elsewhere(mine)["failure"] == "its process was ended by signal 6 (SIGABRT)"


def test_a_trial_that_nobody_waits_for_is_ended(
    trials_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_parcel, "POLL_SECONDS", 0.01)
    _, mine = trials_of("stuck", STUCK)
    with pytest.raises(Unwanted):
        _elsewhere(mine, FakeWorker(status="closing"))


def test_what_comes_back_is_written_inside_the_run_directory_only(trials_of: Make) -> None:
    none, _ = trials_of("runs")
    for name in ("../stray", "/stray", "norm/../../stray"):
        with pytest.raises(RunError, match="outside of its folder"):
            unpack(none, {"config.yaml": b"", name: b""}, "a worker")
    assert not Path(str(none.run)).exists()
