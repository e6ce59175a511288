"""A comparison's directory: a plan, trials, a result; and all that is needed to go on."""

import json
from pathlib import Path

import pytest

from bnrun.comparison.arms import build_arms
from bnrun.comparison.experiment import TrialEnded
from bnrun.comparison.outcome import Arm, Parity, Speeds, Throughput
from bnrun.config import Config
from bnrun.errors import ConfigError, RunError
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted
from bnrun.runs.comparison_directory import (
    ComparisonFolder,
    create_comparison,
    open_trial,
    read_comparison,
    reopen_comparison,
)

DATA = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
PARITY = Parity("scratch", "max", "float64", 30, 1e-3, 1e-3, 1e-3, 1e-3)
ONE = Throughput("scratch", "scratch", 1e4, 1.0, (0.9, 1.1))


@pytest.fixture
def arms() -> tuple[Arm, ...]:
    return build_arms(["scratch", "max=scratch,model.pool=max"], None)


@pytest.fixture
def folder(tmp_path: Path, arms: tuple[Arm, ...]) -> ComparisonFolder:
    return create_comparison(tmp_path, arms, range(3, 5))


def _train(folder: ComparisonFolder, number: int, status: str, epochs: int = 1) -> None:
    """Write the run directory of an unfinished trial as training does, and count it."""
    trial = folder.unfinished()[number]
    run, checkpoint = open_trial(trial)
    assert checkpoint is None
    seed = trial.config.training.seed
    with run:
        run.record(RunStarted("scratch", "cpu", "CPU", seed, epochs, 16, DATA))
        for epoch in range(1, epochs + 1):
            run.record(EpochEnded(epoch, 0.5, 0.8, 0.7, None, 9e3, 9e3, 1.0, 0.75))
        if status != "interrupted":
            run.record(RunEnded(status, 9e3, 9e3))  # type: ignore[arg-type]
    assert run.summary is not None
    if status != "interrupted":
        folder.record(TrialEnded(trial, run.summary))


def test_it_is_named_after_the_moment_and_its_arms(folder: ComparisonFolder) -> None:
    assert folder.path.name.endswith("Z-compare-scratch-max")
    assert folder.comparison.run == str(folder.path)


def test_a_seed_is_trained_by_all_arms_before_the_next(folder: ComparisonFolder) -> None:
    trials = folder.unfinished()
    assert [trial.name for trial in trials] == ["scratch-s3", "max-s3", "scratch-s4", "max-s4"]
    assert [trial.config.training.seed for trial in trials] == [3, 3, 4, 4]
    assert trials[1].config.model.pool == "max"
    assert trials[0].run == str(folder.path / "trials" / "scratch-s3")


def test_what_is_reopened_is_what_was_left(folder: ComparisonFolder, arms: tuple[Arm, ...]) -> None:
    with pytest.raises(KeyboardInterrupt), folder:
        folder.record(PARITY)
        _train(folder, 0, "completed")
        _train(folder, 0, "interrupted")  # max-s3
        raise KeyboardInterrupt
    again = reopen_comparison(folder.path)
    assert tuple(result.arm for result in again.comparison.arms) == arms
    assert again.comparison.seeds == (3, 4)
    assert again.comparison.parity == (PARITY,)
    assert [trial.name for trial in again.unfinished()] == ["max-s3", "scratch-s4", "max-s4"]
    (done,) = again.comparison.arms[0].completed
    assert (done.seed, done.epochs[0].test_acc_population) == (3, 0.75)
    assert json.loads((folder.path / "summary.json").read_text())["status"] == "interrupted"


def test_a_diverged_trial_is_finished_and_a_failed_one_is_tried_again(
    folder: ComparisonFolder,
) -> None:
    _train(folder, 0, "diverged")
    _train(folder, 0, "failed")
    assert [trial.name for trial in folder.unfinished()] == ["max-s3", "scratch-s4", "max-s4"]
    with folder:
        pass
    again = reopen_comparison(folder.path)
    assert [trial.name for trial in again.unfinished()] == ["max-s3", "scratch-s4", "max-s4"]


def test_the_summary_is_whole_after_each_finding(folder: ComparisonFolder) -> None:
    with folder:
        folder.record(PARITY)
        document = json.loads((folder.path / "summary.json").read_text())
        assert document["parity"]["max_loss_difference"] == 1e-3
        assert document["status"] == "interrupted"
        for _ in range(4):
            _train(folder, 0, "completed")
        folder.record(Speeds(20, 10, "CPU", (ONE, ONE), ONE))
    document = json.loads((folder.path / "summary.json").read_text())
    assert document["status"] == "completed"
    assert document["throughput"][0]["spread"] == [0.9, 1.1]


def test_a_trial_that_did_not_complete_makes_it_a_failed_one(folder: ComparisonFolder) -> None:
    with folder:
        _train(folder, 0, "diverged")
    assert folder.comparison.status == "failed"


def test_two_processes_do_not_work_on_one(folder: ComparisonFolder) -> None:
    with folder, pytest.raises(RunError, match="another process is working on this comparison"):
        reopen_comparison(folder.path)
    with reopen_comparison(folder.path):
        pass


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("compare.yaml", "arms: [", "is damaged, or no plan of a comparison"),
        ("compare.yaml", "arms: [{name: a}]\nseeds: [1]", "is damaged, or no plan"),
        ("compare.yaml", "arms: [{name: a, config: {x: 1}}]\nseeds: [1]", "is damaged, or no"),
        ("summary.json", "{", "parity and throughput are measured again"),
        ("summary.json", "[]", "parity and throughput are measured again"),
    ],
)
def test_a_damaged_file_is_told_and_left_alone(
    folder: ComparisonFolder, name: str, content: str, message: str
) -> None:
    (folder.path / name).write_text(content)
    with pytest.raises(RunError) as refused:
        read_comparison(folder.path)
    assert message in str(refused.value)
    assert (folder.path / name).read_text() == content


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: max", "name: ../../max", "received the name '../../max'"),
        ("name: max", "name: scratch", "there are two of this name"),
        ("- 4", "- 3", "they must be different whole numbers"),
        ("- 4", "- -1", "they must be different whole numbers"),
        ("name: fashion-mnist", "name: synthetic", "data.name can't differ between arms"),
    ],
)
def test_an_edited_plan_must_be_a_plan(
    folder: ComparisonFolder, old: str, new: str, message: str
) -> None:
    plan = folder.path / "compare.yaml"
    plan.write_text(plan.read_text().replace(old, new, 1))
    with pytest.raises(RunError) as refused:
        read_comparison(folder.path)
    assert message in str(refused.value)


def test_an_edited_plan_is_not_believed_over_what_was_trained(folder: ComparisonFolder) -> None:
    _train(folder, 0, "completed")
    plan = folder.path / "compare.yaml"
    plan.write_text(plan.read_text().replace("lr: 1.0", "lr: 0.5"))
    with pytest.raises(RunError, match=r"scratch-s3 is no trial of this plan: optimizer.lr is 1.0"):
        read_comparison(folder.path)


def test_seeds_end_where_torchs_do(tmp_path: Path, arms: tuple[Arm, ...]) -> None:
    with pytest.raises(ConfigError, match="from 0 to 4294967295"):
        create_comparison(tmp_path, arms, range(2**32 - 1, 2**32 + 1))
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, arms: tuple[Arm, ...]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="`--out DIR` puts it elsewhere"):
        create_comparison(tmp_path / "file", arms, [0])


def test_a_killed_trial_without_a_config_is_begun_anew(folder: ComparisonFolder) -> None:
    trial = folder.unfinished()[0]
    assert trial.run is not None
    Path(trial.run).mkdir(parents=True)
    run, checkpoint = open_trial(trial)
    assert checkpoint is None
    assert run.config == trial.config
    assert isinstance(run.config, Config)
