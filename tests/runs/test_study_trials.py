"""The trainings of a study: run directories that are made once and read again."""

import pytest

from bnrun.errors import RunError, TrainingFailed
from bnrun.events import Stage, drain
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
