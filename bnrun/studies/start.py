"""Study `start`: signals and gradients by layer before any training."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bnrun.comparison.comparison_events import Trial
from bnrun.config import Config
from bnrun.learning import GUESSING_ACCURACY
from bnrun.studies.claim import Claim, Evidence, Part, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction, Equivalence, Law
from bnrun.studies.sources import BJORCK, IOFFE, NOTES
from bnrun.studies.study import Budget, Measured, Study, Work
from bnrun.studies.trainings import Laboratory, Summaries, last_epoch, trial

if TYPE_CHECKING:
    from torch import Tensor

    from bnrun.data.dataset import Dataset

SEEDS: Mapping[Budget, int] = {"quick": 3, "standard": 20, "thorough": 50}

BATCH = 256
"""Images of the batch on which signals are measured."""
DEPTH, WIDTH, INPUTS = 16, 512, 512
"""The deep network of A2, and its Gaussian inputs: as many as there are channels."""
ENDS = 1
"""Layers at each end of the deep network that are left out of A2's fit: they differ."""
RESIDUAL_DEPTH, RESIDUAL_WIDTH = 64, 256
"""The depth and width of A3's networks."""

ARMS = ("none", "scratch")

HALVED = 0.3
"""Slope of log10 by layer where a gradient halves from one layer to the next."""

GROWTH: Mapping[str, float] = {"relu": 1.2112, "gelu": 1.1484, "tanh": 1.0853, "sigmoid": 1.0167}
"""√(E[φ′²] / Var φ) of each nonlinearity φ for a standard normal input (`signals.growth_law`)."""

SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""A4's factors for the initial weights."""
SCALE_SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 3, "thorough": 10}
"""Seeds of A4, which trains."""
NONE_RANGES = "no norm ranges over 20 points"
UP_TO_10 = "batch norm within 5 points, .01 to 10"
UP_TO_100 = "batch norm within 5 points, .01 to 100"

YANG = "Yang, Pennington, Rao, Sohl-Dickstein and Schoenholz 2019, Mean Field Theory of Batch Norm"

CLAIMS = (
    Claim(
        "A1",
        "gradients-shrink",
        "Without batch norm, gradients get smaller towards the input.",
        (
            Source(NOTES, "text", "read"),
            Source(IOFFE, "sections 1 and 3.3", "read"),
        ),
        "slope of log10 of the gradient's RMS, a layer towards the output",
        (
            Part("sigmoid", Direction(HALVED), "supported"),
            Part("sigmoid, no norm less batch norm", Direction(), "supported"),
            Part("relu", Direction(HALVED), "contradicted"),
        ),
        "high",
        "LeNet at its initial weights, 256 images of Fashion-MNIST; the gradient with respect to "
        "what enters each of the 4 nonlinearities; it halves in a layer where the slope is .3",
        "A gradient's RMS also falls where a pooling layer spreads it over four pixels, as it does "
        "twice here.",
    ),
    Claim(
        "A2",
        "depth-law",
        "Batch norm makes gradients explode with depth: by √(E[φ′²] / Var φ) in each layer.",
        (
            Source(
                YANG,
                "as summarized",
                "summary",
                "for ReLU a factor of √(π / (π - 1)) = 1.21 a layer",
            ),
        ),
        "factor by which the gradient's RMS grows, a layer towards the input",
        (
            *(Part(name, Law(number), "supported") for name, number in GROWTH.items()),
            Part("relu, images", Law(GROWTH["relu"]), "supported"),
        ),
        "high",
        f"a plain network of {DEPTH} layers of {WIDTH} channels, He weights, {INPUTS} Gaussian "
        "inputs, or as many images; the law is that of infinite width, "
        "and its numbers for other nonlinearities than ReLU are computed from the formula",
        "At initialization. In LeNet, with 4 sigmoids, it is a factor of 1.07.",
    ),
    Claim(
        "A3",
        "activations-explode",
        "Without a norm, activations grow exponentially with depth; batch norm holds them.",
        (
            Source(BJORCK, "as summarized", "summary"),
            Source(
                "Brock, De and Smith 2021, Characterizing Signal Propagation",
                "from memory",
                "memory",
            ),
        ),
        "slope of log10 of the channels' deviation, a layer",
        (
            Part("residual, no norm", Direction(0.03), "supported"),
            Part("residual, batch norm", Equivalence(0.01), "supported"),
            Part("plain sigmoid, no norm", Direction(0.03), "contradicted"),
        ),
        "high",
        f"networks of {RESIDUAL_DEPTH} layers of {RESIDUAL_WIDTH} channels, {RESIDUAL_WIDTH} "
        "Gaussian inputs: residual ones with ReLU and He weights, a plain one with sigmoids and "
        "Xavier weights; no convolutions",
        "With batch norm inside the branches, a residual sum grows about as the root of the depth, "
        "which is not exponential. Over 64 layers that is a slope of .0095: nearly the margin.",
    ),
    Claim(
        "A4",
        "init-robust",
        "Batch norm makes training insensitive to the scale of the initial weights.",
        (Source(IOFFE, "section 3.3", "read"),),
        "highest training accuracy less the lowest, over the scales",
        (
            Part(NONE_RANGES, Direction(0.2), "supported"),
            Part(UP_TO_10, Equivalence(0.05), "supported"),
            Part(UP_TO_100, Equivalence(0.05), "contradicted"),
        ),
        "high",
        "LeNet, sigmoid, Fashion-MNIST, one epoch of plain SGD at rate 1.0; all initial weights "
        f"times {', '.join(f'{scale:g}' for scale in SCALES)}, biases as they are; "
        f"{SCALE_SEEDS['standard']} seeds ({SCALE_SEEDS['quick']} where the budget is quick)",
        "The last layer, which no norm follows, is scaled as well. With weights 100 times as long, "
        "a step turns them 10,000 times less: see X3.",
    ),
)


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Measure the claims with these ids, over the seeds of the budget."""
    for claim in CLAIMS:
        if claim.id not in ids or claim.id not in MEASUREMENTS:
            continue
        start = time.perf_counter()
        parts = {
            f"{claim.id} {claim.name}, seed {seed}": partial(MEASUREMENTS[claim.id], seed)
            for seed in range(SEEDS[budget])
        }
        samples = yield from laboratory.compute(Config().data, parts)
        yield Measured(claim.id, gathered(claim, samples), time.perf_counter() - start)
    if "A4" in ids:
        start = time.perf_counter()
        scaled = [
            _scaled(n, s, seed) for seed in _scale_seeds(budget) for n in ARMS for s in SCALES
        ]
        summaries = yield from laboratory.train(scaled)
        yield Measured("A4", _init_robust(budget, summaries), time.perf_counter() - start)


def _scale_seeds(budget: Budget) -> range:
    return range(SCALE_SEEDS[budget])


def _scaled(norm: str, scale: float, seed: int) -> Trial:
    return trial(
        f"{norm}-weights-x{scale:g}",
        seed,
        model__norm=norm,
        model__weight_scale=scale,
        training__epochs=1,
    )


def _init_robust(budget: Budget, summaries: Summaries) -> Evidence:
    """Return over how much the training accuracies of a seed range; one that diverged guesses."""

    def accuracy(norm: str, scale: float, seed: int) -> float:
        epoch = last_epoch(summaries[_scaled(norm, scale, seed).name])
        return GUESSING_ACCURACY if epoch is None else epoch.train_acc

    samples = []
    for seed in _scale_seeds(budget):
        curves = {norm: [(scale, accuracy(norm, scale, seed)) for scale in SCALES] for norm in ARMS}
        none, bn = ([acc for _, acc in curves[norm]] for norm in ARMS)
        values = {
            NONE_RANGES: max(none) - min(none),
            UP_TO_10: max(bn[:-1]) - min(bn[:-1]),
            UP_TO_100: max(bn) - min(bn),
        }
        samples.append(Sample(values, curves))
    evidence = gathered(find_claim(CLAIMS, "A4"), samples)
    without, with_ = (
        ", ".join(f"{accuracy:.3f}" for _, accuracy in evidence.curves[norm]) for norm in ARMS
    )
    remark = f"Mean training accuracies by scale: without {without}; with {with_}."
    return replace(evidence, remark=remark)


def _images(dataset: "Dataset", count: int) -> "tuple[Tensor, Tensor]":
    """Return the first training images, with their labels."""
    import torch

    return dataset.train.batch(torch.arange(count))


def _gradients_shrink(seed: int, dataset: "Dataset") -> Sample:
    """Measure how the gradient's RMS falls towards the input, in LeNet."""
    from bnrun.networks.lenet import LeNet
    from bnrun.norms import NORMS
    from bnrun.studies.signals import gradients_by_layer, slope

    x, labels = _images(dataset, BATCH)

    def gradients(norm: str, activation: str) -> list[float]:
        model = LeNet(NORMS[norm], activation=activation, seed=seed)
        norms = [model.norm1, model.norm2, model.norm3, model.norm4]
        return gradients_by_layer(model, norms, x, labels)

    found = {
        f"{norm}, {activation}": gradients(norm, activation)
        for activation in ("sigmoid", "relu")
        for norm in ("none", "scratch")
    }
    none, bn, relu = (slope(found[name]) for name in
                      ("none, sigmoid", "scratch, sigmoid", "none, relu"))  # fmt: skip
    return Sample(
        {"sigmoid": none, "sigmoid, no norm less batch norm": none - bn, "relu": relu},
        {name: _by_place(values) for name, values in found.items()},
    )


def _by_place(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return log10 of values by place, from 1."""
    return [(place, math.log10(value)) for place, value in enumerate(values, start=1)]


def _depth_law(seed: int, dataset: "Dataset") -> Sample:
    """Measure by what factor the gradient's RMS grows in each layer, towards the input."""
    import torch

    from bnrun.networks.mlp import MLP, Block
    from bnrun.norms import NORMS
    from bnrun.studies.signals import gradients_by_layer, slope

    images, labels = _images(dataset, INPUTS)
    noise = torch.randn(INPUTS, WIDTH, generator=torch.Generator().manual_seed(seed))

    def gradients(activation: str, x: "Tensor") -> list[float]:
        model = MLP(
            NORMS["scratch"], depth=DEPTH, width=WIDTH, activation=activation,
            inputs=x.shape[1], seed=seed,
        )  # fmt: skip
        norms = [block.norm for block in model.blocks if isinstance(block, Block)]
        return gradients_by_layer(model, norms, x, labels[: len(x)])

    found = {name: gradients(name, noise) for name in GROWTH}
    found["relu, images"] = gradients("relu", images.flatten(1))
    return Sample(
        {name: 10 ** -slope(one[ENDS : DEPTH - ENDS]) for name, one in found.items()},
        {name: _by_place([value / one[-1] for value in one]) for name, one in found.items()},
    )


def _activations_explode(seed: int, dataset: object) -> Sample:
    """Measure how fast the deviation of the activations grows with depth."""
    import torch

    from bnrun.networks.mlp import MLP, Initialization
    from bnrun.norms import NORMS
    from bnrun.studies.signals import deviations_by_layer, slope

    x = torch.randn(RESIDUAL_WIDTH, RESIDUAL_WIDTH, generator=torch.Generator().manual_seed(seed))

    def deviations(norm: str, activation: str, initialization: "Initialization") -> list[float]:
        model = MLP(
            NORMS[norm], depth=RESIDUAL_DEPTH, width=RESIDUAL_WIDTH, activation=activation,
            residual=activation == "relu", initialization=initialization,
            inputs=RESIDUAL_WIDTH, seed=seed,
        )  # fmt: skip
        return deviations_by_layer(model, model.blocks, x)

    found = {
        "residual, no norm": deviations("none", "relu", "he"),
        "residual, batch norm": deviations("scratch", "relu", "he"),
        "plain sigmoid, no norm": deviations("none", "sigmoid", "xavier"),
    }
    return Sample(
        {name: slope(one) for name, one in found.items()},
        {name: _by_place(one) for name, one in found.items()},
    )


MEASUREMENTS: "Mapping[str, Callable[[int, Dataset], Sample]]" = {
    "A1": _gradients_shrink,
    "A2": _depth_law,
    "A3": _activations_explode,
}
"""What gives one number a seed for each part of a claim, and trains nothing."""

STUDY = Study(
    name="start",
    question="What do signals and gradients look like before training, and at its start?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=55,
    measure=measure,
)
