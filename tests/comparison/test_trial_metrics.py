"""An interval is vague where it reaches beyond what is possible, however wide it is."""

import pytest

from bnrun.comparison.estimate import Estimate
from bnrun.comparison.trial_metrics import is_vague, is_vague_difference


@pytest.mark.parametrize(
    ("metric", "mean", "half_width", "vague"),
    [
        ("test_acc", 0.186, 0.0381, False),
        ("test_acc", 0.135, 0.4574, True),  # reaches below 0
        ("train_acc", 0.0995, 0.1334, True),
        ("train_acc", 0.95, 0.06, True),  # reaches above 1
        ("train_acc", 1.0, 0.0, False),
        ("loss", 1.2, 0.9, False),
        ("loss", 1.2, 1.3, True),
    ],
)
def test_a_mean_lies_where_its_metric_may(
    metric: str, mean: float, half_width: float, vague: bool
) -> None:
    assert is_vague(metric, Estimate(mean, (mean - half_width, mean + half_width), 2)) is vague


@pytest.mark.parametrize(
    ("metric", "mean", "half_width", "vague"),
    [
        ("test_acc", 0.0865, 0.87, False),
        ("test_acc", 0.2, 0.9, True),  # reaches above 1
        ("test_acc", -0.2, 0.9, True),
        ("loss", 0.895, 11.4, False),
    ],
)
def test_two_accuracies_differ_by_at_most_1(
    metric: str, mean: float, half_width: float, vague: bool
) -> None:
    difference = Estimate(mean, (mean - half_width, mean + half_width), 2)
    assert is_vague_difference(metric, difference) is vague


def test_one_value_has_no_interval_that_could_be_vague() -> None:
    assert not is_vague("test_acc", Estimate(0.5, None, 1))
    assert not is_vague_difference("test_acc", Estimate(0.5, None, 1))
