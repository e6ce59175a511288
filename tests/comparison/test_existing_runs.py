"""Runs that exist are grouped into arms, and paired only where they are pairs."""

from dataclasses import replace
from typing import Any

import pytest

from bnrun.comparison.existing_runs import SideBySide, side_by_side
from bnrun.comparison.paired_differences import DEFAULT_CRITERIA, Criteria
from bnrun.config import Assignment, resolve
from bnrun.errors import RunError
from bnrun.events import DataUsed, EpochEnded, Plan
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)
ALL = {"training.evaluate": ["moving", "population"]}


def _run(seed: int, loss: float = 0.3, population: float | None = None, **values: Any) -> Summary:
    keys = {"training.seed": seed, **values.pop("sets", {})}
    config = resolve(None, [Assignment(key, value, "test") for key, value in keys.items()]).config
    epoch = EpochEnded(10, loss, 0.9, 0.8, None, 1e4, 1e4, 3.0, population)
    name = f"runs/{config.model.norm}-{seed}"
    summary = Summary(
        *(config.to_dict(), config.model.norm, "cpu", "CPU", seed, DATA, (epoch,), "completed"),
        run=name,
    )
    return replace(summary, **values)


def _sets(**keys: Any) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in keys.items()}


BUILTIN = {"model.norm": "builtin"}


def _together(*runs: Summary, criteria: Criteria = DEFAULT_CRITERIA) -> SideBySide:
    return side_by_side(runs, criteria)


def _words(comparison: SideBySide) -> str:
    return "\n".join(comparison.remarks)


def _names(comparison: SideBySide) -> list[str]:
    return [result.arm.name for result in comparison.arms]


def test_runs_that_differ_in_the_seed_alone_are_one_arm_and_paired_by_seed() -> None:
    runs = [_run(seed, 0.3 + 0.01 * seed) for seed in (2, 0, 1)]
    runs += [_run(seed, 0.4 + 0.02 * seed, sets=BUILTIN) for seed in (0, 1, 2)]
    found = _together(*runs)
    assert _names(found) == ["scratch", "builtin"]
    assert [trial.seed for trial in found.arms[0].trials] == [0, 1, 2]
    loss = next(pair for pair in found.pairs if pair.metric == "loss")
    assert (loss.difference.n, loss.verdict) == (3, "builtin higher")
    assert "the verdicts hold if their results had no part in the choice" in _words(found)
    document = found.to_dict()
    assert document["runs"] == [
        f"runs/{norm}-{n}" for norm in ("scratch", "builtin") for n in range(3)
    ]
    assert (document["run"], document["parity"], document["throughput"]) == (None, None, [])


@pytest.mark.parametrize(
    "keys",
    [
        {"training.keep_every": 2},
        {"training.evaluate": ["moving", "batch"]},
        {"training.device": "cpu"},  # as `auto` chose for the other
        {"training.engine": "eager"},
    ],
)
def test_what_does_not_change_the_training_makes_no_other_arm(keys: dict[str, Any]) -> None:
    found = _together(_run(0), _run(1, sets=keys))
    assert _names(found) == ["scratch"]
    assert "differ in nothing but the seed: they are one arm" in _words(found)


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        ([{"optimizer.lr": 0.1}, {"optimizer.lr": 0.5}], ["scratch lr 0.1", "scratch lr 0.5"]),
        ([{}, BUILTIN | {"model.pool": "max"}], ["scratch", "builtin"]),
        (
            [{}, {"model.pool": "max"}, {"model.pool": "max", "optimizer.lr": 0.1}, BUILTIN],
            ["scratch avg pool lr 1.0", "scratch max pool lr 1.0", "scratch max pool lr 0.1",
             "builtin"],
        ),
        ([BUILTIN | {"model.norm_options": {"eps": 0.1}}, BUILTIN],
         ["builtin(eps=0.1)", "builtin"]),
        ([{}, {}, {}], ["scratch", "scratch (2)", "scratch (3)"]),
    ],
)  # fmt: skip
def test_an_arm_is_named_by_its_norm_and_what_tells_it_from_others(
    keys: list[dict[str, Any]], names: list[str]
) -> None:
    assert _names(_together(*(_run(0, sets=one) for one in keys))) == names


def test_a_run_of_the_same_config_and_seed_is_an_arm_of_its_own() -> None:
    found = _together(_run(0), _run(0, 0.31), _run(1))
    assert [len(result.trials) for result in found.arms] == [2, 1]
    assert "scratch and 'scratch (2)' have one config and share a seed" in _words(found)


def test_arms_with_other_seeds_are_paired_over_those_that_both_have() -> None:
    one = _together(_run(0), _run(1), _run(1, sets=BUILTIN), _run(2, sets=BUILTIN))
    assert {pair.difference.n for pair in one.pairs} == {1}
    assert "not have the same seeds (scratch: 0, 1; builtin: 1, 2). Means are over" in _words(one)
    none = _together(_run(0), _run(1, sets=BUILTIN))
    assert none.pairs == ()
    assert "over the seeds that both have, of which there are none." in _words(none)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"data": replace(DATA, train_images=600)}, "they were trained on different images"),
        (
            {"data": replace(DATA, name="synthetic", verified=None)},
            "they were trained on different",
        ),
        ({"device": "cuda"}, "they were trained on different devices (cpu, cuda)"),
    ],
)
def test_runs_on_other_images_or_devices_are_no_pairs(values: dict[str, Any], reason: str) -> None:
    found = _together(_run(0), _run(1), *(_run(n, sets=BUILTIN, **values) for n in (0, 1)))
    assert found.pairs == ()
    assert f"The runs are not paired, and no difference is judged: {reason}" in _words(found)


def test_of_runs_on_two_kinds_of_images_those_on_the_same_ones_are_paired() -> None:
    synthetic = {"data": replace(DATA, name="synthetic", verified=None)}
    runs = [_run(0, 0.3 + 0.1 * n, sets=_sets(data__name="synthetic"), **synthetic) for n in (0, 1)]
    found = _together(_run(0), *runs)
    first, again = "scratch synthetic data", "scratch synthetic data (2)"
    assert _names(found) == ["scratch Fashion-MNIST", first, again]
    assert {(pair.a, pair.b) for pair in found.pairs} == {(first, again)}
    assert (
        "Not all arms are paired with each other: some were trained on different images, so their "
        f"figures do not compare.\nPaired are '{first}' and '{again}'.\n"
        "'scratch Fashion-MNIST' is paired with no other arm."
    ) in _words(found)


def test_images_are_the_same_wherever_they_were_read_from() -> None:
    found = _together(_run(0), _run(0, sets=BUILTIN, data=replace(DATA, source="elsewhere")))
    assert found.pairs


def test_population_accuracy_is_compared_where_every_run_has_it() -> None:
    with_all = _together(_run(0, 0.3, 0.85, sets=ALL), _run(0, sets=ALL | {"model.norm": "none"}))
    assert "test_acc_population" in {pair.metric for pair in with_all.pairs}
    assert "none keeps no moving statistics" in _words(with_all)
    found = _together(_run(0, 0.3, 0.85, sets=ALL), _run(0, sets=BUILTIN))
    assert "test_acc_population" not in {pair.metric for pair in found.pairs}
    assert found.arms[0].estimate("test_acc_population") is None
    assert "Only a training records it: bnrun train --set 'training.evaluate=" in _words(found)
    assert "keep" not in _words(found)


def test_what_is_not_complete_counts_nowhere() -> None:
    waiting = _run(1, status="interrupted")
    found = _together(_run(0), waiting, _run(0, sets=BUILTIN))
    assert "runs/scratch-1 has finished 1 of 10 epochs; no figure includes it" in _words(found)
    assert len(found.arms[0].completed) == 1
    lost = _together(_run(0), _run(1), *(_run(n, sets=BUILTIN, status="diverged") for n in (0, 1)))
    assert lost.pairs == ()
    with pytest.raises(RunError, match="none of these runs is complete"):
        _together(waiting, waiting)


def test_rates_of_another_length_are_said() -> None:
    plans = (Plan(1, 5), Plan(6, 10))
    keys = {"optimizer.schedule": "one-cycle"}
    found = _together(_run(0, sets=keys, plans=plans), _run(0, sets=keys))
    assert "runs/scratch-0 has learning rates of a run of 5, then 10 epochs" in _words(found)


def test_of_many_arms_each_is_judged_with_the_first_unless_asked() -> None:
    runs = [
        _run(seed, sets=_sets(optimizer__lr=lr)) for lr in (0.1, 0.2, 0.3, 0.4) for seed in (0, 1)
    ]
    assert len({(pair.a, pair.b) for pair in _together(*runs).pairs}) == 3
    assert "`bnrun compare RUN RUN … --pairs all` adds them" in _words(_together(*runs))
    every = _together(*runs, criteria=Criteria(pairs="all"))
    assert len({(pair.a, pair.b) for pair in every.pairs}) == 6
