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
from bnrun.events import Activity, DataUsed, EpochEnded, Notice, Progress, RunStarted, Stage
from bnrun.show.bars import fit
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


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass: a display then knows no time left."""
    monkeypatch.setattr("bnrun.show.bars.monotonic", lambda: 0.0)


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


def _bars(width: int) -> CompareBars:
    return CompareBars(Console(file=io.StringIO(), width=width, force_terminal=True))


def _shown(bars: CompareBars) -> list[str]:
    rows = [line.plain for line in fit(bars.rows(), bars.console.width)]
    assert all(len(row) < bars.console.width for row in rows)
    return rows


def test_a_row_follows_each_trial() -> None:
    bars = _bars(80)
    seen = []
    for event in EVENTS:
        bars.update(event)
        seen.append(_shown(bars))
    assert seen[0] == ["0/2 trials  ────────────────────────"]
    assert seen[1] == [
        "0/2 trials  ────────────────────────",
        "parity 0/1  ────────────────────────  --:-- left",
        "measuring parity",
    ]
    assert seen[4] == [
        "0/2 trials  ━━━─────────────────────  --:-- left",
        "scratch-s0  ━━━━━━──────────────────  loss 0.400  epoch  3/10  train 0.800",
    ]
    assert seen[7] == [
        "1/2 trials  ━━━━━━━━━━━━────────────  --:-- left",
        "scratch-s0  ━━━━━━━━━━━━━━━━━━━━━━━━  loss 0.264  epoch 10/10  ended",
    ]
    assert seen[-2] == [
        "2/2 trials        ━━━━━━━━━━━━━━━━━━━",
        "throughput  1/20  ━──────────────────  --:-- left",
        "measuring throughput",
    ]


def test_at_40_columns_loss_and_what_is_going_on_stay() -> None:
    bars = _bars(40)
    for event in (*EVENTS[:5], TrialEvent(TRIAL, Activity("evaluating"))):
        bars.update(event)
    assert _shown(bars) == ["0/2 trials  --:-- left", "scratch-s0  loss 0.400  evaluating"]


def test_a_trial_takes_the_row_of_one_that_ended_and_no_other_row_moves() -> None:
    bars, third = _bars(80), Trial("c", Config())
    bars.update(replace(EVENTS[0], trials=(TRIAL, OTHER, third)))
    for trial in (TRIAL, OTHER):
        bars.update(TrialEvent(trial, Activity("starting a process")))
    bars.update(TrialEnded(TRIAL, DONE))
    assert [row.split()[0] for row in _shown(bars)][1:] == ["scratch-s0", "b-s0"]
    bars.update(TrialEvent(third, Activity("starting a process")))
    assert [row.split()[0] for row in _shown(bars)][1:] == ["c-s0", "b-s0"]
    bars.update(TrialEnded(OTHER, LOST))
    assert [row.split()[0] for row in _shown(bars)] == ["2/3", "c-s0", "b-s0"]


def test_a_long_name_keeps_its_seed_and_its_loss() -> None:
    bars, trial = _bars(40), Trial("my_batch_normalization", Config())
    bars.update(replace(EVENTS[0], trials=(trial,)))
    bars.update(TrialEvent(trial, STARTED))
    bars.update(TrialEvent(trial, Progress(3, 8, 0.4, 0.8, 9e3)))
    assert _shown(bars)[1] == "my_batch…tion-s0  loss 0.400"


def test_what_ended_stands_above_the_rows() -> None:
    bars = _bars(80)
    with bars.lines:
        for event in EVENTS:
            bars.show(event)
    shown = bars.console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("[mind] this", "2/2 b-s0: diverged"):
        assert text in shown
    assert "Parity: " not in shown  # a remark of the result, which a terminal has below this


def test_time_left_of_throughput_does_not_count_starting_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, bars = 0.0, _bars(80)
    monkeypatch.setattr("bnrun.show.bars.monotonic", lambda: now)
    for event, seconds in (
        (Stage("throughput", 0, 10), 0),
        (Activity("starting a process for a"), 7),
        (Stage("throughput", 0, 10), 0),
        (Activity("starting a process for b"), 7),
        (Stage("throughput", 0, 10), 1),
        (Stage("throughput", 0, 10), 1),
        (Stage("throughput", 1, 10), 0),
    ):
        bars.update(event)
        now += seconds
    assert _shown(bars)[0].endswith("  00:18 left")
