"""The metrics of a trial that arms are compared on, after the last epoch."""

from bnrun.comparison.estimate import Estimate
from bnrun.training_summary import Summary

METRIC_NAMES = {
    "loss": "loss",
    "train_acc": "train acc",
    "test_acc": "test acc, moving",
    "test_acc_population": "test acc, population",
}
"""What tables and sentences call each metric."""


def last_value(trial: Summary, metric: str) -> float | None:
    """Return a metric after the trial's last epoch; None where it was not taken."""
    value: float | None = getattr(trial.epochs[-1], metric) if trial.epochs else None
    return value


def metric_taken(trial: Summary, metric: str) -> str:
    """Return the metric that stands for another one in a trial.

    A network whose norms keep no moving statistics predicts in one way only. There is nothing that
    population statistics could replace, so its test accuracy stands for both kinds.
    """
    if metric == "test_acc_population" and last_value(trial, metric) is None:
        return "test_acc"
    return metric


def is_vague(metric: str, estimate: Estimate) -> bool:
    """Return whether the interval of a metric's mean reaches beyond what is possible.

    Student's interval knows no bounds, and from two or three seeds it is wide. An accuracy lies
    between 0 and 1, a loss above 0.
    """
    if estimate.ci95 is None:
        return False
    low, high = estimate.ci95
    return low < 0 or (metric != "loss" and high > 1)


def is_vague_difference(metric: str, difference: Estimate) -> bool:
    """Return whether the interval of a difference reaches beyond what is possible.

    Two accuracies differ by at most 1; two losses may differ by any number.
    """
    if difference.ci95 is None or metric == "loss":
        return False
    low, high = difference.ci95
    return low < -1 or high > 1
