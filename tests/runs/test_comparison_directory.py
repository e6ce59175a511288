"""A comparison's directory: a plan, trials, a result; and all that is needed to continue."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.arms import Arm
from bnrun.comparison.comparison_events import CompareStarted, ResultSoFar
from bnrun.comparison.paired_differences import Criteria
from bnrun.comparison.parity_verdict import Agreement
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import Comparison, Parity, Speeds, Throughput
from bnrun.config import Config, yaml_text
from bnrun.errors import RunError
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted
from bnrun.runs.comparison_directory import (
    ComparisonDirectory,
    create_comparison,
    read_comparison,
    reopen_comparison,
)
from bnrun.runs.trial_directory import open_trial

DATA = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
PARITY = Parity("scratch", "max", Agreement(("eager", "eager"), "float64", 30, *(1e-3,) * 4))
ONE = Throughput("scratch", "scratch", 1e4, 1.0, (0.9, 1.1))


@pytest.fixture
def arms() -> tuple[Arm, ...]:
    built = build_arms(["scratch", "max=scratch,model.pool=max"], None)
    return tuple(arm.with_engine("eager") for arm in built)


@pytest.fixture
def directory(tmp_path: Path, arms: tuple[Arm, ...]) -> ComparisonDirectory:
    plan = make_plan(arms, (3, 4), Criteria(equivalence=0.005))
    return create_comparison(tmp_path, replace(plan, engine="eager", engine_reason="it is faster"))


def _train(directory: ComparisonDirectory, number: int, status: str, epochs: int = 1) -> None:
    """Write the run directory of an unfinished trial as training does, and count it."""
    trial = directory.unfinished_trials()[number]
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
        _record(directory, directory.comparison.with_trial(trial.arm, run.summary))


def _record(directory: ComparisonDirectory, comparison: Comparison) -> None:
    directory.record(ResultSoFar(comparison))


def test_it_is_named_after_the_moment_and_its_arms(directory: ComparisonDirectory) -> None:
    assert directory.path.name.endswith("Z-compare-scratch-max")
    assert directory.comparison.run == str(directory.path)


def test_a_directory_of_many_arms_has_a_name_that_can_be_copied(tmp_path: Path) -> None:
    names = [f"activation=relu-lr=0.{number}" for number in range(1, 5)]
    plan = make_plan([Arm(name, Config()) for name in names], (0,))
    with create_comparison(tmp_path, plan) as directory:
        assert directory.path.name.endswith("Z-compare-4-arms-activation_relu-lr_0.1")


def test_the_plan_has_the_engine_and_how_pairs_are_judged(directory: ComparisonDirectory) -> None:
    text = (directory.path / "compare.yaml").read_text()
    plan = yaml_text.parse(text, "compare.yaml").value
    assert (plan["engine"], plan["engine_reason"]) == ("eager", "it is faster")
    assert [arm["config"]["training"]["engine"] for arm in plan["arms"]] == ["eager", "eager"]
    found = read_comparison(directory.path)
    assert (found.engine, found.engine_reason) == ("eager", "it is faster")
    assert found.criteria == Criteria(equivalence=0.005, pairs="all")


def test_a_seed_is_trained_by_all_arms_before_the_next(directory: ComparisonDirectory) -> None:
    trials = directory.unfinished_trials()
    assert [trial.name for trial in trials] == ["scratch-s3", "max-s3", "scratch-s4", "max-s4"]
    assert [trial.config.training.seed for trial in trials] == [3, 3, 4, 4]
    assert trials[1].config.model.pool == "max"
    assert trials[0].run == str(directory.path / "trials" / "scratch-s3")


def test_what_is_reopened_is_what_was_left(
    directory: ComparisonDirectory, arms: tuple[Arm, ...]
) -> None:
    with pytest.raises(KeyboardInterrupt), directory:
        directory.record(CompareStarted(()))
        _record(directory, directory.comparison.with_parity(PARITY))
        _train(directory, 0, "completed")
        _train(directory, 0, "interrupted")  # max-s3
        raise KeyboardInterrupt
    again = reopen_comparison(directory.path)
    assert tuple(result.arm for result in again.comparison.arms) == arms
    assert again.comparison.seeds == (3, 4)
    assert again.comparison.parity == (PARITY,)
    unfinished = [trial.name for trial in again.unfinished_trials()]
    assert unfinished == ["max-s3", "scratch-s4", "max-s4"]
    (done,) = again.comparison.arms[0].completed
    assert (done.seed, done.epochs[0].test_acc_population) == (3, 0.75)
    assert json.loads((directory.path / "summary.json").read_text())["status"] == "interrupted"


def test_an_interrupted_trial_is_part_of_the_result_as_far_as_it_came(
    directory: ComparisonDirectory,
) -> None:
    with pytest.raises(KeyboardInterrupt), directory:
        directory.record(CompareStarted(()))
        _train(directory, 0, "interrupted", epochs=2)
        raise KeyboardInterrupt
    (trial,) = directory.comparison.trials
    assert (trial.status, len(trial.epochs)) == ("interrupted", 2)
    document = json.loads((directory.path / "summary.json").read_text())
    assert len(document["arms"][0]["trials"][0]["epochs"]) == 2


def test_an_error_before_anything_began_changes_nothing(directory: ComparisonDirectory) -> None:
    _record(directory, replace(directory.comparison, status="completed"))
    before = (directory.path / "summary.json").read_bytes()
    with pytest.raises(KeyboardInterrupt), directory:
        raise KeyboardInterrupt
    assert (directory.path / "summary.json").read_bytes() == before


def test_a_diverged_trial_is_finished_and_a_failed_one_is_tried_again(
    directory: ComparisonDirectory,
) -> None:
    _train(directory, 0, "diverged")
    _train(directory, 0, "failed")
    expected = ["max-s3", "scratch-s4", "max-s4"]
    assert [trial.name for trial in directory.unfinished_trials()] == expected
    with directory:
        pass
    again = reopen_comparison(directory.path)
    assert [trial.name for trial in again.unfinished_trials()] == expected


def test_the_result_is_written_after_each_finding(directory: ComparisonDirectory) -> None:
    def document() -> dict[str, object]:
        found: dict[str, object] = json.loads((directory.path / "summary.json").read_text())
        return found

    with directory:
        _record(directory, directory.comparison.with_parity(PARITY))
        assert document()["parity"]["max_loss_difference"] == 1e-3  # type: ignore[index]
        assert document()["status"] == "interrupted"
        for _ in range(4):
            _train(directory, 0, "completed")
        speeds = Speeds(20, 10, "CPU", (ONE, ONE), ONE)
        _record(directory, directory.comparison.with_speeds(speeds).with_final_status())
    assert document()["status"] == "completed"
    assert document()["throughput"][0]["spread"] == [0.9, 1.1]  # type: ignore[index]


def test_a_trial_that_did_not_complete_makes_it_a_failed_one(
    directory: ComparisonDirectory,
) -> None:
    _train(directory, 0, "diverged")
    assert directory.comparison.with_final_status().status == "failed"


def test_two_processes_do_not_work_on_one(directory: ComparisonDirectory) -> None:
    with directory, pytest.raises(RunError, match="another process is working on this comparison"):
        reopen_comparison(directory.path)
    with reopen_comparison(directory.path):
        pass


def _as_older_version(directory: ComparisonDirectory) -> None:
    """Make the plan, and the trials, those of a version that left the engine to each trial."""
    plan = directory.path / "compare.yaml"
    document = yaml_text.parse(plan.read_text(), "compare.yaml").value
    old = {key: document[key] for key in ("arms", "seeds")}
    for arm in old["arms"]:
        arm["config"]["training"]["engine"] = "auto"
    plan.write_text(yaml_text.dump(old))
    for config in directory.path.glob("trials/*/config.yaml"):
        config.write_text(config.read_text().replace("engine: eager", "engine: auto"))


def test_a_directory_of_an_older_version_opens_and_its_engine_is_written_down(
    directory: ComparisonDirectory, arms: tuple[Arm, ...]
) -> None:
    _train(directory, 0, "completed")
    _as_older_version(directory)
    with directory:
        pass
    with reopen_comparison(directory.path) as again:
        assert again.comparison.engine is None
        assert len(again.comparison.trials) == 1
        resolved = [replace(result, arm=result.arm.with_engine("compiled")) for result in
                    again.comparison.arms]  # fmt: skip
        again.write_plan(replace(again.comparison, arms=tuple(resolved), engine="compiled"))
    found = read_comparison(directory.path)  # its finished trial still belongs to it
    assert (found.engine, len(found.trials)) == ("compiled", 1)
    assert [result.arm.engine for result in found.arms] == ["compiled", "compiled"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("compare.yaml", "arms: [", "is damaged, or is not the plan of a comparison"),
        ("compare.yaml", "arms: [{name: a}]\nseeds: [1]", "is damaged, or is not"),
        ("compare.yaml", "arms: [{name: a, config: {x: 1}}]\nseeds: [1]", "is damaged, or is not"),
        ("summary.json", "{", "parity and throughput are measured again"),
        ("summary.json", "[]", "parity and throughput are measured again"),
    ],
)
def test_a_damaged_file_is_reported_and_left_alone(
    directory: ComparisonDirectory, name: str, content: str, message: str
) -> None:
    (directory.path / name).write_text(content)
    with pytest.raises(RunError) as refused:
        read_comparison(directory.path)
    assert message in str(refused.value)
    assert (directory.path / name).read_text() == content


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parity", {"arms": [PARITY.to_dict() | {"max_loss_difference": "small"}]}),
        ("parity", {"arms": [PARITY.to_dict() | {"as_trained": 3}]}),
        ("throughput", []),
        ("throughput", [{"arm": "a", "norm": "none", "examples_per_second": "fast",
                         "ratio_to_first": 1, "spread": [1, 1]}]),
        ("throughput_noise", {"rounds": 10, "steps": 10, "machine": "CPU"}),
        ("throughput_error", 3),
    ],
)  # fmt: skip
def test_a_result_with_values_of_another_type_is_damaged(
    directory: ComparisonDirectory, key: str, value: object
) -> None:
    with directory:
        speeds = Speeds(20, 10, "CPU", (ONE, ONE), ONE)
        _record(directory, directory.comparison.with_speeds(speeds))
    file = directory.path / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(RunError, match="summary.json is damaged"):
        read_comparison(directory.path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: max", "name: ../../max", "received the name '../../max'"),
        ("name: max", "name: scratch", "there are two of this name"),
        ("\n- 4", "\n- 3", "received seed 3 twice; seeds must differ"),
        ("\n- 4", "\n- -1", "received seed -1; seeds must be whole numbers"),
        ("name: fashion-mnist", "name: synthetic", "data.name can't differ between arms"),
    ],
)
def test_an_edited_plan_must_be_a_plan(
    directory: ComparisonDirectory, old: str, new: str, message: str
) -> None:
    plan = directory.path / "compare.yaml"
    plan.write_text(plan.read_text().replace(old, new, 1))
    with pytest.raises(RunError) as refused:
        read_comparison(directory.path)
    assert message in str(refused.value)


def test_an_edited_plan_is_not_believed_over_what_was_trained(
    directory: ComparisonDirectory,
) -> None:
    _train(directory, 0, "completed")
    plan = directory.path / "compare.yaml"
    plan.write_text(plan.read_text().replace("lr: 1.0", "lr: 0.5"))
    with pytest.raises(RunError, match="scratch-s3 does not belong to this plan: optimizer"):
        read_comparison(directory.path)


def test_a_directory_that_cannot_be_written_is_reported(
    tmp_path: Path, arms: tuple[Arm, ...]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="`--out DIR` puts it elsewhere"):
        create_comparison(tmp_path / "file", make_plan(arms, [0]))


def test_a_killed_trial_without_a_config_is_started_again(directory: ComparisonDirectory) -> None:
    trial = directory.unfinished_trials()[0]
    assert trial.run is not None
    Path(trial.run).mkdir(parents=True)
    run, checkpoint = open_trial(trial)
    assert checkpoint is None
    assert run.config == trial.config
