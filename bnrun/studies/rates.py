"""Study `rates`: which learning rates can be used with and without batch norm."""

import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from bnrun.comparison.comparison_events import Trial
from bnrun.learning import GUESSING_LOSS
from bnrun.studies.claim import Claim, Evidence, Part, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction, Equivalence
from bnrun.studies.sources import BJORCK, D2L, IOFFE, NOTES
from bnrun.studies.study import Budget, Measured, Study, Work
from bnrun.studies.trainings import (
    Laboratory,
    Summaries,
    last_epoch,
    points_of_epochs,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 3, "thorough": 10}
OCTAVES: Mapping[Budget, Sequence[int]] = {
    "quick": range(-6, 7, 2),
    "standard": range(-6, 7),
    "thorough": range(-6, 7),
}
"""log2 of the learning rates."""

WEIGHT_OCTAVES: Mapping[Budget, Sequence[int]] = {
    "quick": range(-8, 9, 8),
    "standard": range(-8, 9, 4),
    "thorough": range(-8, 9),
}
"""log2 of the rates of normalized weights in R3."""

TRAINS = 2.0
"""Loss of the first epoch below which a network trains: guessing has ln 10 = 2.303."""
LONGER = 3
"""Epochs of R2's trainings at the smallest rate."""

ACTIVATIONS = ("relu", "sigmoid")
NORMS = ("none", "scratch")


def _step(budget: Budget) -> int:
    """Return the octaves from one rate of R3 to the next."""
    first, second, *_ = WEIGHT_OCTAVES[budget]
    return second - first


CLAIMS = (
    Claim(
        "R1",
        "larger-rates",
        "Batch norm allows larger learning rates.",
        (
            Source(IOFFE, "section 4.2.2", "read",
                   "five times the rate made the parameters of Inception infinite without batch "
                   "norm; with it, thirty times the rate works"),
            Source(D2L, "exercise 2", "read"),
            Source(NOTES, "text", "read"),
        ),
        "log2 of the largest rate that trains, with batch norm less without",
        (
            Part("relu", Direction(2), "supported"),
            Part("sigmoid", Direction(2), "supported"),
        ),
        "high",
        "LeNet, Fashion-MNIST, one epoch of plain SGD at each rate of 2^-6 to 2^6 (every other one "
        "where the budget is quick); it trains where the mean loss of the epoch is below 2, and "
        "guessing has 2.303",
        "A largest rate at the end of the grid is a lower bound. Predicting well is another "
        "matter: at large rates, moving statistics lag behind.",
    ),
    Claim(
        "R2",
        "only-through-rates",
        "The benefit of batch norm is the larger rate: at the same small rate there is none.",
        (
            Source(BJORCK, "figure 1, as summarized", "summary"),
            Source("De and Smith 2020, Batch Normalization Biases Residual Blocks", "as summarized",
                   "summary"),
        ),
        "training accuracy with batch norm less without",
        (
            Part("relu", Equivalence(0.02), "supported"),
            Part("sigmoid", Equivalence(0.02), "contradicted"),
        ),
        "medium",
        f"LeNet, Fashion-MNIST, {LONGER} epochs at the smallest rate of the grid where both train "
        "in one epoch, with all seeds",
        "Where no rate of the grid lets both train in one epoch, it is not decided.",
    ),
    Claim(
        "R3",
        "any-rate",
        "For weights before a batch norm any learning rate works: only gamma, beta and the last "
        "layer need a tuned one.",
        (
            Source("Arora, Li and Lyu 2019, Auto Rate-Tuning by Batch Normalization",
                   "as summarized", "summary"),
        ),
        "highest training accuracy less the lowest, over the rates of these weights",
        (Part("16 octaves", Equivalence(0.05), "contradicted"),),
        "medium",
        "LeNet, sigmoid, Fashion-MNIST, one epoch of plain SGD; the weights of the two "
        "convolutions and two hidden linear layers at rates of 2^-8 to 2^8, every "
        f"{_step('standard')} octaves ({_step('quick')} where the budget is quick), all else at "
        "rate 1.0",
        "The source is about long trainings: weights grow at a large rate until it suits them.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train the grid, which R1 and R2 share; at the smallest rates that train; and R3's."""
    if {"R1", "R2"} & set(ids):
        yield from _grid_claims(budget, ids, laboratory)
    if "R3" in ids:
        yield from _any_rate(budget, laboratory)


def _grid_claims(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train the grid, and then at the smallest rates that train."""
    start = time.perf_counter()
    grid = list(_grid(budget))
    summaries = yield from laboratory.train(grid)
    if "R1" in ids:
        yield Measured("R1", _largest_rates(budget, summaries), time.perf_counter() - start)
    if "R2" in ids:
        start = time.perf_counter()
        octaves = {act: _smallest(budget, summaries, act) for act in ACTIVATIONS}
        longer = [
            _trial(norm, act, octave, seed, LONGER)
            for seed in range(SEEDS[budget])
            for act, octave in octaves.items()
            if octave is not None
            for norm in NORMS
        ]
        evidence = _at_smallest(budget, octaves, (yield from laboratory.train(longer)))
        yield Measured("R2", evidence, time.perf_counter() - start)


def _any_rate(budget: Budget, laboratory: Laboratory) -> Work:
    """Train with the normalized weights at rates of their own, in trainings that leave nothing."""
    from bnrun.studies.own_training import on_training_images
    from bnrun.studies.weight_rates import accuracy_of_an_epoch
    from bnrun.training.engine import fast_on_cpu

    engine = fast_on_cpu()
    start = time.perf_counter()
    octaves = WEIGHT_OCTAVES[budget]
    configs = [_trial("scratch", "sigmoid", 0, seed).config for seed in range(SEEDS[budget])]
    parts = {
        f"R3 any-rate, 2^{octave}, seed {config.training.seed}": partial(
            on_training_images,
            partial(accuracy_of_an_epoch, config, rate=2.0**octave, engine=engine),
        )
        for config in configs
        for octave in octaves
    }
    found = yield from laboratory.compute(configs[0].data, parts)
    samples = []
    for seed in range(SEEDS[budget]):
        accuracies = found[seed * len(octaves) : (seed + 1) * len(octaves)]
        curve = list(zip(map(float, octaves), accuracies, strict=True))
        values = {"16 octaves": max(accuracies) - min(accuracies)}
        samples.append(Sample(values, {"training accuracy": curve}))
    yield Measured("R3", gathered(find_claim(CLAIMS, "R3"), samples), time.perf_counter() - start)


def _trial(norm: str, activation: str, octave: int, seed: int, epochs: int = 1) -> Trial:
    return trial(
        f"{norm}-{activation}-2^{octave}" + (f"-{epochs}-epochs" if epochs > 1 else ""),
        seed,
        model__norm=norm,
        model__activation=activation,
        optimizer__lr=2.0**octave,
        training__epochs=epochs,
    )


def _grid(budget: Budget) -> Iterator[Trial]:
    """Yield the trials of one epoch, seed by seed."""
    for seed in range(SEEDS[budget]):
        for activation in ACTIVATIONS:
            for octave in OCTAVES[budget]:
                for norm in NORMS:
                    yield _trial(norm, activation, octave, seed)


def _trains(summaries: Summaries, norm: str, activation: str, octave: int, seed: int) -> bool:
    """Return whether the loss of the first epoch at this rate was below `TRAINS`."""
    epoch = last_epoch(summaries[_trial(norm, activation, octave, seed).name])
    return epoch is not None and epoch.loss < TRAINS


def _largest(budget: Budget, summaries: Summaries, norm: str, activation: str, seed: int) -> int:
    """Return log2 of the largest rate that trains; one step below the grid where none does."""
    octaves = OCTAVES[budget]
    trainable = [o for o in octaves if _trains(summaries, norm, activation, o, seed)]
    return max(trainable, default=2 * octaves[0] - octaves[1])


def _largest_rates(budget: Budget, summaries: Summaries) -> Evidence:
    seeds = range(SEEDS[budget])
    largest = {
        (norm, act): [_largest(budget, summaries, norm, act, seed) for seed in seeds]
        for act in ACTIVATIONS
        for norm in NORMS
    }
    values = {
        act: [
            float(bn - none)
            for bn, none in zip(largest["scratch", act], largest["none", act], strict=True)
        ]
        for act in ACTIVATIONS
    }
    below = OCTAVES[budget][0] - 1
    ranges = "; ".join(
        f"{act}: {_rates(largest['none', act], below)} without, "
        f"{_rates(largest['scratch', act], below)} with"
        for act in ACTIVATIONS
    )
    curves = {
        f"{norm}, {act}": [(o, _loss(budget, summaries, norm, act, o)) for o in OCTAVES[budget]]
        for act in ACTIVATIONS
        for norm in NORMS
    }
    return Evidence(values, f"The largest rates that train: {ranges}.", curves)


def _loss(budget: Budget, summaries: Summaries, norm: str, activation: str, octave: int) -> float:
    """Return the mean loss of the first epoch over the seeds, at most that of guessing.

    A training that diverged counts as guessing.
    """
    epochs = (
        last_epoch(summaries[_trial(norm, activation, octave, seed).name])
        for seed in range(SEEDS[budget])
    )
    return statistics.fmean(
        GUESSING_LOSS if epoch is None else min(epoch.loss, GUESSING_LOSS) for epoch in epochs
    )


def _rates(octaves: Sequence[int], below: int) -> str:
    """Write the rates of several seeds, from the smallest to the largest.

    One that is not above 2^`below` is below the grid: no rate of it trained.
    """
    low, high = (
        "none of the grid" if octave <= below else f"{2.0**octave:g}"
        for octave in (min(octaves), max(octaves))
    )
    return low if low == high else f"{low} to {high}"


def _smallest(budget: Budget, summaries: Summaries, activation: str) -> int | None:
    """Return log2 of the smallest rate at which both networks train, with all seeds."""
    for octave in OCTAVES[budget]:
        if all(
            _trains(summaries, norm, activation, octave, seed)
            for norm in NORMS
            for seed in range(SEEDS[budget])
        ):
            return octave
    return None


def _at_smallest(
    budget: Budget, octaves: Mapping[str, int | None], summaries: Summaries
) -> Evidence:
    values: dict[str, list[float]] = {act: [] for act in ACTIVATIONS}
    for act, octave in octaves.items():
        if octave is None:
            continue
        for seed in range(SEEDS[budget]):
            none, bn = (
                last_epoch(summaries[_trial(norm, act, octave, seed, LONGER).name])
                for norm in NORMS
            )
            if none is not None and bn is not None:
                values[act].append(bn.train_acc - none.train_acc)
    used = ", ".join(
        f"{act} {'no rate' if octave is None else format(2.0**octave, 'g')}"
        for act, octave in octaves.items()
    )
    samples = [
        Sample(
            {},
            {
                f"{norm}, {act}": points_of_epochs(
                    summaries[_trial(norm, act, octave, seed, LONGER).name].epochs, "train_acc"
                )
                for act, octave in octaves.items()
                if octave is not None
                for norm in NORMS
            },
        )
        for seed in range(SEEDS[budget])
    ]
    return Evidence(
        values, f"The rates: {used}.", gathered(find_claim(CLAIMS, "R2"), samples).curves
    )


STUDY = Study(
    name="rates",
    question="Which learning rates can be used with and without batch norm?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=178,
    measure=measure,
)
