"""Trials one after another and side by side: one that fails takes no other with it."""

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from bnrun.config import Config
from bnrun.errors import NormError, RunError, TrainingFailed
from bnrun.events import Event, Notice, RunEnded
from bnrun.experiments.trials import Start, Trial, TrialFailed, run_trials

ENDED = RunEnded("completed", None, None)


def _trials(*names: str) -> list[Trial]:
    return [Trial(name, Config()) for name in names]


# What a trial does is its name. At the top of the module, for other processes to import it.
def act(trial: Trial) -> Generator[Event, None, None]:
    yield Notice(f"{trial.arm} in {os.getpid()}")
    match trial.arm:
        case "raises":
            raise TrainingFailed("no more")
        case "unbuildable":
            raise NormError("no such norm")
        case "full":
            raise RunError("the disk is full")
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)
        case "vanishes":
            os._exit(0)
    yield Notice("done")
    yield ENDED


def wait_for_end(trial: Trial) -> Generator[Event, None, None]:
    """Say that it has begun, wait, and leave a file when it is asked to end."""
    assert trial.run is not None
    try:
        yield Notice("begun")
        time.sleep(60)
    finally:
        Path(trial.run).write_text("ended in order")


def _told(trials: list[Trial], jobs: int, start: Start = act) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {trial.arm: [] for trial in trials}
    for trial, event in run_trials(trials, start, jobs):
        if event == ENDED:
            continue
        assert isinstance(event, TrialFailed | Notice)
        text = event.reason if isinstance(event, TrialFailed) else event.message
        told[trial.arm].append(text)
    return told


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_that_fails_does_not_end_the_rest(jobs: int) -> None:
    told = _told(_trials("raises", "well", "unbuildable"), jobs)
    assert told["raises"][1:] == ["no more"]
    assert told["unbuildable"][1:] == ["no such norm"]
    assert told["well"][1:] == ["done"]


def test_one_job_trains_in_this_process_and_in_order() -> None:
    told = [(t.arm, e) for t, e in run_trials(_trials("a", "b"), act)]
    here = os.getpid()
    assert told == [
        ("a", Notice(f"a in {here}")), ("a", Notice("done")), ("a", ENDED),
        ("b", Notice(f"b in {here}")), ("b", Notice("done")), ("b", ENDED),
    ]  # fmt: skip


def test_a_process_that_dies_or_exits_is_one_failed_trial() -> None:
    told = _told(_trials("dies", "exits", "vanishes", "well"), jobs=4)
    assert told["dies"][1:] == ["its process was ended by signal 9 (SIGKILL)"]
    assert told["exits"][1:] == ["its process ended with exit code 3"]
    assert told["vanishes"][1:] == ["its process ended with exit code 0"]
    assert told["well"][1:] == ["done"]
    places = {told[name][0].split()[-1] for name in told}
    assert len(places) == 4
    assert str(os.getpid()) not in places


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_would_end_every_trial_ends_them(jobs: int) -> None:
    with pytest.raises(RunError, match="the disk is full"):
        _told(_trials("full", "well"), jobs)


def test_processes_are_asked_to_end_and_write_down_where_they_are(tmp_path: Path) -> None:
    trials = [Trial(name, Config(), str(tmp_path / name)) for name in ("a", "b")]
    events = run_trials(trials, wait_for_end, jobs=2)
    for _ in trials:
        assert next(events)[1] == Notice("begun")
    events.close()  # as Ctrl-C does
    assert [Path(str(trial.run)).read_text() for trial in trials] == ["ended in order"] * 2
