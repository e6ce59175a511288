"""Study `regularize`: whether batch norm regularizes, and what dropout does beside it."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction, Law
from bnrun.studies.sources import CAFFENET, D2L, IOFFE, NOTES
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import VALIDATION, Laboratory, differences, trial

if TYPE_CHECKING:
    from bnrun.config import Config
    from bnrun.studies.overfitting import Course

    Courses = Mapping[str, Sequence[Course]]  # by arm, one a seed

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
FEW_STEPS: Mapping[Budget, int] = {"quick": 48, "standard": 400, "thorough": 800}
"""Training steps on few images."""
MANY_SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 3, "thorough": 10}
MANY_STEPS: Mapping[Budget, int] = {"quick": 24, "standard": 430, "thorough": 2_150}
"""Seeds and training steps on many images: two epochs, and ten."""
LOOKS, LOOK_RATIO = 10, 1.5
"""Looks at a training after its start, and by what factor each comes later than the one before."""

FEW = 2_000
"""Images to train on, so that a network overfits."""
MANY = 60_000 - VALIDATION
RATE = 0.3
TOGETHER = 16
"""Images of a batch of 256 that one arm normalizes together."""
DROPOUTS = (0.2, 0.5)
SHIFTING = DROPOUTS[-1]
"""The dropout of D3."""
NO_LOSS = -0.003
"""What may be lost without dropout, in test accuracy."""

NONE, BN, GHOST = "no norm", "batch norm", f"batch norm, {TOGETHER} together"
ARMS: Mapping[str, Mapping[str, Any]] = {
    NONE: {"model__norm": "none"},
    BN: {},
    GHOST: {"training__norm_batch": TOGETHER},
    **{f"{BN}, dropout {p:g}": {"model__dropout": p} for p in DROPOUTS},
}
DROPPING = {p: f"{BN}, dropout {p:g}" for p in DROPOUTS}
"""The arms with dropout, by its probability."""

ON_FEW, ON_MANY = f"{FEW:,} images", f"{MANY:,} images"
WHOLE_FEW, WHOLE_MANY = f"256 together, {ON_FEW}", f"256 together, {ON_MANY}"
GHOST_FEW = f"{TOGETHER} together, {ON_FEW}"
BEHIND, BEFORE, COSTS = "norm behind dropout", "norms before it", "accuracy that dropout costs"

HERE = (
    f"LeNet, relu, plain SGD at rate {RATE:g}, batches of 256; the first {FEW:,} images of "
    f"Fashion-MNIST, {FEW_STEPS['standard']} steps ({FEW_STEPS['quick']} where the budget is "
    f"quick, {FEW_STEPS['thorough']} where it is thorough)"
)
THERE = (
    f"{MANY:,} images, {MANY_STEPS['standard']} steps ({MANY_STEPS['quick']}; "
    f"{MANY_STEPS['thorough']:,}) and {MANY_SEEDS['standard']} seeds ({MANY_SEEDS['quick']}; "
    f"{MANY_SEEDS['thorough']})"
)

CLAIMS = (
    Claim(
        "D1",
        "regularizes",
        "Batch norm regularizes.",
        (
            Source(IOFFE, "section 3.4", "read"),
            Source("Luo, Wang, Shao and Peng 2018, Towards Understanding Regularization in Batch "
                   "Normalization", "from memory", "memory"),
        ),
        "training less test accuracy at equal training loss: without a norm less with batch norm",
        (
            Part(WHOLE_FEW, Direction(), "not decided"),
            Part(GHOST_FEW, Direction(), "supported"),
            Part(WHOLE_MANY, Direction(), "not decided"),
        ),
        "medium",
        f"{HERE}; and {THERE}; relu, as a sigmoid without a norm is not fitted in so few steps; "
        "losses and accuracies as predicted with population statistics, so that no loss has the "
        "noise of a batch; the loss is the least that both networks reach",
        "At equal loss, not at equal time: batch norm gets there sooner, and then fits further.",
    ),
    Claim(
        "D2",
        "no-dropout-needed",
        "With batch norm there is no need for dropout.",
        (
            Source(NOTES, "text", "read"),
            Source(IOFFE, "section 4.2.1, which removes it", "read"),
            Source(CAFFENET, "batch norm with dropout, which says otherwise",
                   "read", "accuracy .513 without, .527 with p = .2, .499 with p = .5, one run "
                   "each"),
            Source(D2L, "exercise 6", "read"),
        ),
        "test accuracy with batch norm: without dropout less with the best dropout",
        (
            Part(ON_MANY, Direction(NO_LOSS), "supported"),
            Part(ON_FEW, Direction(NO_LOSS), "contradicted"),
        ),
        "medium",
        f"{HERE}; and {THERE}; dropout after both hidden linear layers with p = "
        f"{' or '.join(f'{p:g}' for p in DROPOUTS)}, the better one by {VALIDATION:,} other "
        "training images; population statistics",
        "Dropout without batch norm, the other half of the textbook's exercise, is left out.",
    ),
    Claim(
        "D3",
        "variance-shift",
        "Dropout before a batch norm shifts the variance that the norm predicts with.",
        (
            Source("Li, Chen, Hu and Yang 2018, Understanding the Disharmony between Dropout and "
                   "Batch Normalization", "the experiments on CIFAR-100", "read",
                   "DenseNet: 77.42 % without dropout, 68.55 % with p = .5 in each bottleneck"),
        ),
        "a number for each part: the ratio of a unit's variances in training and in prediction, "
        "the larger over the smaller, its median over units; test accuracy without dropout less "
        "with",
        (
            Part(BEHIND, Direction(1.1), "supported"),
            Part(BEFORE, Law(1.0, 0.05), "supported"),
            Part(COSTS, Direction(), "not decided"),
        ),
        "high",
        f"{HERE}; p = {SHIFTING:g}; dropout after both hidden linear layers, so the last norm is "
        "behind one and three are before both; the variance in training is the mean over batches "
        "with the final weights, so a lag of moving statistics does not count; accuracies with "
        "population statistics, which repair the shift",
        "In LeNet one norm alone is behind dropout; in the source's network most are.",
    ),
)  # fmt: skip

FEW_ARMS: Mapping[str, Sequence[str]] = {
    "D1": (NONE, BN, GHOST),
    "D2": (BN, *DROPPING.values()),
    "D3": (BN, *DROPPING.values()),
}
MANY_ARMS: Mapping[str, Sequence[str]] = {
    "D1": (NONE, BN),
    "D2": (BN, *DROPPING.values()),
    "D3": (),
}
"""The arms that each claim needs, on few images and on many."""


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train what the claims with these ids need, in trainings that leave nothing."""
    start = time.perf_counter()
    few = yield from _courses(
        _needed(FEW_ARMS, ids), FEW, FEW_STEPS[budget], SEEDS[budget], laboratory
    )
    many = yield from _courses(
        _needed(MANY_ARMS, ids), None, MANY_STEPS[budget], MANY_SEEDS[budget], laboratory
    )
    for id_ in ids:
        evidence = EVIDENCE[id_](few, many)
        yield Measured(id_, evidence, time.perf_counter() - start)
        start = time.perf_counter()  # the first claim has the seconds of all trainings


def _needed(arms: Mapping[str, Sequence[str]], ids: Collection[str]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(arms[id_] for id_ in ids)))


def _courses(
    arms: Sequence[str], images: int | None, steps: int, seeds: int, laboratory: Laboratory
) -> "Generator[StudyEvent, None, Courses]":
    """Train each arm with each seed."""
    from bnrun.studies.overfitting import course
    from bnrun.training.engine import fast_on_cpu

    if not arms:
        return {}
    looks, engine = _looked_at(steps), fast_on_cpu()
    parts = {
        f"{arm}, {ON_FEW if images else ON_MANY}, seed {seed}": partial(
            course, _config(arm, images, seed), looked_at=looks, engine=engine
        )
        for seed in range(seeds)
        for arm in arms
    }
    found = yield from laboratory.compute(_config(arms[0], images, 0).data, parts)
    return {arm: found[at :: len(arms)] for at, arm in enumerate(arms)}


def _looked_at(steps: int) -> list[int]:
    """Return the steps of the looks, denser at the start, where the loss falls fast."""
    return sorted({math.ceil(steps / LOOK_RATIO**at) for at in range(LOOKS)})


def _config(arm: str, images: int | None, seed: int) -> "Config":
    return trial(
        arm,
        seed,
        model__activation="relu",
        optimizer__lr=RATE,
        data__validation=VALIDATION,
        data__images=images,
        **ARMS[arm],
    ).config


def _regularizes(few: "Courses", many: "Courses") -> Evidence:
    """Compare the gaps of training and test accuracy where two networks have one training loss."""
    values: dict[str, list[float]] = {}
    losses = []
    for part, arm, courses in (
        (WHOLE_FEW, BN, few),
        (GHOST_FEW, GHOST, few),
        (WHOLE_MANY, BN, many),
    ):
        values[part] = []
        for none, normalized in zip(courses[NONE], courses[arm], strict=True):
            loss = max(none.least_loss, normalized.least_loss)
            values[part].append(none.gap_at(loss) - normalized.gap_at(loss))
            losses.append(loss)
    remark = f"At training losses of {min(losses):.2g} to {max(losses):.2g}."
    return Evidence(values, remark, _by_loss({arm: few[arm] for arm in FEW_ARMS["D1"]}))


def _by_loss(courses: "Courses") -> dict[str, Points]:
    """Return the gap of each arm by -log10 of its training loss, the first seed's."""
    return {
        arm: sorted((-math.log10(look.loss), look.gap) for look in taken[0].looks)
        for arm, taken in courses.items()
    }


def _no_dropout_needed(few: "Courses", many: "Courses") -> Evidence:
    """Compare the test accuracy without dropout with that of the best dropout."""
    values, chosen, points = {}, [], []
    for part, courses in ((ON_MANY, many), (ON_FEW, few)):
        best = max(
            DROPPING,
            key=lambda p: statistics.fmean(one.validation_acc for one in courses[DROPPING[p]]),
        )
        plain, dropping = (_test_accuracies(courses[arm]) for arm in (BN, DROPPING[best]))
        values[part] = differences(plain, dropping)
        chosen.append(f"p = {best:g} with {part}")
        arms = {0.0: BN, **DROPPING}
        points.append(
            [(p, statistics.fmean(_test_accuracies(courses[arm]))) for p, arm in arms.items()]
        )
    curves = dict(zip((ON_MANY, ON_FEW), points, strict=True))
    return Evidence(values, f"The better dropout: {'; '.join(chosen)}.", curves)


def _variance_shift(few: "Courses", many: "Courses") -> Evidence:
    """Compare the variances of training and prediction, at each norm."""
    shifting = few[DROPPING[SHIFTING]]
    samples = [
        Sample(
            {
                BEHIND: statistics.median(one.ratios[-1]),
                BEFORE: statistics.median(chain.from_iterable(one.ratios[:-1])),
                COSTS: plain.looks[-1].test_acc - one.looks[-1].test_acc,
            },
            {
                f"p = {p:g}": [
                    (float(place), statistics.median(ratios))
                    for place, ratios in enumerate(of_p[seed].ratios, start=1)
                ]
                for p, of_p in {
                    0.0: few[BN],
                    **{p: few[arm] for p, arm in DROPPING.items()},
                }.items()
            },
        )
        for seed, (plain, one) in enumerate(zip(few[BN], shifting, strict=True))
    ]
    return gathered(find_claim(CLAIMS, "D3"), samples)


def _test_accuracies(courses: "Sequence[Course]") -> list[float]:
    return [one.looks[-1].test_acc for one in courses]


EVIDENCE: "Mapping[str, Callable[[Courses, Courses], Evidence]]" = {
    "D1": _regularizes,
    "D2": _no_dropout_needed,
    "D3": _variance_shift,
}
"""What each claim's numbers are, from the courses on few images and on many."""

STUDY = Study(
    name="regularize",
    question="Does batch norm regularize, and does it make dropout needless?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=131,
    measure=measure,
)
