"""A training's events fold into one record, whoever folds them."""

import dataclasses

from bnrun.config import Config
from bnrun.events import DataUsed, EpochEnded, Event, Notice, Plan, RunEnded, RunStarted
from bnrun.training_summary import Summary, planned

CONFIG = Config().to_dict()
DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
STARTED = RunStarted("builtin", "cuda:0", "a GPU", 3, 2, 16, DATA, engine="compiled")


def _epoch(number: int, population: float | None = None) -> EpochEnded:
    return EpochEnded(number, 0.5, 0.8, 0.7, None, 9e3, 9e3, 1.0, population)


def _fold(*events: Event) -> Summary:
    summary = planned(CONFIG, "runs/x")
    for event in events:
        summary = summary.with_event(event)
    return summary


def test_before_its_first_event_a_run_is_what_its_config_says() -> None:
    summary = _fold()
    assert (summary.norm, summary.device, summary.seed) == ("scratch", "auto", 0)
    assert (summary.status, summary.epochs, summary.run) == ("interrupted", (), "runs/x")


def test_events_fold_into_the_result() -> None:
    summary = _fold(STARTED, _epoch(1), Notice("a"), _epoch(2), RunEnded("completed", 1e4, 2e4))
    assert (summary.norm, summary.device, summary.engine) == ("builtin", "cuda:0", "compiled")
    assert summary.data == DATA
    assert summary.epochs == (_epoch(1), _epoch(2))
    assert (summary.status, summary.reason) == ("completed", None)
    assert (summary.examples_per_second, summary.compute_examples_per_second) == (1e4, 2e4)


def test_a_run_that_continues_starts_with_its_finished_epochs_and_no_ending() -> None:
    again = dataclasses.replace(STARTED, finished=(_epoch(1),))
    summary = _fold(STARTED, _epoch(1), RunEnded("diverged", 1e4, 2e4, "why"), again)
    assert summary.epochs == (_epoch(1),)
    assert (summary.status, summary.reason) == ("interrupted", None)
    assert summary.examples_per_second == 9e3  # that of its finished epochs
    assert (summary.config, summary.run) == (CONFIG, "runs/x")


def test_until_it_has_ended_a_run_has_the_throughput_of_its_epochs() -> None:
    untimed = dataclasses.replace(_epoch(1), examples_per_second=None)
    slow = dataclasses.replace(_epoch(2), examples_per_second=1e3)
    fast = dataclasses.replace(_epoch(3), examples_per_second=3e3)
    assert _fold(STARTED, untimed).examples_per_second is None
    assert _fold(STARTED, untimed, slow, fast).examples_per_second == 1.5e3
    again = dataclasses.replace(STARTED, finished=(untimed, slow, fast))
    assert _fold(STARTED, RunEnded("completed", 1.6e3, 9e3), again).examples_per_second == 1.5e3


def test_a_failure_keeps_what_was_reached() -> None:
    summary = _fold(STARTED, _epoch(1)).with_failure("the layer raised")
    assert (summary.status, summary.reason) == ("failed", "the layer raised")
    assert summary.epochs == (_epoch(1),)


def test_a_wide_gap_between_moving_and_population_statistics_is_a_remark() -> None:
    (remark,) = _fold(STARTED, _epoch(1, population=0.9)).remarks
    assert remark.startswith("The same weights reach 0.700 with moving and 0.900 with population")
    assert _fold(STARTED, _epoch(1, population=0.719)).remarks == ()
    assert _fold(STARTED, _epoch(1)).remarks == ()
    assert _fold(STARTED).remarks == ()


def test_the_document_has_the_epochs_the_last_values_and_the_remarks() -> None:
    document = _fold(STARTED, _epoch(1), _epoch(2, population=0.9)).to_dict()
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2]
    assert (document["loss"], document["test_acc_population"]) == (0.5, 0.9)
    assert document["config"] == CONFIG
    assert len(document["remarks"]) == 1
    assert _fold().to_dict()["loss"] is None


def test_a_completed_run_says_whether_its_network_learned() -> None:
    stuck = dataclasses.replace(_epoch(1), loss=2.31, train_acc=0.1, test_acc=0.1)
    assert _fold(STARTED, stuck).learned is None
    assert _fold(STARTED, stuck, RunEnded("diverged", 1e4, 2e4, "why")).learned is None
    ended = RunEnded("completed", 1e4, 2e4)
    assert _fold(STARTED, _epoch(1), ended).to_dict()["learned"] is True
    document = _fold(STARTED, stuck, ended).to_dict()
    assert document["learned"] is False
    (remark,) = document["remarks"]
    assert remark.startswith("The network did not learn: after one epoch its train accuracy, 0.100")


def test_a_loss_above_guessing_is_said_of_a_network_that_learned() -> None:
    blown = dataclasses.replace(_epoch(1), loss=2e12, train_acc=0.324, test_acc=0.394)
    summary = _fold(STARTED, blown, RunEnded("completed", 1e4, 2e4))
    assert (summary.learned, summary.shortcoming) == (True, "loss above guessing")
    assert summary.remarks == (
        "The loss ended above that of guessing: it is 2.00e+12 (guessing: 2.303), though the train "
        "accuracy, 0.324, is above that of guessing (0.100). Its weights have blown up without "
        "becoming infinite. Try a smaller optimizer.lr than 1.",
    )


def test_a_network_that_learned_and_predicts_by_guessing_is_not_said_not_to_have_learned() -> None:
    guesses = dataclasses.replace(_epoch(1), test_acc=0.1)
    (remark,) = _fold(STARTED, guesses, RunEnded("completed", 1e4, 2e4)).remarks
    assert remark == (
        "The test accuracy, 0.100, is that of guessing, though the network learned (train "
        "accuracy 0.800): what its norms predict with does not fit its weights, or not yet. "
        "`bnrun evaluate` tries other statistics."
    )


def test_rates_that_were_planned_three_times_are_told_epochs_by_epochs() -> None:
    plans = (Plan(1, 1), Plan(2, 3), Plan(4, 6))
    optimizer = CONFIG["optimizer"] | {"schedule": "one-cycle"}
    summary = dataclasses.replace(
        _fold(dataclasses.replace(STARTED, plans=plans), _epoch(1)),
        config=CONFIG | {"optimizer": optimizer},
    )
    assert summary.remarks == (
        "The learning rates of schedule one-cycle are those of a run of 1 epoch in epoch 1, of a "
        "run of 3 epochs in epochs 2 to 3, and of a run of 6 epochs from epoch 4 on. A run of 6 "
        "epochs from the start has other rates.",
    )
