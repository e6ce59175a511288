"""Study `noisy`: covariate shift, put in on purpose after batch norm."""

import time
from collections.abc import Collection, Generator, Mapping
from functools import partial

from bnrun.comparison.comparison_events import Trial
from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, gathered
from bnrun.studies.rules import Direction
from bnrun.studies.sources import SANTURKAR
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import Laboratory, Summaries, last_epoch, points_of_epochs, trial

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 3, "thorough": 3}
STEPS: Mapping[Budget, int] = {"quick": 60, "standard": 235, "thorough": 235}
"""Steps over which the means of what enters the nonlinearities are followed."""

ARMS = ("none", "scratch", "noisy", "noise")
"""The networks with sigmoids."""

LEARNS = 2.0
"""Loss below which a network learns: guessing has ln 10 = 2.303."""
LARGEST_LOSS = 10.0
"""What stands for any larger loss, and for that of a training that diverged."""
RELU_RATE = 0.1
"""The learning rate of the network with ReLU."""

CLAIMS = (
    Claim(
        "N1",
        "noisy-bn",
        "Noisy batch norm is less stable than no batch norm, and still trains like batch norm: so "
        "batch norm does not help by reducing covariate shift.",
        (
            Source(SANTURKAR, "section 2.1, figures 2 and 8, appendix A.2.1", "read"),
        ),
        "a number for each part: the change of a channel's mean from step to step, noisy less none "
        "(its mean over channels and steps); the share of the gap between the losses of none and "
        "batch norm that noisy closes; the last epoch's loss with noise alone",
        (
            Part("less stable than none", Direction(0.0), "supported"),
            Part("closes half of the gap or more", Direction(0.5), "supported"),
            Part("noise without batch norm: no learning, sigmoid", Direction(LEARNS), "supported"),
            Part("noise without batch norm: no learning, relu", Direction(LEARNS), "contradicted"),
        ),
        "medium",
        f"LeNet, Fashion-MNIST, plain SGD at rate 1.0, {EPOCHS['standard']} epochs "
        f"({EPOCHS['quick']} where the budget is quick), sigmoid where not said, noise with the "
        f"paper's numbers; means over the first {STEPS['standard']} steps "
        f"({STEPS['quick']}); the paper: a network like VGG, CIFAR-10, batches of 128, rate .1, "
        "15,000 steps",
        "Training losses: the paper does not say how noise predicts. relu trains at rate .1. A "
        "loss above 10, or one that diverged, counts as 10.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train the five networks; follow the means of two of them in trainings of their own."""
    start = time.perf_counter()
    trials = [
        _trial(budget, norm, "sigmoid", seed) for seed in range(SEEDS[budget]) for norm in ARMS
    ]
    trials += [_trial(budget, "noise", "relu", seed) for seed in range(SEEDS[budget])]
    summaries = yield from laboratory.train(trials)
    values = _losses(budget, summaries)
    values["less stable than none"] = yield from _instability(budget, laboratory)
    if "N1" in ids:
        curves = _by_epoch(budget, summaries)
        yield Measured("N1", Evidence(values, curves=curves), time.perf_counter() - start)


def _trial(budget: Budget, norm: str, activation: str, seed: int) -> Trial:
    return trial(
        f"{norm}-{activation}",
        seed,
        model__norm=norm,
        model__activation=activation,
        optimizer__lr=1.0 if activation == "sigmoid" else RELU_RATE,
        training__epochs=EPOCHS[budget],
    )


def _losses(budget: Budget, summaries: Summaries) -> dict[str, list[float]]:
    """Return what the last epochs' losses say, by part."""

    def loss(norm: str, activation: str, seed: int) -> float:
        epoch = last_epoch(summaries[_trial(budget, norm, activation, seed).name])
        return LARGEST_LOSS if epoch is None else min(epoch.loss, LARGEST_LOSS)

    values: dict[str, list[float]] = {part.name: [] for part in CLAIMS[0].parts}
    for seed in range(SEEDS[budget]):
        none, bn, noisy = (loss(norm, "sigmoid", seed) for norm in ("none", "scratch", "noisy"))
        values["closes half of the gap or more"].append((none - noisy) / (none - bn))
        for act in ("sigmoid", "relu"):
            part = f"noise without batch norm: no learning, {act}"
            values[part].append(loss("noise", act, seed))
    return values


def _by_epoch(budget: Budget, summaries: Summaries) -> Mapping[str, Points]:
    """Return the mean training losses over the seeds, by epoch, as far as they are finite."""
    arms = [*((norm, "sigmoid") for norm in ARMS), ("noise", "relu")]
    samples = [
        Sample(
            {},
            {
                f"{norm}, {act}": points_of_epochs(
                    summaries[_trial(budget, norm, act, seed).name].epochs, "loss"
                )
                for norm, act in arms
            },
        )
        for seed in range(SEEDS[budget])
    ]
    return gathered(CLAIMS[0], samples).curves


def _instability(
    budget: Budget, laboratory: Laboratory
) -> Generator[StudyEvent, None, list[float]]:
    """Return, seed by seed, how much more the means move with noisy batch norm than with none."""
    from bnrun.studies.own_training import on_training_images
    from bnrun.studies.stability import mean_change

    norms = ("noisy", "none")
    trials = [
        _trial(budget, norm, "sigmoid", seed) for seed in range(SEEDS[budget]) for norm in norms
    ]
    parts = {
        f"N1 means of channels, {one.name}": partial(
            on_training_images, partial(mean_change, one.config, steps=STEPS[budget])
        )
        for one in trials
    }
    changes = yield from laboratory.compute(trials[0].config.data, parts)
    return [noisy - none for noisy, none in zip(changes[::2], changes[1::2], strict=True)]


STUDY = Study(
    name="noisy",
    question="Does batch norm help by reducing covariate shift?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=199,
    measure=measure,
)
