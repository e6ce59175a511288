"""Study `zoo`: other norms, and what replaces them, each at its best learning rate."""

import math
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bnrun.comparison.comparison_events import Trial
from bnrun.events import Stage
from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction, Equivalence, Exact
from bnrun.studies.sources import WU_HE
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import (
    VALIDATION,
    Accuracies,
    Laboratory,
    Summaries,
    as_shares,
    best_rate,
    differences,
    final_accuracy,
    last_epoch,
    means,
    rate_choice,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 2, "thorough": 3}
IMAGES: Mapping[Budget, int | None] = {"quick": 6_000, "standard": 30_000, "thorough": None}
"""Images to train on; None is all."""

RATES: Mapping[Budget, Sequence[float]] = {
    "quick": (0.1, 0.3),
    "standard": (0.03, 0.1, 0.3, 1.0),
    "thorough": (0.03, 0.1, 0.3, 1.0),
}
"""The learning rates of which each norm gets its best."""
POPULATION_IMAGES = 2_000
"""Training images that population statistics are over: S2 says that 1,000 are enough."""
CHOICE_EPOCHS = 1
"""Of the trainings that choose the rate."""

BATCH, GROUP, LAYER, INSTANCE = "batch norm", "group norm", "layer norm", "instance norm"
RMS, DYT = "RMS norm", "DyT"
NONE, LARGER = "no norm", "no norm, larger weights"
STANDARDIZED, DIRECTED = "group norm, standardized weights", "weight norm"
GAIN = math.sqrt(2)
"""Factor of Xavier's weights that He's have in a layer as wide as its input."""
ARMS: Mapping[str, Mapping[str, Any]] = {
    BATCH: {},
    GROUP: {"model__norm": "group"},
    LAYER: {"model__norm": "layer"},
    INSTANCE: {"model__norm": "instance"},
    RMS: {"model__norm": "rms"},
    DYT: {"model__norm": "dyt"},
    NONE: {"model__norm": "none"},
    LARGER: {"model__norm": "none", "model__weight_scale": GAIN},
    STANDARDIZED: {"model__norm": "group", "model__weights": "standardized"},
    DIRECTED: {"model__norm": "none", "model__weights": "normalized"},
}
NEEDED: Mapping[str, Sequence[str]] = {
    "Z1": (BATCH, GROUP, LAYER, INSTANCE),
    "Z2": (),
    "Z3": (BATCH, INSTANCE),
    "Z4": (LAYER, RMS),
    "Z5": (BATCH, DYT),
    "Z6": (GROUP, STANDARDIZED, BATCH),
    "Z7": (BATCH, LARGER),
    "Z8": (BATCH, NONE, DIRECTED),
}
"""The arms whose trainings each claim takes its numbers from."""

PALE = 0.3
CONTRASTS = (PALE, 0.6, 1.0)
"""Factors of the contrast in Z3: the claim's own, and what its picture has besides."""
ROUNDS: Mapping[Budget, int] = {"quick": 2, "standard": 6, "thorough": 20}
ROUND_STEPS = 5
"""Rounds of Z4, for each seed, and the steps of a round."""
POINT, HALF_A_POINT = 0.01, 0.005
SAME, LESS_TIME = "accuracy: the same", "7 % less time, or more"
WITHIN, CLOSER = "within a point", "within half a point"
SOME, HALF = "some of the way", "half of it, or more"

HERE = (
    f"LeNet, relu, {IMAGES['standard']:,} images of Fashion-MNIST, {EPOCHS['standard']} epochs "
    f"({IMAGES['quick']:,} and one where the budget is quick; all and {EPOCHS['thorough']} where "
    "it is thorough), plain SGD at the best of the rates "
    f"{', '.join(f'{rate:g}' for rate in RATES['standard'])} "
    f"({' and '.join(f'{rate:g}' for rate in RATES['quick'])}), chosen for each norm by "
    f"{VALIDATION:,} training images that are held out, after one epoch; other seeds for the "
    "result; test accuracy, of batch norm with population statistics of "
    f"{POPULATION_IMAGES:,} images"
)
LIMIT = "A best rate at an end of the grid may not be the best of all."

CLAIMS = (
    Claim(
        "Z1",
        "order",
        "For images, batch norm is best, then group norm, layer norm and instance norm.",
        (
            Source(WU_HE, "table 1, as summarized; layer and instance norm from memory",
                   "summary"),
        ),
        "difference of test accuracies",
        (
            Part("batch less group", Direction(), "supported"),
            Part("group less layer", Direction(), "not decided"),
            Part("layer less instance", Direction(), "not decided"),
        ),
        "medium",
        HERE,
        f"{LIMIT} Instance norm is at the convolutions alone: of a single value, as in a linear "
        "layer, it would make 0.",
    ),
    Claim(
        "Z2",
        "batch-free",
        "Layer norm does not depend on the batch.",
        (
            Source("Ba, Kiros and Hinton 2016, Layer Normalization", "as summarized", "summary"),
        ),
        "relative error of the outputs in float64",
        (Part("batches of 2 and of 256", Exact(), "supported"),),
        "high",
        "one layer of random gamma and beta, 256 random inputs with 6 channels of 4 x 4",
        "Its other half, that it suits recurrent networks, is out of scope.",
    ),
    Claim(
        "Z3",
        "contrast",
        "Instance norm removes the contrast of an image.",
        (
            Source("Ulyanov, Vedaldi and Lempitsky 2016, Instance Normalization", "as summarized",
                   "summary"),
        ),
        "how much test accuracy falls under less contrast: with batch norm less with instance norm",
        (Part("batch less instance", Direction(), "supported"),),
        "medium",
        f"{HERE}; pixels at {PALE:g} of their distance to their image's mean; statistics of the "
        "images as they are",
        "In the source, the task is style transfer.",
    ),
    Claim(
        "Z4",
        "rms",
        "RMS norm is as good as layer norm, in 7 to 64 % less time.",
        (
            Source("Zhang and Sennrich 2019, Root Mean Square Layer Normalization", "abstract",
                   "read", "7 to 64 % less time"),
        ),
        "a number for each part: test accuracy with layer norm less with RMS norm; the share of "
        "the time of a training step that RMS norm saves",
        (
            Part(SAME, Equivalence(HALF_A_POINT), "supported"),
            Part(LESS_TIME, Direction(0.07), "contradicted"),
        ),
        "medium",
        f"{HERE}; time: of steps that take turns, in {ROUNDS['standard']} rounds a seed "
        f"({ROUNDS['quick']}; {ROUNDS['thorough']}), the whole step of this network",
        f"{LIMIT} The source has recurrent networks and transformers, where norms weigh more.",
    ),
    Claim(
        "Z5",
        "dyt",
        "Dynamic tanh (DyT) does not replace batch norm in a convolutional network.",
        (
            Source("Zhu, Chen, He, LeCun and Liu 2025, Transformers without Normalization",
                   "appendix D", "read",
                   "in place of batch norm: ResNet-50 76.2 to 68.9 %, VGG19 72.7 to 71.0 %"),
        ),
        "test accuracy with batch norm less with DyT",
        (Part("more than a point", Direction(POINT), "supported"),),
        "medium",
        f"{HERE}; alpha starts at .5",
        f"{LIMIT} The source replaces layer norm in transformers; this is the limit that it names.",
    ),
    Claim(
        "Z6",
        "standardized-weights",
        "Standardized weights lift group norm up to batch norm.",
        (
            Source("Qiao, Wang, Liu, Shen and Yuille 2019, Weight Standardization",
                   "as summarized", "summary"),
        ),
        "test accuracy of group norm with standardized weights less with plain ones",
        (Part("a gain", Direction(), "not decided"),),
        "medium",
        HERE,
        LIMIT,
    ),
    Claim(
        "Z7",
        "initialization",
        "A good initialization replaces batch norm.",
        (
            Source("Zhang, Dauphin and Ma 2019, Fixup Initialization", "as summarized",
                   "summary", "ResNet-110: 7.24 % error; with batch norm 6.61 %; Xavier's weights "
                   "7.78 %"),
            Source("Brock, De, Smith and Simonyan 2021, High-Performance Large-Scale Image "
                   "Recognition Without Normalization", "as summarized", "summary"),
        ),
        "test accuracy with batch norm less with no norm and larger initial weights",
        (
            Part(WITHIN, Equivalence(POINT), "supported"),
            Part(CLOSER, Equivalence(HALF_A_POINT), "not decided"),
        ),
        "medium",
        f"{HERE}; Xavier's weights times √2, which are He's in a layer as wide as its input; the "
        "sources rescale residual branches, which LeNet has not",
        LIMIT,
    ),
    Claim(
        "Z8",
        "decoupling",
        "What helps in a norm is that it sets the length of weights apart from their direction.",
        (
            Source("Kohler et al. 2018, Towards a Theoretical Understanding of Batch "
                   "Normalization", "as summarized", "summary"),
            Source("Salimans and Kingma 2016, Weight Normalization", "as summarized", "summary"),
        ),
        "share of the way from no norm to batch norm, in test accuracy, that weight norm goes",
        (
            Part(SOME, Direction(), "supported"),
            Part(HALF, Direction(0.5), "not decided"),
        ),
        "low",
        f"{HERE}; weight norm starts from the same weights",
        f"{LIMIT} Each seed's gain is divided by the mean way over the seeds.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Choose the rates of the norms that the claims with these ids need, and train with them."""
    start = time.perf_counter()
    arms = list(dict.fromkeys(arm for id_ in ids for arm in NEEDED[id_]))
    choice = yield from laboratory.train(
        [_choice(budget, arm, rate) for arm in arms for rate in RATES[budget]]
    )
    best = {
        arm: best_rate({rate: _choice(budget, arm, rate) for rate in RATES[budget]}, choice)
        for arm in arms
    }
    trials = {
        arm: [_trial(budget, arm, best[arm], seed) for seed in range(SEEDS[budget])] for arm in arms
    }
    summaries = yield from laboratory.train([one for taken in trials.values() for one in taken])
    test = {
        arm: [final_accuracy(summaries[one.name]) for one in taken] for arm, taken in trials.items()
    }
    for id_ in ids:
        if id_ == "Z2":
            evidence = _batch_free()
        elif id_ == "Z3":
            evidence = yield from _contrast(trials, summaries, laboratory)
        else:
            values = DIFFERENCES[id_](test)
            if id_ == "Z4":
                values[LESS_TIME] = yield from _saved_time(budget, trials)
            evidence = Evidence(
                values, curves={arm: _by_rate(budget, arm, choice) for arm in NEEDED[id_]}
            )
        evidence = replace(evidence, remark=_remark(id_, test, best))
        yield Measured(id_, evidence, time.perf_counter() - start)
        start = time.perf_counter()  # the first claim has the seconds of all shared trainings


def _choice(budget: Budget, arm: str, rate: float) -> Trial:
    return rate_choice(_name(arm), rate, CHOICE_EPOCHS, **_keys(budget), **ARMS[arm])


def _trial(budget: Budget, arm: str, rate: float, seed: int) -> Trial:
    return trial(
        f"{_name(arm)}-lr{rate:g}",
        seed,
        optimizer__lr=rate,
        training__epochs=EPOCHS[budget],
        training__evaluate=["moving", "population"],
        training__population_images=POPULATION_IMAGES,
        training__keep_every=EPOCHS[budget],
        **_keys(budget),
        **ARMS[arm],
    )


def _name(arm: str) -> str:
    return arm.replace(",", "").replace(" ", "-")


def _keys(budget: Budget) -> dict[str, Any]:
    return {"model__activation": "relu", "data__images": IMAGES[budget]}


DIFFERENCES: Mapping[str, Callable[[Accuracies], dict[str, list[float]]]] = {
    "Z1": lambda test: {
        "batch less group": differences(test[BATCH], test[GROUP]),
        "group less layer": differences(test[GROUP], test[LAYER]),
        "layer less instance": differences(test[LAYER], test[INSTANCE]),
    },
    "Z4": lambda test: {SAME: differences(test[LAYER], test[RMS])},
    "Z5": lambda test: {"more than a point": differences(test[BATCH], test[DYT])},
    "Z6": lambda test: {"a gain": differences(test[STANDARDIZED], test[GROUP])},
    "Z7": lambda test: dict.fromkeys((WITHIN, CLOSER), differences(test[BATCH], test[LARGER])),
    "Z8": lambda test: dict.fromkeys(
        (SOME, HALF),
        as_shares(differences(test[DIRECTED], test[NONE]), test[NONE], test[BATCH]),
    ),
}
"""The values that compare test accuracies."""


def _batch_free() -> Evidence:
    from bnrun.studies.identities import free_of_batch

    return free_of_batch()


def _contrast(
    trials: Mapping[str, Sequence[Trial]], summaries: Summaries, laboratory: Laboratory
) -> Generator[StudyEvent, None, Evidence]:
    """Return how much more the accuracy falls under less contrast with batch norm, seed by seed."""
    from bnrun.studies.norm_measurements import by_contrast
    from bnrun.studies.own_training import with_fast_engine

    arms = NEEDED["Z3"]
    ended = [
        (seed, arm, one)
        for arm in arms
        for seed, one in enumerate(trials[arm])
        if last_epoch(summaries[one.name]) is not None
    ]
    parts = {}
    for seed, arm, one in ended:
        state = laboratory.checkpoint(one, one.config.training.epochs)
        contrast = partial(by_contrast, one.config, state, factors=CONTRASTS)
        parts[f"Z3, {arm}, seed {seed}"] = partial(with_fast_engine, contrast)
    taken = yield from laboratory.compute(trials[BATCH][0].config.data, parts)
    found = {(seed, arm): points for (seed, arm, _), points in zip(ended, taken, strict=True)}
    samples = []
    for seed in range(len(trials[BATCH])):
        curves = {arm: found[seed, arm] for arm in arms if (seed, arm) in found}
        falls = [points[-1][1] - points[0][1] for points in curves.values()]
        values = {"batch less instance": falls[0] - falls[1]} if len(falls) == len(arms) else {}
        samples.append(Sample(values, curves))
    return gathered(find_claim(CLAIMS, "Z3"), samples)


def _saved_time(
    budget: Budget, trials: Mapping[str, Sequence[Trial]]
) -> Generator[StudyEvent, None, list[float]]:
    """Return which share of a training step's time RMS norm saves, seed by seed."""
    from bnrun.data.load import load
    from bnrun.studies.norm_measurements import step_seconds
    from bnrun.training.engine import fast_on_cpu

    pairs = list(zip(trials[LAYER], trials[RMS], strict=True))
    dataset = yield from load(pairs[0][0].config.data)
    engine, saved = fast_on_cpu(), []
    for done, pair in enumerate(pairs):
        yield Stage(f"Z4, time, seed {done}", done, len(pairs))
        configs = [one.config for one in pair]
        layer, rms = step_seconds(configs, dataset.train, ROUNDS[budget], ROUND_STEPS, engine)
        saved.append(1 - rms / layer)
    return saved


def _by_rate(budget: Budget, arm: str, choice: Summaries) -> Points:
    """Return the accuracy on the validation images by learning rate, where it is finite."""
    ends = {rate: last_epoch(choice[_choice(budget, arm, rate).name]) for rate in RATES[budget]}
    return [
        (rate, end.validation_acc)
        for rate, end in ends.items()
        if end is not None and end.validation_acc is not None
    ]


def _remark(id_: str, test: Accuracies, best: Mapping[str, float]) -> str:
    arms = NEEDED[id_]
    if not arms:
        return ""
    rates = "; ".join(f"{arm} {best[arm]:g}" for arm in arms)
    return f"Accuracies: {means({arm: test[arm] for arm in arms})}. Rates: {rates}."


STUDY = Study(
    name="zoo",
    question="Which normalization is best, and what replaces it?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=151,
    measure=measure,
)
