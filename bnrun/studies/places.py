"""Study `places`: where batch norm stands in a network, and which parts of it do the work."""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bnrun.comparison.comparison_events import Trial
from bnrun.studies.claim import Claim, Evidence, Part, Points, Source
from bnrun.studies.rules import Direction
from bnrun.studies.sources import BJORCK, CAFFENET, D2L, IOFFE, NOTES, SUMMERS
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import (
    Accuracies,
    Laboratory,
    as_shares,
    differences,
    final_accuracy,
    last_epoch,
    mean_of,
    means,
    trial,
)
from bnrun.training_summary import Summary

if TYPE_CHECKING:
    from bnrun.studies.partial_training import Outcome

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 3, "thorough": 10}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 2, "thorough": 3}
IMAGES: Mapping[Budget, int | None] = {"quick": 12_000, "standard": None, "thorough": None}
"""Images to train on; None is all."""
POPULATION_IMAGES = 2_000
"""Training images that population statistics are over: S2 says that 1,000 are enough."""
RELU_RATE = 0.3
DECAY = 5e-4

NONE, BN, AFTER = "no norm", "batch norm", "after the sigmoid"
RELU, RELU_AFTER = "batch norm, relu", "after the relu"
MEAN, VARIANCE = "mean-only", "variance-only"
FIXED, RELU_FIXED = "gamma and beta fixed", "gamma and beta fixed, relu"
ALL_DECAY = "decay of all parameters"
PLACES = (1, 2, 3, 4)
ALONE = {place: f"norm{place} alone" for place in PLACES}
ALL_BUT = {place: f"all but norm{place}" for place in PLACES}
_RELU: Mapping[str, Any] = {"model__activation": "relu", "optimizer__lr": RELU_RATE}

ARMS: Mapping[str, Mapping[str, Any]] = {
    NONE: {"model__norm": "none"},
    BN: {},
    AFTER: {"model__norm_position": "after"},
    RELU: _RELU,
    RELU_AFTER: {"model__norm_position": "after", **_RELU},
    MEAN: {"model__norm": MEAN},
    VARIANCE: {"model__norm": VARIANCE},
    FIXED: {"model__norm_options": {"affine": False}},
    RELU_FIXED: {"model__norm_options": {"affine": False}, **_RELU},
    ALL_DECAY: {"optimizer__weight_decay": DECAY},
    **{ALONE[place]: {"model__norm_places": [place]} for place in PLACES},
    **{
        ALL_BUT[place]: {"model__norm_places": [one for one in PLACES if one != place]}
        for place in PLACES
    },
}
NEEDED: Mapping[str, Sequence[str]] = {
    "P1": (BN, AFTER, RELU, RELU_AFTER),
    "P2": (NONE, BN, *ALONE.values(), *ALL_BUT.values()),
    "P3": (NONE, BN),
    "P4": (NONE, BN, MEAN, VARIANCE),
    "P5": (BN, FIXED, RELU, RELU_FIXED),
    "P6": (BN,),
    "P7": (BN, ALL_DECAY),
}
"""The arms whose trainings each claim takes its numbers from."""

STANDARDIZED = "standardized images"
ONLY_NORMS, WITH_LAST, RANDOM = "gamma and beta alone", "and the last layer", "random weights"
WEIGHTS_DECAY = "decay of weights and biases"
OWN: Mapping[str, Sequence[str]] = {
    "P3": (STANDARDIZED,),
    "P6": (ONLY_NORMS, WITH_LAST, RANDOM),
    "P7": (WEIGHTS_DECAY,),
}
"""The arms that no config describes, by the claim that trains them."""

HALF_A_POINT, A_THIRD = 0.005, 0.333
NEAR_ZERO = 0.01
HALF = "norm4 alone: half or more"
BEATS, A_THIRD_OFF = "more than random weights", "a third of gamma near 0"

HERE = (
    f"LeNet, Fashion-MNIST, plain SGD, {EPOCHS['standard']} epochs (one of {IMAGES['quick']:,} "
    f"images where the budget is quick, {EPOCHS['thorough']} where it is thorough); sigmoid at "
    "rate 1.0"
)
POPULATION = f"test accuracy with population statistics of {POPULATION_IMAGES:,} training images"
WITH_RELU = f"{HERE}, relu at {RELU_RATE:g}; {POPULATION}"

CLAIMS = (
    Claim(
        "P1",
        "before",
        "Batch norm belongs before the activation.",
        (
            Source(NOTES, "text", "read"),
            Source(IOFFE, "section 3.2", "read"),
            Source(CAFFENET, "place of batch norm, which says otherwise", "read",
                   "accuracy before .474 (.478 with gamma and beta), after .499, one run each"),
        ),
        "test accuracy with batch norm before the activation less after",
        (
            Part("sigmoid", Direction(0.003), "contradicted"),
            Part("relu", Direction(0.003), "not decided"),
        ),
        "medium",
        WITH_RELU,
        "Pooling follows both. A norm after pooling is left out.",
    ),
    Claim(
        "P2",
        "every-layer",
        "One batch norm, before the last layer, gives most of what batch norms give.",
        (
            Source(BJORCK, "as summarized: about two thirds", "summary"),
            Source(D2L, "exercise 3, which asks it", "read"),
        ),
        "share of the way from no norm to four norms, in test accuracy, that norm4 alone goes",
        (Part(HALF, Direction(0.5), "contradicted"),),
        "medium",
        f"{HERE}; {POPULATION}",
        "Early in training the network without a norm has not learned much: the way is long.",
    ),
    Claim(
        "P3",
        "input",
        "Standardizing the images does as much as batch norm.",
        (Source(D2L, "text, which compares the two", "read"),),
        "test accuracy with standardized images and no norm less with batch norm",
        (Part("within a point", Direction(-0.01), "contradicted"),),
        "high",
        f"{HERE}; {POPULATION}; all pixels by one mean and one deviation, those of the training "
        "images",
    ),
    Claim(
        "P4",
        "lite",
        "Of the two halves of batch norm, dividing by the deviation does more than subtracting the "
        "mean.",
        (
            Source(D2L, "exercise 4, which asks it", "read"),
            Source("Salimans and Kingma 2016, Weight Normalization",
                   "as summarized, which uses the mean alone", "summary"),
        ),
        "share of the way from no norm to batch norm, in test accuracy: the variance alone less "
        "the mean alone",
        (Part("variance-only less mean-only", Direction(), "supported"),),
        "medium",
        f"{HERE}; {POPULATION}",
        "Both halves have gamma and beta.",
    ),
    Claim(
        "P5",
        "affine",
        "Batch norm needs its scale and shift, gamma and beta.",
        (
            Source(IOFFE, "section 3", "read"),
            Source(D2L, "exercise 5, which asks it", "read"),
        ),
        "training accuracy of the last epoch with gamma and beta less without",
        (
            Part("sigmoid", Direction(HALF_A_POINT), "supported"),
            Part("relu", Direction(HALF_A_POINT), "contradicted"),
        ),
        "medium",
        f"{HERE}, relu at {RELU_RATE:g}; gamma 1 and beta 0 in all four norms",
    ),
    Claim(
        "P6",
        "only-bn",
        "With all weights frozen at random, gamma and beta alone learn much, more than as many "
        "other weights; a third of the channels is switched off.",
        (
            Source("Frankle, Schwab and Morcos 2021, Training BatchNorm and Only BatchNorm",
                   "abstract", "read",
                   "82 % on CIFAR-10 and 32 % top-5 on ImageNet by deep residual networks"),
        ),
        "a number for each part: test accuracy with gamma and beta trained less with as many "
        f"random weights trained; the share of channels with |gamma| below {NEAR_ZERO:g}",
        (
            Part(BEATS, Direction(), "supported"),
            Part(A_THIRD_OFF, Direction(A_THIRD), "contradicted"),
        ),
        "medium",
        f"{HERE}; {POPULATION}; 452 numbers of 44,878 are trained; where random weights are, "
        "batch norms normalize with gamma 1 and beta 0",
        "The source's networks have a hundred layers and more.",
    ),
    Claim(
        "P7",
        "decay-affine",
        "Weight decay on gamma and beta helps.",
        (
            Source(SUMMERS, "as summarized", "summary"),
        ),
        "test accuracy with decay of all parameters less with that of all but gamma and beta",
        (Part("a gain", Direction(), "not decided"),),
        "high",
        f"{HERE}; {POPULATION}; decay {DECAY:g}",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What was measured, a number for each seed.

    Attributes:
        test, training: accuracies after, and in, the last epoch.
        own: the outcomes of the arms of `OWN`.
    """

    test: Accuracies
    training: Accuracies
    own: "Mapping[str, Sequence[Outcome]]"

    def with_own(self, *arms: str) -> Accuracies:
        """Return the test accuracies of all arms, with these of `own`."""
        return {**self.test, **{arm: [one.test_acc for one in self.own[arm]] for arm in arms}}


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train what the claims with these ids need; several share their trainings."""
    start = time.perf_counter()
    arms = list(dict.fromkeys(arm for id_ in ids for arm in NEEDED[id_]))
    seeds = range(SEEDS[budget])
    summaries = yield from laboratory.train(
        [_trial(budget, arm, seed) for seed in seeds for arm in arms]
    )
    trained = {arm: [summaries[_trial(budget, arm, seed).name] for seed in seeds] for arm in arms}
    test = {arm: [final_accuracy(one) for one in taken] for arm, taken in trained.items()}
    training = {arm: [_in_training(one) for one in taken] for arm, taken in trained.items()}
    for id_ in ids:
        own = yield from _own(budget, id_, laboratory)
        evidence = EVIDENCE[id_](Found(test, training, own))
        yield Measured(id_, evidence, time.perf_counter() - start)
        start = time.perf_counter()  # the first claim has the seconds of all shared trainings


def _in_training(summary: Summary) -> float | None:
    end = last_epoch(summary)
    return None if end is None else end.train_acc


def _trial(budget: Budget, arm: str, seed: int) -> Trial:
    return trial(arm.replace(",", "").replace(" ", "-"), seed, **_keys(budget), **ARMS[arm])


def _keys(budget: Budget) -> dict[str, Any]:
    return {
        "data__images": IMAGES[budget],
        "training__epochs": EPOCHS[budget],
        "training__evaluate": ["moving", "population"],
        "training__population_images": POPULATION_IMAGES,
    }


def _own(
    budget: Budget, id_: str, laboratory: Laboratory
) -> "Generator[StudyEvent, None, Mapping[str, Sequence[Outcome]]]":
    """Train the arms of a claim that no config describes, with each seed."""
    from bnrun.studies.partial_training import decaying_weights, only, standardized_input
    from bnrun.training.engine import fast_on_cpu

    train: Mapping[str, Callable[..., Outcome]] = {
        STANDARDIZED: standardized_input,
        ONLY_NORMS: partial(only, "norms"),
        WITH_LAST: partial(only, "norms and last layer"),
        RANDOM: partial(only, "random weights"),
        WEIGHTS_DECAY: partial(decaying_weights, DECAY),
    }
    arms = OWN.get(id_, ())
    if not arms:
        return {}
    norm = "none" if id_ == "P3" else "scratch"
    configs = [
        trial(id_, seed, **_keys(budget), model__norm=norm).config for seed in range(SEEDS[budget])
    ]
    engine = fast_on_cpu()
    parts = {
        f"{id_}, {arm}, seed {config.training.seed}": partial(train[arm], config, engine=engine)
        for config in configs
        for arm in arms
    }
    found = yield from laboratory.compute(configs[0].data, parts)
    return {arm: found[at :: len(arms)] for at, arm in enumerate(arms)}


def _before(found: Found) -> Evidence:
    test = found.test
    values = {
        "sigmoid": differences(test[BN], test[AFTER]),
        "relu": differences(test[RELU], test[RELU_AFTER]),
    }
    return Evidence(values, _remark(test, NEEDED["P1"]))


def _every_layer(found: Found) -> Evidence:
    test = found.test
    gains = {arm: differences(test[arm], test[NONE]) for arm in NEEDED["P2"]}
    shares = {arm: as_shares(one, test[NONE], test[BN]) for arm, one in gains.items()}
    arms = (
        ("no norm", dict.fromkeys(PLACES, NONE)),
        ("one norm", ALONE),
        ("all but one", ALL_BUT),
        ("four norms", dict.fromkeys(PLACES, BN)),
    )
    curves = {name: _by_place(by_place, test) for name, by_place in arms}
    remark = f"Shares: {means({arm: shares[arm] for arm in (*ALONE.values(), *ALL_BUT.values())})}."
    return Evidence({HALF: shares[ALONE[4]]}, remark, curves)


def _by_place(arms: Mapping[int, str], test: Accuracies) -> Points:
    accuracies = {place: mean_of(test[arm]) for place, arm in arms.items()}
    return [(float(place), mean) for place, mean in accuracies.items() if mean is not None]


def _input(found: Found) -> Evidence:
    test = found.with_own(STANDARDIZED)
    values = {"within a point": differences(test[STANDARDIZED], test[BN])}
    return Evidence(values, _remark(test, (NONE, STANDARDIZED, BN)))


def _lite(found: Found) -> Evidence:
    test = found.test
    gains = differences(test[VARIANCE], test[MEAN])
    values = {"variance-only less mean-only": as_shares(gains, test[NONE], test[BN])}
    return Evidence(values, _remark(test, NEEDED["P4"]))


def _affine(found: Found) -> Evidence:
    training = found.training
    values = {
        "sigmoid": differences(training[BN], training[FIXED]),
        "relu": differences(training[RELU], training[RELU_FIXED]),
    }
    return Evidence(values, _remark(training, NEEDED["P5"]))


def _only_bn(found: Found) -> Evidence:
    test = found.with_own(*OWN["P6"])
    gammas = [outcome.gammas for outcome in found.own[ONLY_NORMS]]
    values = {
        BEATS: differences(test[ONLY_NORMS], test[RANDOM]),
        A_THIRD_OFF: [sum(abs(one) < NEAR_ZERO for one in taken) / len(taken) for taken in gammas],
    }
    curves = {arm: _ordered(found.own[arm][0].gammas) for arm in (ONLY_NORMS, WITH_LAST)}
    return Evidence(values, _remark(test, (*OWN["P6"], BN)), curves)


def _ordered(gammas: Sequence[float]) -> Points:
    """Return |gamma| from the smallest, over the share of channels that have no larger one."""
    lengths = sorted(map(abs, gammas))
    return [(at / len(lengths), length) for at, length in enumerate(lengths, start=1)]


def _decay_affine(found: Found) -> Evidence:
    test = found.with_own(WEIGHTS_DECAY)
    values = {"a gain": differences(test[ALL_DECAY], test[WEIGHTS_DECAY])}
    return Evidence(values, _remark(test, (ALL_DECAY, WEIGHTS_DECAY, BN)))


def _remark(accuracies: Accuracies, arms: Collection[str]) -> str:
    return f"Accuracies: {means({arm: accuracies[arm] for arm in arms})}."


EVIDENCE: Mapping[str, Callable[[Found], Evidence]] = {
    "P1": _before,
    "P2": _every_layer,
    "P3": _input,
    "P4": _lite,
    "P5": _affine,
    "P6": _only_bn,
    "P7": _decay_affine,
}

STUDY = Study(
    name="places",
    question="Where does batch norm belong, and which parts of it do the work?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=171,
    measure=measure,
)
