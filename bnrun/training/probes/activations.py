"""Probe `activations`: what enters the nonlinearities. One pass forward."""

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
        **{f"p{share}": _percentile(values, share) for share in PERCENTILES},
        "off": float(off.double().mean()),
    }


def _percentile(values: Tensor, share: int) -> float:
    """Return the value at a share of 100 from the smallest; sorting all of them takes longer."""
    return float(values.kthvalue(round(share / 100 * (len(values) - 1)) + 1).values)
