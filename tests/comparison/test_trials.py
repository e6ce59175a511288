"""Trials one after another and side by side: one that fails takes no other with it."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

from bnrun.comparison.trials import Start, Trial, TrialFailed, run_trials
from bnrun.config import Config
from bnrun.errors import RunError
from bnrun.events import Notice, RunEnded

ENDED = RunEnded("completed", None, None)


def _trials(*names: str) -> list[Trial]:
    return [Trial(name, Config()) for name in names]


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What trials do, in a module that the processes find: they inherit `sys.path`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("trial_acts")


def _told(trials: list[Trial], jobs: int, start: Start) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {trial.arm: [] for trial in trials}
    for trial, event in run_trials(trials, start, jobs):
        if event == ENDED:
            continue
        assert isinstance(event, TrialFailed | Notice)
        text = event.reason if isinstance(event, TrialFailed) else event.message
        told[trial.arm].append(text)
    return told


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_that_fails_does_not_end_the_rest(acts: ModuleType, jobs: int) -> None:
    told = _told(_trials("raises", "well", "unbuildable"), jobs, acts.act)
    assert told["raises"][1:] == ["no more"]
    assert told["unbuildable"][1:] == ["no such norm"]
    assert told["well"][1:] == ["done"]


def test_one_job_trains_in_this_process_and_in_order(acts: ModuleType) -> None:
    told = [(t.arm, e) for t, e in run_trials(_trials("a", "b"), acts.act)]
    here = os.getpid()
    assert told == [
        ("a", Notice(f"a in {here}")), ("a", Notice("done")), ("a", ENDED),
        ("b", Notice(f"b in {here}")), ("b", Notice("done")), ("b", ENDED),
    ]  # fmt: skip


def test_a_process_that_dies_or_exits_is_one_failed_trial(acts: ModuleType) -> None:
    told = _told(_trials("dies", "exits", "vanishes", "well"), 4, acts.act)
    assert told["dies"][1:] == ["its process was ended by signal 9 (SIGKILL)"]
    assert told["exits"][1:] == ["its process ended with exit code 3"]
    assert told["vanishes"][1:] == ["its process ended with exit code 0"]
    assert told["well"][1:] == ["done"]
    places = {told[name][0].split()[-1] for name in told}
    assert len(places) == 4
    assert str(os.getpid()) not in places


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_would_end_every_trial_ends_them(acts: ModuleType, jobs: int) -> None:
    with pytest.raises(RunError, match="the disk is full"):
        _told(_trials("full", "well"), jobs, acts.act)


def test_processes_are_asked_to_end_and_write_down_where_they_are(
    acts: ModuleType, tmp_path: Path
) -> None:
    trials = [Trial(name, Config(), str(tmp_path / name)) for name in ("a", "b")]
    events = run_trials(trials, acts.wait_for_end, jobs=2)
    for _ in trials:
        assert next(events)[1] == Notice("begun")
    events.close()  # as Ctrl-C does
    assert [Path(str(trial.run)).read_text() for trial in trials] == ["ended in order"] * 2
