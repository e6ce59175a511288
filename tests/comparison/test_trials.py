"""Trials one after another and side by side: one that fails takes no other with it."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.trials import TrainTrial, TrialFailed, run_trials
from bnrun.config import Config
from bnrun.errors import RunError
from bnrun.events import Activity, Notice
from bnrun.training_summary import planned


def _trials(*names: str) -> list[Trial]:
    return [Trial(name, Config()) for name in names]


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What trials do, in a module that the processes find: they inherit `sys.path`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("trial_acts")


def _messages(trials: list[Trial], jobs: int, act: TrainTrial) -> dict[str, list[str]]:
    """Each trial's notices, and what it ended with."""
    found: dict[str, list[str]] = {trial.arm: [] for trial in trials}
    for event in run_trials(trials, act, jobs):
        match event:
            case TrialEvent(event=Notice(message=message)):
                found[event.trial.arm].append(message)
            case TrialFailed(reason=reason):
                found[event.trial.arm].append(reason)
            case TrialEnded():
                found[event.trial.arm].append("ended")
    return found


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_trial_that_fails_does_not_end_the_rest(acts: ModuleType, jobs: int) -> None:
    found = _messages(_trials("raises", "well", "unbuildable"), jobs, acts.act)
    assert found["raises"][1:] == ["no more"]
    assert found["unbuildable"][1:] == ["no such norm"]
    assert found["well"][1:] == ["done", "ended"]


def test_one_job_trains_in_this_process_and_in_order(acts: ModuleType) -> None:
    a, b = _trials("a", "b")
    here = os.getpid()
    assert list(run_trials([a, b], acts.act)) == [
        TrialEvent(a, Notice(f"a in {here}")),
        TrialEvent(a, Notice("done")),
        TrialEnded(a, planned(a.config.to_dict())),
        TrialEvent(b, Notice(f"b in {here}")),
        TrialEvent(b, Notice("done")),
        TrialEnded(b, planned(b.config.to_dict())),
    ]


@pytest.mark.process
def test_a_process_that_dies_or_exits_is_one_failed_trial(acts: ModuleType) -> None:
    names = ("dies", "dies while sending", "exits", "vanishes")
    found = _messages(_trials(*names, "well"), 5, acts.act)
    for name in ("dies", "dies while sending"):
        assert found[name][1:] == ["its process was ended by signal 9 (SIGKILL)"]
    assert found["exits"][1:] == ["its process ended with exit code 3"]
    assert found["vanishes"][1:] == ["its process ended with exit code 0"]
    assert found["well"][1:] == ["done", "ended"]
    places = {found[name][0].split()[-1] for name in found}
    assert len(places) == 5
    assert str(os.getpid()) not in places


@pytest.mark.process
def test_a_process_trains_one_trial_after_another_and_a_lost_one_is_replaced(
    acts: ModuleType,
) -> None:
    found = _messages(_trials("dies", "a", "b", "c", "d"), 2, acts.act)
    places = {name: notices[0].split()[-1] for name, notices in found.items()}
    lost = places.pop("dies")
    assert all(found[name][1:] == ["done", "ended"] for name in places)
    assert lost not in places.values()
    assert len(set(places.values())) <= 2


@pytest.mark.process
def test_a_process_that_ran_a_users_code_trains_nothing_else(acts: ModuleType) -> None:
    users = Config().model_copy(
        update={"model": Config().model.model_copy(update={"norm": "mine.py:Norm"})}
    )
    trials = [Trial("mine", users), *_trials("a"), Trial("mine too", users), *_trials("b", "c")]
    found = _messages(trials, 2, acts.act)
    places = {name: notices[0].split()[-1] for name, notices in found.items()}
    own = [places.pop("mine"), places.pop("mine too")]
    assert len(set(own)) == 2
    assert not set(own) & set(places.values())
    assert all(found[name][1:] == ["done", "ended"] for name in found)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_would_end_every_trial_ends_them(acts: ModuleType, jobs: int) -> None:
    with pytest.raises(RunError, match="the disk is full"):
        _messages(_trials("full", "well"), jobs, acts.act)


@pytest.mark.process
def test_processes_are_asked_to_end_and_write_down_where_they_are(
    acts: ModuleType, tmp_path: Path
) -> None:
    trials = [Trial(name, Config(), str(tmp_path / name)) for name in ("a", "b")]
    events = run_trials(trials, acts.wait_for_end, jobs=2)
    seen = [next(events) for _ in range(4)]
    assert [event.event for event in seen if isinstance(event, TrialEvent)] == [
        *[Activity("starting a process")] * 2,
        *[Notice("started")] * 2,
    ]
    events.close()  # as Ctrl-C does
    assert [Path(str(trial.run)).read_text() for trial in trials] == ["ended in order"] * 2
