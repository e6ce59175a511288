"""A network that did not learn is told of, and one that only predicts badly is not called that."""

from dataclasses import replace

import pytest

from bnrun.events import DataUsed, EpochEnded
from bnrun.learning import predicts_by_guessing, why_loss_above_guessing, why_not_learned

DATA = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)


def _epoch(loss: float, train: float, test: float, number: int = 3) -> EpochEnded:
    return EpochEnded(number, loss, train, test, None, 1e4, 1e4, 1.0)


@pytest.mark.parametrize(
    ("epoch", "rate", "sentence"),
    [
        (
            _epoch(1.135e31, 0.0975, 0.103),
            1e30,
            "its loss ended at 1.14e+31, where guessing has 2.303, and its train accuracy, 0.098, "
            "is that of guessing (0.100). Its weights have blown up without becoming infinite. Try "
            "a smaller optimizer.lr than 1e+30.",
        ),
        (
            _epoch(2.5427, 0.105, 0.089),
            1e-6,
            "after 3 epochs its train accuracy, 0.105, is that of "
            "guessing (0.100), and its loss is 2.543 (guessing: 2.303). Try more epochs, or "
            "another optimizer.lr than 1e-06.",
        ),
    ],
)
def test_a_network_that_did_not_learn_has_its_figures_named_and_what_to_try(
    epoch: EpochEnded, rate: float, sentence: str
) -> None:
    assert why_not_learned(epoch, DATA, rate) == sentence


BLOWN_UP = "Its weights have blown up without becoming infinite. "


@pytest.mark.parametrize(
    ("epoch", "figures", "blown_up"),
    [
        (_epoch(2.41, 0.31, 0.28), "2.410 (guessing: 2.303), though the train accuracy, 0.310", ""),
        (_epoch(37795.967, 0.1, 0.28), "3.78e+04 (guessing: 2.303), though the test acc", ""),
        (_epoch(2e12, 0.324, 0.394, 1), "2.00e+12 (guessing: 2.303), though the train", BLOWN_UP),
    ],
)
def test_a_network_that_learned_with_a_loss_above_guessing_is_not_said_not_to_have_learned(
    epoch: EpochEnded, figures: str, blown_up: str
) -> None:
    assert why_not_learned(epoch, DATA, 4.0) is None
    why = why_loss_above_guessing(epoch, DATA, 4.0)
    assert why is not None
    assert why.startswith(f"it is {figures}")
    end = f", is above that of guessing (0.100). {blown_up}Try a smaller optimizer.lr than 4."
    assert why.endswith(end)


def test_an_epoch_is_no_epochs() -> None:
    why = why_not_learned(_epoch(2.43, 0.101, 0.089, number=1), DATA, 1.0)
    assert why is not None
    assert "after one epoch its train accuracy" in why


@pytest.mark.parametrize(
    "epoch",
    [
        _epoch(0.37, 0.95, 0.1),  # moving statistics that are not settled: the network learned
        _epoch(2.25, 0.11, 0.3),  # the mean over an epoch in which it began to learn
        _epoch(2.6, 0.3, 0.5, 1),  # a mean that holds the loss of the untrained network
    ],
)
def test_a_network_that_learned_is_left_alone(epoch: EpochEnded) -> None:
    assert why_not_learned(epoch, DATA, 1.0) is None
    assert why_loss_above_guessing(epoch, DATA, 1.0) is None


def test_how_far_a_guess_may_fall_depends_on_the_number_of_images() -> None:
    epoch = _epoch(2.3, 0.108, 0.1)
    assert why_not_learned(epoch, DATA, 1.0) is not None
    assert why_not_learned(epoch, replace(DATA, train_images=60_000), 1.0) is None


def test_predictions_are_guesses_where_no_kind_of_statistics_does_better() -> None:
    epoch = _epoch(0.37, 0.95, 0.103)
    assert predicts_by_guessing(epoch, DATA)
    assert not predicts_by_guessing(replace(epoch, test_acc_population=0.86), DATA)
