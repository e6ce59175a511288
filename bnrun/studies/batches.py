"""Study `batches`: how many examples should be normalized together."""

import math
import statistics
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from functools import partial
from typing import Any

from bnrun.comparison.comparison_events import Trial
from bnrun.comparison.estimate import CONFIDENCE, interval
from bnrun.config import Config
from bnrun.events import EpochEnded, Stage
from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction
from bnrun.studies.sources import D2L, HOFFER, NOTES, SUMMERS, WU_HE, WU_JOHNSON
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import (
    Laboratory,
    Summaries,
    differences,
    final_accuracy,
    last_epoch,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 1, "thorough": 3}
FEW_SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 3, "thorough": 10}
"""Seeds of B4's few images, B5 and B6, whose trainings take longer."""

ALL_IMAGES, BATCH = 60_000, 256
"""Training images, and images of a step."""
SIZES: Mapping[Budget, Sequence[int]] = {
    "quick": (2, 8, 16, 64, 128, 256),
    "standard": (2, 4, 8, 16, 64, 128, 256),
    "thorough": (2, 4, 8, 16, 32, 64, 128, 256),
}
"""How many images are normalized together; the last is the whole batch."""
GROUPS = 2
"""Groups of group norm: they must divide 6, 16, 84 and 120 channels."""

COUPLED_SEEDS = 3
"""Seeds of B1's second variant, which the budget thorough alone takes."""

FEW_IMAGES, FEW_STEPS, FEW_PIECE = 2_000, 400, 16
"""B4's trainings on few images."""

LARGE = 4_096
"""B5's large batch."""
LARGE_EPOCHS = 16
"""Epochs in which it takes as many steps as the usual batch in one."""

SMALL, SORTED = 4, 32
"""B6's pieces, at random and in the order of classes."""
RENORM_STEPS: Mapping[Budget, int] = {"quick": 60, "standard": 100, "thorough": 235}
RENORM_WARMUP = 5
"""Steps of B6 without correction; then its bounds grow, for 35 steps: see `BatchRenorm`."""
RENORM_MOMENTUM = 0.01
"""Ioffe 2017, section 4; the same for both norms."""

LESS_2, LESS_8 = "256 less 2", "256 less 8"
AT_8, AT_64 = "pieces of 8: group norm is better", "pieces of 64: batch norm is better"
THAN_256, THAN_16 = "better than 256", "better than 16"
GHOST_16, GHOST_64 = "60,000 images, pieces of 16", "60,000 images, pieces of 64"
GHOST_FEW = f"{FEW_IMAGES:,} images, pieces of {FEW_PIECE}"
A_GAP, NO_GAP = "equal epochs: a point less", "equal steps: no point less"
RENORM_SMALL, RENORM_SORTED = f"pieces of {SMALL}", f"pieces of {SORTED}, in order of classes"

HERE = (
    f"LeNet, sigmoid, Fashion-MNIST, plain SGD at rate 1.0, always {BATCH} images a step, "
    f"{EPOCHS['standard']} epoch ({EPOCHS['thorough']} where the budget is thorough), norm scratch "
    "over pieces of the batch; test accuracy with population statistics"
)

CLAIMS = (
    Claim(
        "B1",
        "big-enough",
        "Batch norm works only with big enough batches.",
        (
            Source(NOTES, "text", "read"),
            Source(WU_HE, "figure 1, as summarized", "summary",
                   "ResNet-50's error 23.6 % with 32 images a GPU, 34.7 % with 2"),
            Source(WU_JOHNSON, "section 4, as summarized", "summary"),
        ),
        "test accuracy with 256 images normalized together, less that with fewer",
        (
            Part(LESS_2, Direction(0.02), "supported"),
            Part(LESS_8, Direction(0.02), "not decided"),
        ),
        "medium",
        f"{HERE}. Wu and Johnson, too, vary what is normalized together alone; Wu and He vary the "
        "batch of a step with it, and the rate, which the budget thorough does here besides",
        "At one rate: the best rate may depend on how many images are normalized together.",
    ),
    Claim(
        "B2",
        "group-below-16",
        "Below 16 examples, use group norm instead.",
        (
            Source(NOTES, "text", "read"),
            Source(WU_HE, "as summarized", "summary",
                   "its error is 10.6 points lower with 2 images a GPU, and .5 higher with 32"),
        ),
        "a number for each part: test accuracy of group norm less that of batch norm over pieces "
        "of 8; that of batch norm over pieces of 64 less that of group norm",
        (
            Part(AT_8, Direction(0.0), "contradicted"),
            Part(AT_64, Direction(0.0), "supported"),
        ),
        "medium",
        f"{HERE}; group norm with {GROUPS} groups, at the same rate",
        "It says where the two cross, at one rate and early in training.",
    ),
    Claim(
        "B3",
        "fifty-to-hundred",
        "Batch norm works best with 50 to 100 examples.",
        (Source(D2L, "text", "read"),),
        "test accuracy with 64 and 128 images normalized together, their mean, less that with "
        "others",
        (
            Part(THAN_256, Direction(0.0), "not decided"),
            Part(THAN_16, Direction(0.0), "not decided"),
        ),
        "high",
        f"{HERE}; the text means the batch of a step",
    ),
    Claim(
        "B4",
        "ghost",
        "Normalizing a batch in pieces (ghost batches) generalizes better.",
        (
            Source(HOFFER, "abstract", "summary"),
            Source(SUMMERS, "ghost batch normalization, as summarized", "summary"),
            Source("Deep Learning Tuning Playbook", "FAQ on batch norm", "read",
                   '"about 64 examples", which is "anecdotal"'),
        ),
        "test accuracy with pieces, less that with the whole batch",
        (
            Part(GHOST_16, Direction(0.0), "not decided"),
            Part(GHOST_64, Direction(0.0), "not decided"),
            Part(GHOST_FEW, Direction(0.0), "supported"),
        ),
        "low",
        f"{HERE}; on the first {FEW_IMAGES:,} images, {FEW_STEPS} steps, {FEW_SEEDS['standard']} "
        "seeds",
        "At equal steps, not at equal training loss; study regularize does that.",
    ),
    Claim(
        "B5",
        "longer-not-batch",
        "A large batch generalizes worse only because it takes too few steps.",
        (Source(HOFFER, "abstract", "summary"),),
        f"a number for each part: test accuracy of batches of {BATCH} less that of batches of "
        f"{LARGE:,}, after equal epochs; the latter's less the former's, after equal steps",
        (
            Part(A_GAP, Direction(0.01), "supported"),
            Part(NO_GAP, Direction(-0.01), "supported"),
        ),
        "medium",
        f"LeNet, norm scratch, sigmoid, Fashion-MNIST, plain SGD at rate 1.0 for both; one epoch "
        f"of batches of {BATCH}, 1 and {LARGE_EPOCHS} epochs of batches of {LARGE:,}, 235 and 240 "
        f"steps; population statistics; {FEW_SEEDS['standard']} seeds",
        "A larger rate would suit the large batch better, at equal epochs. With equal steps, it "
        f"sees every image {LARGE_EPOCHS} times.",
    ),
    Claim(
        "B6",
        "renorm",
        "Batch renormalization repairs small batches, and batches that are no random sample.",
        (Source("Ioffe 2017, Batch Renormalization", "from memory", "memory"),),
        "test accuracy with batch renormalization less that with batch norm",
        (
            Part(RENORM_SMALL, Direction(0.0), "not decided"),
            Part(RENORM_SORTED, Direction(0.0), "supported"),
        ),
        "medium",
        "LeNet, sigmoid, Fashion-MNIST, plain SGD at rate 1.0, random batches of "
        f"{BATCH}, {RENORM_STEPS['standard']} steps ({RENORM_STEPS['quick']} where the budget is "
        f"quick); r_max 3 and d_max 5, reached after 40 and 25 steps; momentum "
        f"{RENORM_MOMENTUM:g}; pieces of the batch are normalized together, as it comes, or "
        f"sorted by class; population statistics; {FEW_SEEDS['standard']} seeds; the source: "
        "batches of 32, in which some classes share all images",
        "Sorted by class, a piece has about one class: the steps are still those of random "
        "batches.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train what the claims with these ids need; B1 to B4 share trainings."""
    shared = [id_ for id_ in ("B1", "B2", "B3", "B4") if id_ in ids]
    if shared:
        start = time.perf_counter()
        summaries = yield from laboratory.train(list(_trials(budget)))
        accuracies = _accuracies(budget, summaries)
        seconds = time.perf_counter() - start
        for id_ in shared:
            start = time.perf_counter()
            evidence = yield from SHARED[id_](budget, accuracies, laboratory)
            yield Measured(id_, evidence, seconds + time.perf_counter() - start)
            seconds = 0.0  # of trainings that the claims share
    if "B5" in ids:
        start = time.perf_counter()
        evidence = yield from _longer(budget, laboratory)
        yield Measured("B5", evidence, time.perf_counter() - start)
    if "B6" in ids:
        start = time.perf_counter()
        evidence = yield from _renorm(budget, laboratory)
        yield Measured("B6", evidence, time.perf_counter() - start)


Accuracies = Mapping[str, Sequence[float | None]]
"""Test accuracies with population statistics, seed by seed, by arm."""


def _arm(size: int) -> str:
    return f"pieces-of-{size}" if size < BATCH else "whole"


def _pieces(budget: Budget, size: int, seed: int) -> Trial:
    """Return the training whose batches are normalized in pieces of a size."""
    return trial(
        _arm(size),
        seed,
        training__epochs=EPOCHS[budget],
        training__norm_batch=size if size < BATCH else None,
        training__evaluate=["moving", "population"],
        training__keep_every=EPOCHS[budget],
    )


def _group(budget: Budget, seed: int) -> Trial:
    return trial(
        "group",
        seed,
        model__norm="group",
        model__norm_options={"groups": GROUPS},
        training__epochs=EPOCHS[budget],
    )


def _trials(budget: Budget) -> list[Trial]:
    """Return the trainings of B1 to B4, seed by seed."""
    return [
        one
        for seed in range(SEEDS[budget])
        for one in (*(_pieces(budget, m, seed) for m in SIZES[budget]), _group(budget, seed))
    ]


def _accuracies(budget: Budget, summaries: Summaries) -> Accuracies:
    found: dict[str, list[float | None]] = {}
    for one in _trials(budget):
        found.setdefault(one.arm, []).append(final_accuracy(summaries[one.name]))
    return found


def _by_size(budget: Budget, accuracies: Accuracies, least: int = 2) -> Points:
    """Return the mean test accuracy over the seeds, by how many are normalized together.

    Args:
        budget: of the study.
        accuracies: see there.
        least: how many at least; smaller pieces may do so badly that all others look alike.
    """
    return _points({m: accuracies[_arm(m)] for m in SIZES[budget] if m >= least})


def _points(values: Mapping[int, Sequence[float | None]]) -> Points:
    """Return the mean over the seeds of each size, where a training of it came to its end."""
    taken = {m: [one for one in ones if one is not None] for m, ones in values.items()}
    return [(float(m), statistics.fmean(ones)) for m, ones in taken.items() if ones]


Experiment = Generator[StudyEvent, None, Evidence]
"""Yields events, and returns the evidence for a claim."""


def _big_enough(budget: Budget, accuracies: Accuracies, laboratory: Laboratory) -> Experiment:
    """Return what more examples give; draw training, and both ways of predicting."""
    from bnrun.data.load import load
    from bnrun.studies.norm_batches import accuracy_in_pieces

    summaries = yield from laboratory.train(_trials(budget))
    dataset = yield from load(_group(budget, 0).config.data)
    samples = []
    for seed in range(SEEDS[budget]):
        yield Stage(f"B1 big-enough, seed {seed}", seed, SEEDS[budget])
        learning, own = [], []
        for m in SIZES[budget]:
            one = _pieces(budget, m, seed)
            ended = last_epoch(summaries[one.name])
            if ended is not None:
                state = laboratory.checkpoint(one, EPOCHS[budget])
                learning.append((float(m), ended.train_acc))
                own.append((float(m), accuracy_in_pieces(one.config, state, dataset.test)))
        samples.append(Sample({}, {"training": learning, "test, in pieces": own}))
    curves = {
        **gathered(find_claim(CLAIMS, "B1"), samples).curves,
        "test, population": _by_size(budget, accuracies),
    }
    values = {
        part: differences(accuracies["whole"], accuracies[_arm(m)])
        for part, m in ((LESS_2, 2), (LESS_8, 8))
    }
    if budget != "thorough":
        return Evidence(values, curves=curves)
    coupled = yield from _coupled(budget, laboratory)
    ends = ", ".join(f"{accuracy:.3f} with {m:g}" for m, accuracy in (coupled[0], coupled[-1]))
    remark = f"Coupled to the batch of a step and the rate, test accuracy is {ends}."
    return Evidence(values, remark, {**curves, "test, coupled": coupled})


def _coupled(budget: Budget, laboratory: Laboratory) -> Generator[StudyEvent, None, Points]:
    """Return test accuracies where steps have as few examples, at a rate as much smaller."""
    trials = {
        (m, seed): trial(
            f"coupled-{m}",
            seed,
            optimizer__lr=m / BATCH,
            training__batch_size=m,
            training__epochs=EPOCHS[budget],
            training__evaluate=["moving", "population"],
        )
        for seed in range(COUPLED_SEEDS)
        for m in SIZES[budget]
    }
    summaries = yield from laboratory.train(list(trials.values()))
    return _points(
        {
            m: [final_accuracy(summaries[trials[m, seed].name]) for seed in range(COUPLED_SEEDS)]
            for m in SIZES[budget]
        }
    )


def _group_below(budget: Budget, accuracies: Accuracies, laboratory: Laboratory) -> Experiment:
    """Return where group norm and batch norm are better, and up to where group norm is."""
    yield from ()
    group = accuracies["group"]
    gains = {m: differences(group, accuracies[_arm(m)]) for m in SIZES[budget]}
    intervals = {m: interval(values, CONFIDENCE) for m, values in gains.items()}
    better = [m for m, ends in intervals.items() if ends is not None and ends[0] > 0]
    largest = f"up to pieces of {max(better)}" if better else "with no size of piece"
    curves = {
        "batch norm": _by_size(budget, accuracies),
        "group norm": _points(dict.fromkeys(SIZES[budget], group)),
    }
    values = {AT_8: gains[8], AT_64: [-gain for gain in gains[64]]}
    return Evidence(values, f"Group norm is better, beyond its interval, {largest}.", curves)


def _fifty_to_hundred(budget: Budget, accuracies: Accuracies, laboratory: Laboratory) -> Experiment:
    """Return how much better 64 and 128 are than more, and than fewer."""
    yield from ()
    middle = [
        None if a is None or b is None else (a + b) / 2
        for a, b in zip(accuracies[_arm(64)], accuracies[_arm(128)], strict=True)
    ]
    values = {
        THAN_256: differences(middle, accuracies["whole"]),
        THAN_16: differences(middle, accuracies[_arm(16)]),
    }
    return Evidence(values, curves={"batch norm": _by_size(budget, accuracies, 8)})


def _ghost(budget: Budget, accuracies: Accuracies, laboratory: Laboratory) -> Experiment:
    """Return how much better pieces are than the whole batch, on all images and on few."""
    from bnrun.studies.norm_batches import trained_on_few

    sizes = (FEW_PIECE, BATCH)
    parts = {
        f"B4 ghost, {FEW_IMAGES:,} images in pieces of {m}, seed {seed}": partial(
            trained_on_few, _pieces(budget, m, seed).config, FEW_IMAGES, FEW_STEPS
        )
        for seed in range(FEW_SEEDS[budget])
        for m in sizes
    }
    found = yield from laboratory.compute(_group(budget, 0).config.data, parts)
    accuracies_of = [outcome.accuracy for outcome in found]
    few = {m: accuracies_of[at :: len(sizes)] for at, m in enumerate(sizes)}
    values = {
        GHOST_16: differences(accuracies[_arm(16)], accuracies["whole"]),
        GHOST_64: differences(accuracies[_arm(64)], accuracies["whole"]),
        GHOST_FEW: differences(few[FEW_PIECE], few[BATCH]),
    }
    in_pieces, whole = (statistics.fmean(ones) for ones in few.values())
    remark = (
        f"On {FEW_IMAGES:,} images, test accuracies are {in_pieces:.3f} with pieces of "
        f"{FEW_PIECE}, and {whole:.3f} with the whole batch."
    )
    return Evidence(values, remark, {"60,000 images": _by_size(budget, accuracies, 8)})


SHARED = {
    "B1": _big_enough,
    "B2": _group_below,
    "B3": _fifty_to_hundred,
    "B4": _ghost,
}
"""The claims that share trainings."""


def _longer(budget: Budget, laboratory: Laboratory) -> Experiment:
    """Return what a large batch loses at equal epochs, and at equal steps."""

    def at(size: int, epochs: int, seed: int) -> Trial:
        return trial(
            f"batches-of-{size}",
            seed,
            training__batch_size=size,
            training__epochs=epochs,
            training__evaluate=["moving", "population"],
        )

    pairs = [
        (at(BATCH, 1, seed), at(LARGE, LARGE_EPOCHS, seed)) for seed in range(FEW_SEEDS[budget])
    ]
    summaries = yield from laboratory.train([one for pair in pairs for one in pair])
    samples = []
    for usual, large in pairs:
        curves = {
            f"batches of {size:,}": [
                (float(epoch.epoch * math.ceil(ALL_IMAGES / size)), _predicted(epoch))
                for epoch in summaries[one.name].epochs
            ]
            for size, one in ((BATCH, usual), (LARGE, large))
        }
        usual_accs, large_accs = ([value for _, value in points] for points in curves.values())
        values = {}
        if len(usual_accs) == 1 and len(large_accs) == LARGE_EPOCHS:  # neither diverged
            values = {
                A_GAP: usual_accs[0] - large_accs[0],
                NO_GAP: large_accs[-1] - usual_accs[0],
            }
        samples.append(Sample(values, curves))
    return gathered(find_claim(CLAIMS, "B5"), samples)


def _predicted(epoch: EpochEnded) -> float:
    """Return the test accuracy after an epoch, with population statistics."""
    population = epoch.test_acc_population
    return epoch.test_acc if population is None else population


def _renorm(budget: Budget, laboratory: Laboratory) -> Experiment:
    """Train with both norms over small pieces, and over pieces of about one class."""
    from bnrun.studies.norm_batches import trained_in_order

    steps = RENORM_STEPS[budget]
    settings = [
        (seed, size, norm)
        for seed in range(FEW_SEEDS[budget])
        for size in (SMALL, SORTED)
        for norm in ("scratch", "renorm")
    ]
    parts = {
        f"B6 renorm, {norm}, pieces of {size}, seed {seed}": partial(
            trained_in_order, _renormed(norm, size, seed), steps, by_class=size == SORTED
        )
        for seed, size, norm in settings
    }
    outcomes = yield from laboratory.compute(_group(budget, 0).config.data, parts)
    found = dict(zip(settings, outcomes, strict=True))
    samples = []
    for seed in range(FEW_SEEDS[budget]):
        values, curves = {}, {}
        for part, size, order in (
            (RENORM_SMALL, SMALL, "as it comes"),
            (RENORM_SORTED, SORTED, "by class"),
        ):
            batch_norm, renorm = (found[seed, size, norm] for norm in ("scratch", "renorm"))
            values[part] = renorm.accuracy - batch_norm.accuracy
            curves[f"batch norm, {order}"] = batch_norm.loss_curve()
            curves[f"renorm, {order}"] = renorm.loss_curve()
        samples.append(Sample(values, curves))
    return gathered(find_claim(CLAIMS, "B6"), samples)


def _renormed(norm: str, size: int, seed: int) -> Config:
    """Return the config of one of B6's trainings."""
    options: dict[str, Any] = {"momentum": RENORM_MOMENTUM}
    if norm == "renorm":
        options["warmup"] = RENORM_WARMUP * BATCH // size  # it counts pieces
    keys = {"model__norm": norm, "model__norm_options": options}
    return trial(f"{norm}-{size}", seed, training__norm_batch=size, **keys).config


STUDY = Study(
    name="batches",
    question="How many examples should be normalized together?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=217,
    measure=measure,
)
