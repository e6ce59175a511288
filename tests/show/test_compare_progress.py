"""A comparison at work: a line, or a bar, for each trial."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bnrun.comparison.comparison_events import (
    CompareStarted,
    ThroughputFailed,
    Trial,
    TrialEnded,
    TrialEvent,
)
from bnrun.comparison.parity_verdict import Agreement, Parity
from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded, Notice, Progress, RunStarted, Stage
from bnrun.show.compare_progress import CompareBars, CompareLines
from bnrun.training_summary import Summary

DATA = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
TRIAL, OTHER = Trial("scratch", Config()), Trial("b", Config())
EPOCH = EpochEnded(10, 0.264, 0.902, 0.725, None, 1e4, 1e4, 3.0, 0.861)
DONE = Summary(Config().to_dict(), "scratch", "cpu", "CPU", 0, DATA, (EPOCH,), "completed")
LOST = replace(DONE, status="diverged", reason="the loss became nan")
STARTED = RunStarted("scratch", "cpu", "CPU", 0, 10, 16, DATA)
EVENTS = (
    CompareStarted((TRIAL, OTHER), "compiled", "a step takes 1 ms compiled, 3 ms eager"),
    Stage("parity", 0, 1),
    Parity("scratch", "b", Agreement(("eager", "eager"), "float64", 30, *(1e-13,) * 4)),
    TrialEvent(TRIAL, STARTED),
    TrialEvent(TRIAL, Progress(3, 8, 0.4, 0.8, 9e3)),
    TrialEvent(TRIAL, Notice("[mind] this")),
    TrialEvent(TRIAL, EPOCH),
    TrialEnded(TRIAL, DONE),
    TrialEnded(OTHER, LOST),
    Stage("throughput", 0, 20),
    Stage("throughput", 1, 20),
    ThroughputFailed("b raised"),
)


def test_lines_tell_each_trial_that_ended() -> None:
    console = Console(file=io.StringIO(), width=80)
    screen = CompareLines(console)
    for event in EVENTS:
        screen.show(event)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "engine of all trials: compiled (a step takes 1 ms compiled, 3 ms eager)",
        "measuring parity",
        "Parity: scratch and b are the same function, to rounding: they agree to 1e-13 over 30 "
        "steps, eager, float64.",
        "scratch-s0: [mind] this",
        "1/2 scratch-s0: loss 0.264  train acc 0.902  test acc 0.725 (population 0.861)",
        "2/2 b-s0: diverged: the loss became nan",
        "measuring throughput",
        "throughput was not measured: b raised",
    ]


@pytest.fixture
def bars() -> CompareBars:
    return CompareBars(Console(file=io.StringIO(), width=80, force_terminal=True))


def _tasks(bars: CompareBars) -> dict[str, tuple[float, float | None, str]]:
    return {
        task.description: (task.completed, task.total, task.fields["figures"])
        for task in bars.progress.tasks
    }


def test_a_bar_follows_each_trial_and_goes_when_it_ends(bars: CompareBars) -> None:
    for event in EVENTS[:5]:
        bars.show(event)
    assert _tasks(bars) == {
        "trial 1/2": (2.5, 20, ""),
        "scratch-s0 epoch 3/10": (40, 160, "loss 0.400  train 0.800"),
    }
    bars.show(TrialEvent(OTHER, replace(STARTED, finished=(EPOCH,) * 4)))  # continued
    assert _tasks(bars)["b-s0 epoch 5/10"] == (64, 160, "")
    bars.show(TrialEnded(TRIAL, DONE))
    assert set(_tasks(bars)) == {"trial 2/2", "b-s0 epoch 5/10"}
    bars.show(TrialEnded(OTHER, LOST))
    bars.show(Stage("throughput", 5, 20))
    assert _tasks(bars)["measuring throughput"] == (5, 20, "")
    assert set(_tasks(bars)) == {"measuring throughput"}


def test_what_ended_stands_above_the_bars(bars: CompareBars) -> None:
    for event in EVENTS:
        bars.show(event)
    shown = bars.progress.console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("Parity: scratch and b", "[mind] this", "2/2 b-s0: diverged"):
        assert text in shown
