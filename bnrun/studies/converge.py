"""Study `converge`: how fast training gets how far, with and without batch norm."""

import time
from collections.abc import Collection, Generator, Mapping
from typing import Any

from bnrun.comparison.comparison_events import Trial
from bnrun.events import Stage
from bnrun.learning import GUESSING_ACCURACY
from bnrun.studies import layers
from bnrun.studies.claim import Claim, Evidence, Part, Points, Sample, Source, find_claim, gathered
from bnrun.studies.layers import (
    A_TENTH,
    BATCH_NORM,
    CONVERGED,
    EARLY,
    EVERY,
    IMAGES,
    LATE,
    LOOKS_EVERY,
    NO_NORM,
    NORMALIZED,
    NORMS,
    PROBE_IMAGES,
    SHIFTED,
    WATCHED,
)
from bnrun.studies.rules import Direction, Equivalence
from bnrun.studies.sources import IOFFE, NOTES, SANTURKAR
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import (
    VALIDATION,
    Laboratory,
    Summaries,
    best_rate,
    epochs_to_reach,
    last_epoch,
    points_of_epochs,
    rate_choice,
    trial,
)

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 5, "standard": 10, "thorough": 10}

RATES = (0.03, 0.1, 0.3, 1.0)
"""The learning rates of which each network with ReLU gets its best."""
CHOICE_EPOCHS = 2
"""Epochs of the trainings that choose the rate."""

STEPS: Mapping[Budget, int] = {"quick": 1_200, "standard": 12_000, "thorough": 12_000}
"""Training steps of C5's networks."""

HERE = (
    f"LeNet, Fashion-MNIST, plain SGD, {EPOCHS['standard']} epochs ({EPOCHS['quick']} where the "
    "budget is quick); sigmoid at rate 1.0; relu at the best of the rates "
    f"{', '.join(f'{rate:g}' for rate in RATES)}, chosen for each norm by {VALIDATION:,} training "
    f"images that are held out, after {CHOICE_EPOCHS} epochs"
)

SIGMOID = (
    f"LeNet, sigmoid, Fashion-MNIST, plain SGD at rate 1.0, {EPOCHS['standard']} epochs "
    f"({EPOCHS['quick']} where the budget is quick)"
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
    Claim(
        "C3",
        "lower-layers-last",
        "Layers near the output converge first; lower ones are slow, and make the upper ones learn "
        "again.",
        (
            Source(NOTES, "text", "read"),
            Source("Raghu, Gilmer, Yosinski and Sohl-Dickstein 2017, SVCCA",
                   "as summarized, which says bottom-up", "summary"),
        ),
        "rank correlation of a layer's height with how early it converges: 1 where layers converge "
        "from the output down, -1 from the input up",
        (
            Part(NO_NORM, Direction(0.0), "supported"),
            Part(BATCH_NORM, Direction(0.0), "contradicted"),
        ),
        "low",
        f"{SIGMOID}; a layer has converged after the first epoch whose activations of {IMAGES} "
        f"test images, with the statistics of these images, have a linear CKA of {CONVERGED} or "
        "more with those after the last epoch; 4 hidden layers and the logits",
        "Epochs are whole, so layers may share one; where all do, the correlation is 0.",
    ),
    Claim(
        "C4",
        "ics-gradient",
        "Batch norm reduces internal covariate shift.",
        (
            Source(IOFFE, "section 1", "read"),
            Source(SANTURKAR, "section 2.2, definition 2.1, which says otherwise", "read"),
        ),
        "median cosine between a layer's gradient before and after the layers below it took their "
        "step, with batch norm less without",
        (
            Part(EARLY, Direction(0.05), "contradicted"),
            Part(LATE, Direction(0.05), "not decided"),
        ),
        "medium",
        f"{SIGMOID}; every {EVERY} steps, the same {PROBE_IMAGES} training images before and after "
        "the step, layers 2 to 5; the paper: VGG on CIFAR-10, and 25 linear layers",
        "The angle does not depend on the scale of the weights. A network that hardly moves "
        "has no shift.",
    ),
    Claim(
        "C5",
        "stable-inputs",
        "With batch norm, the inputs of a typical sigmoid are more stable.",
        (Source(IOFFE, "figure 1", "read"),),
        "1 less the ratio of travels, batch norm's over none's: the way from the lowest to the "
        "highest median of a unit's input in training, over the mean distance of its 15th and 85th "
        "percentiles; the median over units",
        (
            Part(NORMALIZED, Direction(0.0), "supported"),
            Part(SHIFTED, Direction(0.0), "contradicted"),
        ),
        "medium",
        f"three layers of 100 sigmoids on Fashion-MNIST, batches of 60, plain SGD at rate 1.0, "
        f"{STEPS['standard']:,} steps ({STEPS['quick']:,} where the budget is quick), Gaussian "
        "weights; all units of the last hidden layer, on 1,000 training images, every "
        f"{LOOKS_EVERY} steps; the paper: one unit, MNIST, 50,000 steps",
        "What enters the sigmoid is the second part; the first is what batch norm normalizes.",
    ),
    Claim(
        "C6",
        "percent-saturated",
        "Without batch norm, sigmoids saturate.",
        (Source(IOFFE, "section 1", "read"),),
        "share of sigmoid inputs beyond ±4, without a norm: the mean over layers, the median over "
        "training",
        (Part(A_TENTH, Direction(0.1), "contradicted"),),
        "medium",
        f"{SIGMOID}; {PROBE_IMAGES} training images, every {EVERY} steps",
        "Signals can also be too small: the slope of a sigmoid is .25 at most.",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train what the claims with these ids need; C1 to C4 and C6 share trainings."""
    if {"C1", "C2"} & set(ids):
        yield from _curves(budget, ids, laboratory)
    if {"C3", "C4", "C6"} & set(ids):
        yield from _layers(budget, ids, laboratory)
    if "C5" in ids:
        start = time.perf_counter()
        found = find_claim(CLAIMS, "C5")
        evidence = yield from layers.stable_inputs(found, SEEDS[budget], STEPS[budget], laboratory)
        yield Measured("C5", evidence, time.perf_counter() - start)


def _curves(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Choose the rates of ReLU, train, and compare speed and accuracy."""
    start = time.perf_counter()
    choice = yield from laboratory.train([_choice(norm, rate) for norm in NORMS for rate in RATES])
    best = {
        norm: best_rate({rate: _choice(norm, rate) for rate in RATES}, choice) for norm in NORMS
    }
    relu = [_trial(budget, n, "relu", best[n], s) for s in range(SEEDS[budget]) for n in NORMS]
    summaries = yield from laboratory.train([*_sigmoid_trials(budget), *relu])
    remark = f"The best rates of relu: {best['none']:g} without, {best['scratch']:g} with."
    seconds = time.perf_counter() - start
    if "C1" in ids:
        evidence = Evidence(
            _speed(budget, best, summaries), remark, _by_epoch(budget, best, summaries, "train_acc")
        )
        yield Measured("C1", evidence, seconds)
        seconds = 0.0  # of trainings that the claims share
    if "C2" in ids:
        start = time.perf_counter()
        values = yield from _accuracy(budget, best, summaries, laboratory)
        evidence = Evidence(values, remark, _by_epoch(budget, best, summaries, "test_acc"))
        yield Measured("C2", evidence, seconds + time.perf_counter() - start)


def _sigmoid_trials(budget: Budget) -> list[Trial]:
    return [_sigmoid(budget, norm, seed) for seed in range(SEEDS[budget]) for norm in NORMS]


def _sigmoid(budget: Budget, norm: str, seed: int) -> Trial:
    """Return the training with sigmoids that most claims look at."""
    return _trial(budget, norm, "sigmoid", 1.0, seed)


def _layers(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Look at the layers of the networks with sigmoids."""
    start = time.perf_counter()
    summaries = yield from laboratory.train(_sigmoid_trials(budget))
    seconds = time.perf_counter() - start
    pairs = [
        {norm: _sigmoid(budget, norm, seed) for norm in NORMS} for seed in range(SEEDS[budget])
    ]
    ended = [
        pair for pair in pairs if all(last_epoch(summaries[one.name]) for one in pair.values())
    ]
    experiments = (("C3", layers.convergence), ("C4", layers.shift), ("C6", layers.saturation))
    for id_, experiment in experiments:
        if id_ in ids:
            start = time.perf_counter()
            evidence = yield from experiment(find_claim(CLAIMS, id_), ended, laboratory)
            yield Measured(id_, evidence, seconds + time.perf_counter() - start)
            seconds = 0.0


def _choice(norm: str, rate: float) -> Trial:
    return rate_choice(norm, rate, CHOICE_EPOCHS, model__norm=norm, model__activation="relu")


def _trial(budget: Budget, norm: str, activation: str, rate: float, seed: int) -> Trial:
    return trial(
        f"{norm}-{activation}-lr{rate:g}",
        seed,
        model__norm=norm,
        model__activation=activation,
        optimizer__lr=rate,
        training__epochs=EPOCHS[budget],
        **(WATCHED if activation == "sigmoid" else {"training__keep_every": EPOCHS[budget]}),
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


def _by_epoch(
    budget: Budget, best: Mapping[str, float], summaries: Summaries, metric: str
) -> dict[str, Points]:
    """Return the means of a metric over the seeds, epoch by epoch."""
    samples = []
    for seed in range(SEEDS[budget]):
        curves = {}
        for act in ("sigmoid", "relu"):
            for norm in NORMS:
                rate = 1.0 if act == "sigmoid" else best[norm]
                epochs = summaries[_trial(budget, norm, act, rate, seed).name].epochs
                curves[f"{norm}, {act}"] = points_of_epochs(epochs, metric)
        samples.append(Sample({}, curves))
    return dict(gathered(find_claim(CLAIMS, "C1"), samples).curves)


def _accuracy(
    budget: Budget, best: Mapping[str, float], summaries: Summaries, laboratory: Laboratory
) -> Generator[StudyEvent, None, dict[str, list[float]]]:
    """Return the differences of test accuracy by part."""
    same = dict.fromkeys(NORMS, 1.0)
    parts = (
        ("sigmoid, moving statistics", "sigmoid", same, False),
        ("sigmoid, population statistics", "sigmoid", same, True),
        ("relu, each at its best rate, population", "relu", best, True),
    )
    differences: dict[str, list[float]] = {part: [] for part, *_ in parts}
    for seed in range(SEEDS[budget]):
        yield Stage(f"C2 same-accuracy, seed {seed}", seed, SEEDS[budget])
        for part, act, rates, uses_population in parts:
            without, with_ = (_trial(budget, norm, act, rates[norm], seed) for norm in NORMS)
            none, bn = (last_epoch(summaries[one.name]) for one in (without, with_))
            if none is not None and bn is not None:
                accuracy = bn.test_acc
                if uses_population:
                    state = laboratory.checkpoint(with_, EPOCHS[budget])
                    accuracy = yield from _population(with_, state)
                differences[part].append(accuracy - none.test_acc)
    return differences


def _population(trial: Trial, state: Mapping[str, Any]) -> Generator[StudyEvent, None, float]:
    """Return the test accuracy of a trained network with population statistics."""
    import torch

    from bnrun.data.load import load
    from bnrun.studies.predictions import Trained
    from bnrun.training.engine import fast_on_cpu, running

    dataset = yield from load(trial.config.data)
    with running(fast_on_cpu(), torch.device("cpu")):
        images = trial.config.training.population_images
        return Trained(trial.config, state, dataset).population(images)


STUDY = Study(
    name="converge",
    question="How fast does training get how far, with and without batch norm?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=327,
    measure=measure,
)
