"""Study `landscape`: whether batch norm makes the loss smoother, drawn as the paper draws it."""

import math
import statistics
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from bnrun.comparison.comparison_events import Trial
from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Definition, Direction, Equivalence, Verdict
from bnrun.studies.sources import SANTURKAR
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import (
    VALIDATION,
    Laboratory,
    Summaries,
    best_rate,
    last_epoch,
    rate_choice,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 2, "thorough": 2}
"""Epochs of the networks with sigmoids."""
RELU_EPOCHS = 1
EVERY = 40
"""Steps from one look along the gradient to the next."""
FIRST_STEPS = 200
"""Steps that count as early; late is the second half of the training."""

NORMS = ("none", "scratch")
OTHERS: Mapping[str, str] = {"l1": "l1", "layer norm": "layer", "linf": "linf"}
"""L5's parts, and their norms."""
NAMES: Mapping[str, str] = {
    "none": "no norm",
    "scratch": "batch norm",
    "layer": "layer norm",
    "l1": "l1",
    "linf": "linf",
}
"""What curves call the norms."""

SIGMOID_RATE = 1.0
LIMIT_RATE = 0.5
"""The largest rate of R1's grid at which the network with ReLU trains without a norm."""
RATES = (0.03, 0.1, 0.3, 1.0)
"""The learning rates of which each network with ReLU gets its best."""
CHOICE_EPOCHS = 1

TAUGHT_RATES = (1e-3, 2e-3, 1e-4, 5e-4)
"""The learning rates of the picture that is often taught."""
TAUGHT_STEPS: Mapping[Budget, int] = {"quick": 60, "standard": 235, "thorough": 235}
PARALLEL = 0.99
"""Cosine from which on two directions count as one."""

MARGIN = 0.1
"""Decades: a factor of 1.26."""
LEAST, MOST = 1e-12, 1e6
"""What stands for anything smaller or larger on a logarithmic scale, and for what is no number."""
HIGHEST_LOSS = 10.0
"""What stands for any higher loss in a picture."""

Looks = Mapping[int, Mapping[str, float]]
"""What the probe saw of a training, by step."""
Setting = Literal["sigmoid", "limit", "best"]
"""Trainings that are compared: with sigmoids; with ReLU near the limit, or each at its best."""
Pairs = Mapping[Setting, Mapping[str, Looks]]
"""The trainings of a seed, by setting and norm."""


@dataclass(frozen=True)
class _Window:
    """A part of L1, L2 and L3.

    Attributes:
        name: of the part.
        setting: the trainings that are compared.
        is_scale_free: whether the measure that does not depend on the scale of the weights counts.
        steps: whether the first steps count, the second half, or all.
        expected: the verdict that was predicted.
    """

    name: str
    setting: Setting
    is_scale_free: bool
    steps: Literal["first", "late", "all"]
    expected: Verdict


EARLY, LATE = f"sigmoid, first {FIRST_STEPS} steps", "sigmoid, second half"
AT_LIMIT, AT_BEST = f"relu, rate {LIMIT_RATE:g}", "relu, each at its best rate"
WINDOWS = (
    _Window(EARLY, "sigmoid", False, "first", "contradicted"),
    _Window(LATE, "sigmoid", False, "late", "not decided"),
    _Window(AT_LIMIT, "limit", False, "all", "supported"),
    _Window(AT_BEST, "best", False, "all", "supported"),
    _Window(f"scale-free, {EARLY}", "sigmoid", True, "first", "contradicted"),
    _Window(f"scale-free, {AT_LIMIT}", "limit", True, "all", "supported"),
)


@dataclass(frozen=True)
class _Measure:
    """What a claim measures at one look: the paper's number, and one that is free of scale."""

    absolute: str
    scale_free: str

    def decades(self, look: Mapping[str, float], is_scale_free: bool) -> float:
        """Return log10 of the number."""
        if not is_scale_free:
            return _log10(look[self.absolute])
        return _log10(1 - look["cosine"] if self.scale_free == "cosine" else look[self.scale_free])


MEASURES: Mapping[str, _Measure] = {
    "L1": _Measure("range", "surprise"),
    "L2": _Measure("change", "relative"),
    "L3": _Measure("beta", "cosine"),
}

HERE = (
    "LeNet, Fashion-MNIST, plain SGD; norm scratch and none; every "
    f"{EVERY} steps, 8 step lengths of 1/2 to 4 learning rates, always on the same 256 training "
    f"images; sigmoid at rate {SIGMOID_RATE:g}, {EPOCHS['standard']} epochs ({EPOCHS['quick']} "
    f"where the budget is quick); relu one epoch, at rate {LIMIT_RATE:g}, the largest at which it "
    f"trains without a norm (R1), and each at the best of the rates "
    f"{', '.join(f'{rate:g}' for rate in RATES)}, chosen after an epoch by {VALIDATION:,} training "
    "images that are held out; the paper: a network like VGG on CIFAR-10, both at rate .1, each "
    "step's own batch"
)
LIMITS = (
    "At another rate, steps are longer: each at its best rate compares rates, too. On its plateau, "
    "a network without a norm is flat, and does not learn."
)


def _smoother(id_: str, name: str, sentence: str, place: str, numbers: str, measured: str) -> Claim:
    """Return one of the three claims that the paper's three measures decide."""
    return Claim(
        id_,
        name,
        sentence,
        (Source(SANTURKAR, place, "read", numbers),),
        f"{measured}; the median over the looks at a training; decades, no norm less batch norm",
        tuple(Part(one.name, Direction(MARGIN), one.expected) for one in WINDOWS),
        "medium",
        HERE,
        LIMITS,
    )


CLAIMS = (
    _smoother(
        "L1",
        "loss-range",
        "With batch norm, the loss varies less along the gradient.",
        "section 3.2, figure 4(a), appendix A.2.2",
        "",
        "log10 of the loss's range along the gradient; scale-free: of the error of the decrease "
        "that the gradient promises, relative to that",
    ),
    _smoother(
        "L2",
        "gradient-predictiveness",
        "With batch norm, the gradient changes less along the gradient.",
        "section 3.2, figure 4(b), appendix A.2.2",
        "early in training, by close to two orders of magnitude",
        "log10 of the largest change of the gradient, |g' - g|; scale-free: of |g' - g| / |g|",
    ),
    _smoother(
        "L3",
        "beta",
        'With batch norm, the loss has a smaller "effective" β-smoothness.',
        "section 3.2, figure 4(c), appendix A.2.2",
        "",
        "log10 of the largest |g' - g| over the length of the step; scale-free: of 1 less the "
        "cosine of g and g'",
    ),
    Claim(
        "L4",
        "as-taught",
        "The lowest and the highest loss of trainings at several learning rates show the loss "
        "landscape.",
        (
            Source("AlexeyGB, reproduction of Santurkar et al.", "README and notebook 3", "read",
                   'called "variance of loss for fixed range of learning rates"'),
            Source("a university course's project on batch norm", "task of the loss landscape",
                   "read"),
            Source(SANTURKAR, "appendix A.2.2, which takes steps along the gradient from one point",
                   "read"),
        ),
        "whether the weights of two trainings lie along a gradient of the loss: 1 where their "
        f"difference has a cosine of {PARALLEL:g} or more to the gradient at one of them, for all "
        "pairs, else 0",
        (Part("along one gradient", Definition(), "contradicted"),),
        "high",
        "LeNet, sigmoid, Fashion-MNIST; Adam at rates "
        f"{', '.join(f'{rate:g}' for rate in TAUGHT_RATES)}, as in the course's project, "
        f"{TAUGHT_STEPS['standard']} steps ({TAUGHT_STEPS['quick']} where the budget is quick), "
        "seed 0; no verdict on batch norm: the picture shows how much a training depends on its "
        "rate",
        "Beside it stands the paper's picture: losses along the gradient, from one point.",
    ),
    Claim(
        "L5",
        "not-unique",
        "Other normalizations do as well: by l1 or linf deviations, or over each image.",
        (Source(SANTURKAR, "section 3.3, figure 5", "read",
                "l1, l2 and linf train comparably or better"),),
        "training loss of the last epoch, less that with batch norm; nats",
        tuple(
            Part(part, Equivalence(0.02), "contradicted" if part == "linf" else "supported")
            for part in OTHERS
        ),
        "medium",
        f"LeNet, sigmoid, Fashion-MNIST, plain SGD at rate {SIGMOID_RATE:g}, {EPOCHS['standard']} "
        f"epochs ({EPOCHS['quick']} where the budget is quick); l2 is batch norm itself; the "
        "statistics of l1 and linf are Hoffer's (see bnrun norms)",
        "Layer norm's training loss has no noise from a batch's statistics; the others' has. The "
        "curves are of seed 0.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train what the claims with these ids need, and look along the gradients."""
    wanted = [id_ for id_ in MEASURES if id_ in ids]
    if wanted:
        yield from _smoothness(budget, wanted, laboratory)
    if "L4" in ids:
        start = time.perf_counter()
        evidence = yield from _as_taught(budget, laboratory)
        yield Measured("L4", evidence, time.perf_counter() - start)
    if "L5" in ids:
        start = time.perf_counter()
        norms = (*NORMS, *OTHERS.values())
        trials = [_sigmoid(budget, norm, seed) for seed in _seeds(budget) for norm in norms]
        summaries = yield from laboratory.train(trials)
        evidence = _not_unique(budget, summaries, laboratory)
        yield Measured("L5", evidence, time.perf_counter() - start)


def _seeds(budget: Budget) -> range:
    return range(SEEDS[budget])


def _trial(norm: str, activation: str, rate: float, seed: int, epochs: int) -> Trial:
    """Return a training; of the norms that are in L5 alone, only seed 0 is looked at."""
    looks: dict[str, Any] = {"training__probe": ["landscape"], "training__probe_every": EVERY}
    return trial(
        f"{norm}-{activation}-lr{rate:g}",
        seed,
        model__norm=norm,
        model__activation=activation,
        optimizer__lr=rate,
        training__epochs=epochs,
        **(looks if norm in NORMS or seed == 0 else {}),
    )


def _sigmoid(budget: Budget, norm: str, seed: int) -> Trial:
    return _trial(norm, "sigmoid", SIGMOID_RATE, seed, EPOCHS[budget])


def _choice(norm: str, rate: float) -> Trial:
    keys = {"model__norm": norm, "model__activation": "relu"}
    return rate_choice(norm, rate, CHOICE_EPOCHS, **keys)


def _smoothness(budget: Budget, wanted: Sequence[str], laboratory: Laboratory) -> Work:
    """Choose the rates of ReLU, train, and compare what the looks along the gradient saw."""
    start = time.perf_counter()
    choices = {norm: {rate: _choice(norm, rate) for rate in RATES} for norm in NORMS}
    chosen = yield from laboratory.train([one for by in choices.values() for one in by.values()])
    best = {norm: best_rate(choices[norm], chosen) for norm in NORMS}

    def of(setting: Setting, norm: str, seed: int) -> Trial:
        if setting == "sigmoid":
            return _sigmoid(budget, norm, seed)
        rate = LIMIT_RATE if setting == "limit" else best[norm]
        return _trial(norm, "relu", rate, seed, RELU_EPOCHS)

    settings = dict.fromkeys(window.setting for window in WINDOWS)
    trials = [of(one, norm, seed) for seed in _seeds(budget) for one in settings for norm in NORMS]
    yield from laboratory.train(list({one.name: one for one in trials}.values()))
    pairs = [
        {one: {norm: _looks(laboratory, of(one, norm, seed)) for norm in NORMS} for one in settings}
        for seed in _seeds(budget)
    ]
    seconds = time.perf_counter() - start
    remark = f"The best rates of relu: {best['none']:g} without, {best['scratch']:g} with."
    for id_ in wanted:
        yield Measured(id_, _compared(id_, pairs, remark), seconds)
        seconds = 0.0  # of trainings that the claims share


def _looks(laboratory: Laboratory, trial: Trial) -> Looks:
    return {
        look.step: look.values["network"]
        for look in laboratory.probed(trial)
        if look.probe == "landscape"
    }


def _compared(id_: str, pairs: Sequence[Pairs], remark: str) -> Evidence:
    """Return by how many decades batch norm lowers what a claim measures."""
    measure = MEASURES[id_]
    samples = []
    for pair in pairs:
        values = {}
        for window in WINDOWS:
            none, bn = (_median(measure, pair[window.setting][norm], window) for norm in NORMS)
            if none is not None and bn is not None:
                values[window.name] = none - bn
        curves = dict(_bands(pair) if id_ == "L1" else _curves(measure, pair))
        samples.append(Sample(values, curves))
    return gathered(find_claim(CLAIMS, id_), samples, remark)


def _median(measure: _Measure, looks: Looks, window: _Window) -> float | None:
    """Return the median in decades over the looks of a window; None where there are none.

    A training that diverged early may have none.
    """
    last = max(looks, default=0)
    ends = {"first": (0, FIRST_STEPS), "late": (last / 2, last), "all": (0, last)}
    low, high = ends[window.steps]
    taken = [
        measure.decades(look, window.is_scale_free)
        for step, look in looks.items()
        if low <= step <= high
    ]
    return statistics.median(taken) if taken else None


def _curves(measure: _Measure, pair: Pairs) -> Iterator[tuple[str, Points]]:
    """Yield both measures over the steps: of sigmoid, and of ReLU near its limit."""
    for is_scale_free, kind in ((False, "absolute"), (True, "scale-free")):
        for setting, activation in SHOWN.items():
            for norm, looks in pair[setting].items():
                points = [
                    (float(step), measure.decades(look, is_scale_free))
                    for step, look in looks.items()
                ]
                yield f"{kind}: {NAMES[norm]}, {activation}", points


SHOWN: Mapping[Setting, str] = {"sigmoid": "sigmoid", "limit": "relu"}
"""What the curves of L1, L2 and L3 are of."""


def _bands(pair: Pairs) -> Iterator[tuple[str, Points]]:
    """Yield the lowest and the highest loss along the gradient, over the steps."""
    for setting, activation in SHOWN.items():
        for norm, looks in pair[setting].items():
            yield from _band(f"{activation}: {NAMES[norm]}", looks)


def _band(name: str, looks: Looks) -> Iterator[tuple[str, Points]]:
    for end in ("lowest", "highest"):
        yield (
            f"{name}, {end}",
            [(float(step), _drawn_loss(look[end])) for step, look in looks.items()],
        )


def _drawn_loss(loss: float) -> float:
    return min(loss, HIGHEST_LOSS) if math.isfinite(loss) else HIGHEST_LOSS


def _log10(value: float) -> float:
    return math.log10(min(max(value, LEAST), MOST) if math.isfinite(value) else MOST)


def _as_taught(budget: Budget, laboratory: Laboratory) -> Generator[StudyEvent, None, Evidence]:
    """Draw the picture that is often taught, and the paper's beside it."""
    from bnrun.studies.own_training import on_training_images, with_fast_engine
    from bnrun.studies.rate_runs import runs_at_rates

    claim = find_claim(CLAIMS, "L4")
    trials = {norm: _sigmoid(budget, norm, 0) for norm in NORMS}
    yield from laboratory.train(list(trials.values()))
    parts = {}
    for norm, one in trials.items():
        at_rates = partial(
            runs_at_rates, one.config, rates=TAUGHT_RATES, steps=TAUGHT_STEPS[budget]
        )
        on_images = partial(on_training_images, at_rates)
        parts[f"{claim.id} {claim.name}, {norm}"] = partial(with_fast_engine, on_images)
    found = yield from laboratory.compute(trials["none"].config.data, parts)
    curves: dict[str, Points] = {}
    cosines = []
    for (norm, one), runs in zip(trials.items(), found, strict=True):
        cosines.append(runs.cosines)
        for end, extreme in (("lowest", min), ("highest", max)):
            curves[f"taught: {NAMES[norm]}, {end}"] = [
                (float(step), _drawn_loss(extreme(losses)))
                for step, losses in enumerate(zip(*runs.losses, strict=True), start=1)
            ]
        curves |= _band(f"paper: {NAMES[norm]}", _looks(laboratory, one))
    taken = [cosine for one in cosines for cosine in one]
    check = float(min(taken) >= PARALLEL)
    remark = f"The largest cosine of such a difference to a gradient is {max(taken):.2f}."
    return Evidence({"along one gradient": [check]}, remark, curves)


def _not_unique(budget: Budget, summaries: Summaries, laboratory: Laboratory) -> Evidence:
    """Return how much higher the last epoch's loss is with other norms than with batch norm."""
    samples = []
    for seed in _seeds(budget):
        bn = last_epoch(summaries[_sigmoid(budget, "scratch", seed).name])
        values = {}
        for part, norm in OTHERS.items():
            other = last_epoch(summaries[_sigmoid(budget, norm, seed).name])
            if bn is not None and other is not None:
                values[part] = other.loss - bn.loss
        samples.append(Sample(values))
    curves = {
        NAMES[norm]: [
            (float(step), _log10(look["change"]))
            for step, look in _looks(laboratory, _sigmoid(budget, norm, 0)).items()
        ]
        for norm in NAMES
    }
    return Evidence(gathered(find_claim(CLAIMS, "L5"), samples).values, curves=curves)


STUDY = Study(
    name="landscape",
    question="Is the loss smoother with batch norm, along the gradient?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=164,
    measure=measure,
)
