"""Probe `activations`: what enters the nonlinearities. One pass forward."""

import numpy
import torch
from torch import Tensor, nn

from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import Sight, Values, outputs_of, preactivations

SATURATED = 4.0
"""Beyond this on either side, the slope of a sigmoid is below .018, a fourteenth of its largest."""
PERCENTILES = (15, 50, 85)
"""Those of Ioffe and Szegedy 2015, figure 1."""


class Activations(Instrument):
    """What enters each nonlinearity: mean, deviation, percentiles; and the share that is off.

    Percentiles are over all values of a layer: examples, channels and positions. `off` is the share
    where the nonlinearity hardly passes a gradient: beyond ±4 for a sigmoid, at most 0 for ReLU.
    """

    def look(self, sight: Sight) -> Values:
        """Take the batch forward."""
        with torch.no_grad(), outputs_of(preactivations(sight.model)) as outputs:
            sight.model(sight.images)
        is_off = _is_saturated if isinstance(sight.model.act, nn.Sigmoid) else _is_negative
        return {name: _summary(z, is_off(z)) for name, z in outputs.items()}


def _is_saturated(z: Tensor) -> Tensor:
    return z.abs() > SATURATED


def _is_negative(z: Tensor) -> Tensor:
    return z <= 0


def _summary(z: Tensor, off: Tensor) -> dict[str, float]:
    values = z.detach().flatten()
    return {
        "mean": float(values.double().mean()),
        "deviation": float(values.double().std(unbiased=False)),
        **_percentiles(values),
        "off": float(off.double().mean()),
    }


def _percentiles(values: Tensor) -> dict[str, float]:
    """Return the values at the percentiles' ranks. Partitioning takes a sixth of sorting."""
    ranks = [round(share / 100 * (len(values) - 1)) for share in PERCENTILES]
    partitioned = numpy.partition(values.cpu().numpy(), ranks)
    return {
        f"p{share}": float(partitioned[rank])
        for share, rank in zip(PERCENTILES, ranks, strict=True)
    }
