"""Study `converge`: how fast training gets how far, with and without batch norm."""

import time
from collections.abc import Collection, Mapping

from bnrun.comparison.comparison_events import Trial
from bnrun.events import EpochEnded
from bnrun.learning import GUESSING_ACCURACY
from bnrun.studies.claim import Claim, Evidence, Part, Source
from bnrun.studies.rules import Direction, Equivalence
from bnrun.studies.sources import IOFFE, NOTES
from bnrun.studies.study import Budget, Measured, Study, Work
from bnrun.studies.trainings import (
    Laboratory,
    Summaries,
    epochs_to_reach,
    last_epoch,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 5, "standard": 10, "thorough": 10}

NORMS = ("none", "scratch")
RATES = (0.03, 0.1, 0.3, 1.0)
"""The learning rates of which each network with ReLU gets its best."""
VALIDATION = 5_000
"""Training images that choose the rate: never the test images."""
CHOICE_EPOCHS, CHOICE_SEED = 2, 1_000
"""The trainings that choose the rate; their seed is in no other training."""

HERE = (
    f"LeNet, Fashion-MNIST, plain SGD, {EPOCHS['standard']} epochs ({EPOCHS['quick']} where the "
    "budget is quick); sigmoid at rate 1.0; relu at the best of the rates "
    f"{', '.join(f'{rate:g}' for rate in RATES)}, chosen for each norm by {VALIDATION:,} training "
    f"images that are held out, after {CHOICE_EPOCHS} epochs"
)

CLAIMS = (
    Claim(
        "C1",
        "faster",
        "Batch norm speeds up convergence.",
        (
            Source(IOFFE, "figures 2 and 3", "read",
                   "to the accuracy that Inception reaches: 31.0 million steps without, 13.3 with "
                   "at the same rate, 2.1 at five times the rate"),
            Source(NOTES, "text", "read"),
        ),
        "epochs without batch norm, over epochs with it to the same training accuracy",
        (
            Part("sigmoid, same rate", Direction(2), "supported"),
            Part("relu, each at its best rate", Direction(2), "not decided"),
        ),
        "medium",
        f"{HERE}; accuracy between the ends of epochs is interpolated",
        "Steps, not seconds. A best rate at an end of the grid may not be the best of all.",
    ),
    Claim(
        "C2",
        "same-accuracy",
        "Batch norm does not change the final accuracy.",
        (
            Source(NOTES, "text", "read"),
            Source(IOFFE, "figure 3", "read",
                   "72.2 % without, 72.7 to 74.8 % with"),
        ),
        "test accuracy with batch norm less without",
        (
            Part("sigmoid, moving statistics", Equivalence(0.005), "not decided"),
            Part("sigmoid, population statistics", Equivalence(0.005), "contradicted"),
            Part("relu, each at its best rate, population", Equivalence(0.005), "not decided"),
        ),
        "medium",
        f"{HERE}; accuracies after the last epoch",
        "With longer training, the accuracies may come closer, or further apart.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Choose the rates of ReLU, and train; both claims share all trainings."""
    start = time.perf_counter()
    choice = yield from laboratory.train([_choice(norm, rate) for norm in NORMS for rate in RATES])
    best = {norm: _best_rate(norm, choice) for norm in NORMS}
    trials = [
        one
        for seed in range(SEEDS[budget])
        for norm in NORMS
        for one in (
            _trial(budget, norm, "sigmoid", 1.0, seed),
            _trial(budget, norm, "relu", best[norm], seed),
        )
    ]
    summaries = yield from laboratory.train(trials)
    remark = f"The best rates of relu: {best['none']:g} without, {best['scratch']:g} with."
    seconds = time.perf_counter() - start
    for id_, evidence in (
        ("C1", _speed(budget, best, summaries)),
        ("C2", _accuracy(budget, best, summaries)),
    ):
        if id_ in ids:
            yield Measured(id_, Evidence(evidence, remark), seconds)
            seconds = 0.0  # of trainings that the claims share


def _choice(norm: str, rate: float) -> Trial:
    return trial(
        f"choice-{norm}-lr{rate:g}",
        CHOICE_SEED,
        model__norm=norm,
        model__activation="relu",
        optimizer__lr=rate,
        training__epochs=CHOICE_EPOCHS,
        training__evaluate=["moving", "population"],
        data__validation=VALIDATION,
    )


def _best_rate(norm: str, summaries: Summaries) -> float:
    """Return the rate with the best accuracy on the validation images."""

    def accuracy(rate: float) -> float:
        epoch = last_epoch(summaries[_choice(norm, rate).name])
        return -1.0 if epoch is None or epoch.validation_acc is None else epoch.validation_acc

    return max(RATES, key=accuracy)


def _trial(budget: Budget, norm: str, activation: str, rate: float, seed: int) -> Trial:
    return trial(
        f"{norm}-{activation}-lr{rate:g}",
        seed,
        model__norm=norm,
        model__activation=activation,
        optimizer__lr=rate,
        training__epochs=EPOCHS[budget],
        training__evaluate=["moving", "population"],
    )


def _speed(
    budget: Budget, best: Mapping[str, float], summaries: Summaries
) -> dict[str, list[float]]:
    """Return the ratios of epochs, by part.

    A seed without a ratio is left out: training without a norm diverged, or ended no better than
    guessing.
    """
    rates = {"sigmoid": dict.fromkeys(NORMS, 1.0), "relu": best}
    ratios: dict[str, list[float]] = {}
    parts = (("sigmoid, same rate", "sigmoid"), ("relu, each at its best rate", "relu"))
    for part, act in parts:
        ratios[part] = []
        for seed in range(SEEDS[budget]):
            none, bn = (
                summaries[_trial(budget, norm, act, rates[act][norm], seed).name] for norm in NORMS
            )
            end = last_epoch(none)
            if end is not None and end.train_acc > GUESSING_ACCURACY:
                target = end.train_acc
                ratios[part].append(epochs_to_reach(none, target) / epochs_to_reach(bn, target))
    return ratios


def _accuracy(
    budget: Budget, best: Mapping[str, float], summaries: Summaries
) -> dict[str, list[float]]:
    """Return the differences of test accuracy by part."""
    same = dict.fromkeys(NORMS, 1.0)
    parts = (
        ("sigmoid, moving statistics", "sigmoid", same, False),
        ("sigmoid, population statistics", "sigmoid", same, True),
        ("relu, each at its best rate, population", "relu", best, True),
    )
    differences: dict[str, list[float]] = {}
    for part, act, rates, population in parts:
        differences[part] = []
        for seed in range(SEEDS[budget]):
            none, bn = (
                last_epoch(summaries[_trial(budget, norm, act, rates[norm], seed).name])
                for norm in NORMS
            )
            if none is not None and bn is not None:
                differences[part].append(_test_acc(bn, population) - none.test_acc)
    return differences


def _test_acc(epoch: EpochEnded, population: bool) -> float:
    if population and epoch.test_acc_population is not None:
        return epoch.test_acc_population
    return epoch.test_acc


STUDY = Study(
    name="converge",
    question="How fast does training get how far, with and without batch norm?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=920,
    measure=measure,
)
