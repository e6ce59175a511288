"""The metrics of a trial that arms are compared on, after the last epoch."""

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
