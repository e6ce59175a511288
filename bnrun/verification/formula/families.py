"""The ways to compute each part of a norm, by family: the first of each is right.

| family   | the values that share statistics                              | mean subtracted |
|----------|---------------------------------------------------------------|-----------------|
| batch    | a channel, over all examples and positions                    | yes             |
| layer    | an example, or one position of it, over all channels          | yes             |
| group    | a group of an example's channels, over all positions          | yes             |
| instance | a channel of an example, over all positions                   | yes             |
| rms      | as layer                                                      | no              |

(Ioffe & Szegedy 2015; Ba et al. 2016; Wu & He 2018; Ulyanov et al. 2016; Zhang & Sennrich 2019.)
"""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.verification.fault import Choice, Family, Fault, choices, wrong
from bnrun.verification.formula import batch_statistics, gradients, mean_square, normalization
from bnrun.verification.formula.axes import Axes, Dims
from bnrun.verification.formula.batch_statistics import BY_BATCH, BY_MOVING, Source
from bnrun.verification.formula.gradients import Gradient
from bnrun.verification.formula.normalization import Affine, Centring, Denominator, Prepare, eps_of
from bnrun.verification.formula.spread import OF_A_BATCH, SPREAD, Spread


@dataclass(frozen=True)
class Ways:
    """The ways to compute each part in one family, the right one first.

    `together` holds ways of several parts that are one mistake. `has_moving`: whether moving
    statistics are part of the family.
    """

    over: tuple[Choice[Axes], ...]
    spread: tuple[Choice[Spread], ...]
    parts: tuple[Choice[int], ...]
    centring: tuple[Choice[Centring], ...]
    denominator: tuple[Choice[Denominator], ...]
    eps: tuple[Choice[float], ...]
    affine: tuple[Choice[Affine], ...]
    x_gradient: tuple[Choice[Gradient], ...]
    training_source: tuple[Choice[Source], ...]
    predicting_source: tuple[Choice[Source], ...]
    together: tuple[Mapping[str, Choice[Any]], ...] = ()
    has_moving: bool = False

    def usual_sources(self, trains: bool) -> tuple[Choice[Source], ...]:
        """Return the sources of statistics of which gradients are judged."""
        if not self.has_moving or trains:
            return self.training_source[:1]
        return self.predicting_source[:-1]


BATCH = Ways(
    over=batch_statistics.OVER,
    spread=OF_A_BATCH,
    parts=batch_statistics.PARTS,
    centring=normalization.CENTRING,
    denominator=normalization.DENOMINATOR,
    eps=normalization.EPS,
    affine=normalization.AFFINE,
    x_gradient=gradients.X_GRADIENT,
    training_source=batch_statistics.TRAINING_SOURCE,
    predicting_source=batch_statistics.PREDICTING_SOURCE,
    has_moving=True,
)


def _positions(rank: int) -> Dims:
    return tuple(range(2, rank))


def _channels(rank: int) -> Dims:
    return (1,)


def _example(rank: int) -> Dims:
    return tuple(range(1, rank))


def _channel_of_example(rank: int) -> Dims:
    return _positions(rank) or (1,)


def _channel_of_batch(rank: int) -> Dims:
    return (0, *_positions(rank))


# fmt: off
# ---- over what

_OVER_BATCH = (
    "The statistics are taken over the batch, separately for each channel: that is batch "
    "normalization, and an example's output then depends on the others.")
_BY_INSTANCE = (
    "The statistics are taken over the positions, separately for each channel: that is instance "
    "normalization.")
_BY_EXAMPLE = (
    "The statistics are taken over all channels and positions of an example: that is layer "
    "normalization.")
_OF_ROWS = "The statistics are taken over the last dimension alone: each row has its own."
_OVER_ALL = "One set of statistics is taken over the whole input, the batch included."


def _elsewhere(right: Axes | Choice[Axes], *others: Choice[Axes], fix: str
               ) -> tuple[Choice[Axes], ...]:
    """Return the right axes, then those that are wrong in every family."""
    return choices(
        right,
        *others,
        wrong("statistics-over-batch", Axes(_channel_of_batch), _OVER_BATCH),
        wrong("statistics-over-batch", Axes(lambda rank: (0,)), _OVER_BATCH),
        wrong("statistics-over-everything", Axes(lambda rank: tuple(range(rank))), _OVER_ALL),
        wrong("statistics-over-batch-and-channels", Axes(lambda rank: (0, 1)),
              "The statistics are taken over the batch and the channels; each example should have "
              "its own."),
        fix=fix)


_INSTANCE = wrong("statistics-per-channel", Axes(_channel_of_example), _BY_INSTANCE)
PER_POSITION: Choice[Axes] = wrong(
    "statistics-per-position", Axes(_channels),
    "Each position is normalized by itself, over its channels.",
    "Take the statistics over dimensions (1, 2, 3) of (N, C, H, W) for one group of all channels.",
    "ConvNeXt's LayerNorm for channels first, and others between two transposes")
LAST_OVER = _elsewhere(
    Axes(_channels),
    wrong("statistics-over-positions", Axes(_example),
          "The statistics are taken over all positions of an example, too: what stands at another "
          "position, padding included, changes the output."),
    _INSTANCE,
    fix="Take them over the last dimension alone: x.mean(-1, keepdim=True), and so on.")
FIRST_OVER = _elsewhere(
    Axes(_example),
    PER_POSITION,
    _INSTANCE,
    fix="Take them over each example: dimensions (1, 2, 3) of (N, C, H, W).")
INSTANCE_OVER = _elsewhere(
    Axes(_channel_of_example),
    wrong("statistics-over-channels", Axes(_example), _BY_EXAMPLE),
    wrong("statistics-over-channels", Axes(_channels),
          "The statistics are taken over the channels of each position: that is layer "
          "normalization."),
    wrong("statistics-miss-a-position", Axes(lambda rank: _positions(rank)[:-1] or (rank - 1,)),
          "The statistics leave out the last dimension of the positions: each column has its own."),
    wrong("statistics-miss-a-position", Axes(lambda rank: _positions(rank)[1:] or (rank - 1,)),
          _OF_ROWS),
    wrong("statistics-miss-a-position", Axes(lambda rank: (rank - 1,)), _OF_ROWS),
    fix="Take them over the positions alone: dimensions (2, 3) of (N, C, H, W).")


def group_over(groups: int, channels: int, last: bool) -> tuple[Choice[Axes], ...]:
    """Return what the statistics of a group normalization are taken over."""
    of_memory = wrong(
        "groups-of-positions", Axes(lambda rank: (2,), groups, of_memory=True),
        "Each example is cut into groups as it lies in memory: with the channels last, that makes "
        "groups of positions over all channels.",
        "Separate the channels first: x.reshape(N, -1, G, C // G), statistics over (1, 3).")
    def own(rank: int) -> Dims:  # of (N, groups, C / groups, ...)
        return tuple(range(2, rank))

    return _elsewhere(
        Axes(own, groups),
        wrong("groups-striped", Axes(own, groups, striped=True),
              "The groups are striped: a group is every G-th channel (0, G, 2G, ...), not "
              "neighbors.",
              "Cut the channels into neighbors: x.reshape(N, G, C // G, ...), groups first."),
        wrong("groups-counted-as-sizes", Axes(own, channels // groups),
              "The number of groups is taken for the number of channels in a group: there are C / "
              "G groups of G channels.",
              "Cut the channels into G groups of C // G: x.reshape(N, G, C // G, ...)."),
        *([of_memory] if last else []),
        wrong("groups-ignored", Axes(_example),
              "All channels share their statistics, as if there were one group: that is layer "
              "normalization."),
        wrong("statistics-per-channel", Axes(own, channels), _BY_INSTANCE),
        wrong("statistics-per-position", Axes(lambda rank: (2,), groups),
              "Each position has its own statistics, over the channels of its group alone."),
        wrong("statistics-miss-a-position", Axes(lambda rank: own(rank)[:-1], groups),
              "The statistics leave out the last dimension: each column has its own."),
        wrong("groups-over-batch", Axes(lambda rank: (0, *own(rank)), groups),
              "The statistics of a group are taken over the batch, too: an example's output then "
              "depends on the others."),
        fix="x.reshape(N, G, -1) has a row for each group of an example: take mean and variance "
            "over its last dimension.")


# ---- the other parts

OWN: Choice[Source] = Choice(BY_BATCH.value)
PREDICTS_WITH_MOVING = Fault(
    "predicts-with-moving",
    "When predicting, it normalizes with moving statistics; there are none in this family, which "
    "computes the same after train() and eval().",
    "Normalize with the input's own statistics in both modes.")
TRACKED = dataclasses.replace(
    PREDICTS_WITH_MOVING,
    name="instance-statistics-tracked",
    sentence="When predicting, it normalizes with moving statistics.",
    speakers="PyTorch's InstanceNorm with track_running_stats=True")
TRAINS_WITH_MOVING = wrong(
    "trains-with-moving-statistics", BY_MOVING.value,
    "In training, it normalizes with moving statistics; there are none in this family.",
    "Normalize with the input's own statistics in both modes.")

GEMMA: Choice[Affine] = wrong(
    "gamma-plus-one", lambda x_hat, gamma, beta: (1 + gamma) * x_hat + beta,
    "It scales by 1 + gamma, and gamma starts at 0.",
    "Scale by gamma, and start it at 1.",
    "Gemma; and others, so that weight decay pulls the scale towards 1")

AFFINE_FIRST: Choice[Prepare] = wrong(
    "affine-before-normalization", lambda x, gamma, beta: gamma * x + beta,
    "gamma and beta are applied before the normalization, which takes them away again in part.",
    "Normalize first: gamma * x_hat + beta.")
_WITHOUT_AFFINE: Choice[Affine] = Choice(lambda x_hat, gamma, beta: x_hat)
IS_RMS = Fault(
    "mean-nowhere-subtracted",
    "The mean is subtracted neither from x nor in the variance: that is RMS normalization.",
    "Subtract it in both: (x - mean) / torch.sqrt(((x - mean) ** 2).mean(...) + eps).",
    families=("layer", "group", "instance"))
_AS_RMS: Mapping[str, Choice[Any]] = {
    "spread": Choice(mean_square.MEAN_SQUARE[0].value, IS_RMS),
    "centring": Choice(mean_square.CENTRING[0].value, IS_RMS)}
TOGETHER: tuple[Mapping[str, Choice[Any]], ...] = (
    {"prepare": AFFINE_FIRST, "affine": _WITHOUT_AFFINE},)
TOGETHER_OF_CENTRED = (*TOGETHER, _AS_RMS)

EPS_SPEAKERS: Mapping[Family, Mapping[float, str]] = {
    "layer": {1e-3: "Keras", 1e-6: "Flax, ConvNeXt and ViT", 1e-12: "BERT"},
    "group": {1e-3: "Keras and TensorFlow Addons", 1e-6: "Flax and diffusion models"},
    "instance": {1e-3: "TensorFlow Addons", 1e-6: "Flax", 1e-9: "an early fast-neural-style"},
    "rms": {1e-6: "Llama, T5, Gemma and Flax", 1e-5: "Llama 2 and Mistral",
            1e-8: "the paper's code", 1e-3: "Keras", 1e-12: "the floor of F.normalize"},
}
_EPS_VALUES = (1e-3, 1e-6, 1e-5, 1e-8, 1e-12, 1e-7, 1e-4, 1e-9, 1e-2)
# fmt: on


def eps_ways(family: Family, dtype: torch.dtype) -> tuple[Choice[float], ...]:
    """Return PyTorch's eps, then others.

    That of its RMSNorm is the step from 1 of the dtype that it computes in: never of a half one.
    """
    step = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    right = step if family == "rms" else 1e-5
    known = EPS_SPEAKERS[family]
    values = dict.fromkeys((*_EPS_VALUES, step))
    others = (eps_of(v, right, known.get(v, "")) for v in values if v != right)
    return (Choice(right), *others)


@functools.cache
def ways_of(family: Family, dtype: torch.dtype, *, last: bool, groups: int, channels: int) -> Ways:
    """Return the ways of a family.

    Args:
        family: of norms.
        dtype: of the inputs, on which PyTorch's eps may depend.
        last: whether the channels are the last dimension of an input.
        groups, channels: of a group normalization.
    """
    if family == "batch":
        return BATCH
    rms = family == "rms"
    over = {
        "layer": LAST_OVER if last else FIRST_OVER,
        "rms": LAST_OVER if last else FIRST_OVER,
        "group": group_over(groups, channels, last) if family == "group" else (),
        "instance": INSTANCE_OVER,
    }[family]
    tracks = Choice(BY_MOVING.value, TRACKED if family == "instance" else PREDICTS_WITH_MOVING)
    plus_one = normalization.GAMMA_PLUS_ONE
    return Ways(
        over=over,
        spread=mean_square.MEAN_SQUARE if rms else SPREAD,
        parts=batch_statistics.PARTS[:1],
        centring=mean_square.CENTRING if rms else normalization.CENTRING,
        denominator=mean_square.DENOMINATOR if rms else normalization.DENOMINATOR,
        eps=eps_ways(family, dtype),
        affine=tuple(GEMMA if one is plus_one else one for one in normalization.AFFINE),
        x_gradient=mean_square.X_GRADIENT if rms else gradients.X_GRADIENT_OF_CHANNELS,
        training_source=(OWN, TRAINS_WITH_MOVING),
        predicting_source=(OWN, tracks),
        together=TOGETHER if rms else TOGETHER_OF_CENTRED,
    )
