"""The trainings of a study: run directories that are made once and read again."""

import importlib
import os
from functools import partial
from pathlib import Path

import pytest

from bnrun.errors import DataError, RunError, TrainingFailed
from bnrun.events import Notice, Stage, drain
from bnrun.runs.study_directory import create_study
from bnrun.studies import exact
from bnrun.studies.study import plan
from bnrun.studies.trainings import trial

SMALL = {"data__name": "synthetic", "training__epochs": 1, "training__batch_size": 2048}

WILD = {"model__norm": "none", "model__activation": "relu", "optimizer__lr": 1e30}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return create_study(out, plan(exact.STUDY, "quick", "a machine"))


@pytest.fixture(scope="module")
def trained(directory):
    """The events and the summaries of two trials, of which one diverges."""
    events = []
    trials = [trial("a", 0, **SMALL), trial("b", 1, **SMALL, **WILD)]
    return events, drain(directory.laboratory().train(trials), events.append)


def test_each_trial_has_a_run_directory(directory, trained):
    _, summaries = trained
    assert {name: one.status for name, one in summaries.items()} == {
        "a-s0": "completed",
        "b-s1": "diverged",
    }
    assert sorted(path.name for path in (directory.path / "trials").iterdir()) == ["a-s0", "b-s1"]
    engines = {one.config["training"]["engine"] for one in summaries.values()}
    assert len(engines) == 1
    assert "auto" not in engines


def test_a_stage_names_the_trial_that_trains(trained):
    stages = [event for event in trained[0] if isinstance(event, Stage)]
    assert [(one.name, one.done, one.total) for one in stages] == [
        ("a-s0", 0, 2),
        ("a-s0", 0, 2),
        ("a-s0", 1, 2),
        ("b-s1", 1, 2),
        ("b-s1", 2, 2),
    ]


def test_a_finished_trial_is_read_and_not_trained_again(directory, trained):
    events = []
    again = drain(directory.laboratory().train([trial("a", 0, **SMALL)]), events.append)
    assert events == []
    assert again["a-s0"] == trained[1]["a-s0"]


def test_a_trial_of_another_config_is_refused(directory, trained):
    with pytest.raises(RunError, match=r"a-s0 is another training .* \(optimizer.lr differ\)"):
        drain(directory.laboratory().train([trial("a", 0, **SMALL, optimizer__lr=0.5)]))


def test_a_trial_that_fails_ends_the_study(directory, trained):
    with pytest.raises(TrainingFailed, match="c-s0: .* more than 1 value per channel"):
        drain(directory.laboratory().train([trial("c", 0, **{**SMALL, "training__batch_size": 1})]))


DATA = trial("a", 0, **SMALL).config.data


@pytest.fixture
def whats_with(monkeypatch):
    """What parts compute, in a module that the processes find: they inherit `sys.path`."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("study_parts").whats_with


def _computed(directory, whats_with, jobs, *words):
    events = []
    parts = {f"part {word}": partial(whats_with, word) for word in words}
    found = drain(directory.laboratory(jobs).compute(DATA, parts), events.append)
    if jobs > 1:  # each part warns, also where its process has warned before
        assert events.count(Notice("warning: mind this")) == len(words)
    return found, [(one.name, one.done, one.total) for one in events if isinstance(one, Stage)]


@pytest.mark.filterwarnings("ignore:mind this")
def test_parts_are_computed_one_after_another_in_this_process(directory, whats_with):
    found, stages = _computed(directory, whats_with, 1, "one", "two")
    assert found == [("one", 4_000, os.getpid()), ("two", 4_000, os.getpid())]
    assert stages == [("part one", 0, 2), ("part two", 1, 2)]


def test_parts_are_computed_side_by_side_and_come_back_in_their_order(directory, whats_with):
    found, stages = _computed(directory, whats_with, 2, "one", "two", "three")
    assert [one[:2] for one in found] == [("one", 4_000), ("two", 4_000), ("three", 4_000)]
    processes = {one[2] for one in found}
    assert os.getpid() not in processes
    assert len(processes) == 2
    finished = [done for _, done, _ in stages]  # how many when each part started or ended
    assert finished == sorted(finished)
    assert (finished[:2], finished[-1], len(finished)) == ([0, 0], 3, 6)
    assert {total for *_, total in stages} == {3}


def test_a_part_whose_process_ends_ends_the_study(directory, whats_with):
    with pytest.raises(TrainingFailed, match="part exits: its process ended with exit code 3"):
        _computed(directory, whats_with, 2, "one", "exits")


@pytest.mark.filterwarnings("ignore:mind this")
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_part_is_that_of_the_study(directory, whats_with, jobs):
    with pytest.raises(DataError, match="too few images"):
        _computed(directory, whats_with, jobs, "one", "raises")
