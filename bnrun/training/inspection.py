"""What norms have learned: gamma, beta and moving statistics, read from a checkpoint.

Read by name alone (see `bnrun.norms.introspection`): the norm's class is neither needed nor run.
"""

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnrun.norms.introspection import Parts, parts

NEARLY_OFF = 0.1  # of the layer's median |gamma|
DEFAULT_EPS = 1e-5
_NORM_PLACE = re.compile(r"norm\d+(\.|$)")

Vector = tuple[float, ...] | None


@dataclass(frozen=True)
class NormLayer:
    """One norm of a model: its place, and its values by channel, None where it has none.

    `eps` is what it states, else the usual 1e-5 and `eps_stated` is false.
    """

    name: str
    channels: int
    gamma: Vector
    beta: Vector
    moving_mean: Vector
    moving_var: Vector
    eps: float = DEFAULT_EPS
    eps_stated: bool = True

    @property
    def effective_scale(self) -> Vector:
        """Return gamma / sqrt(moving variance + eps): what prediction multiplies a channel by."""
        if self.moving_var is None:
            return None
        gamma = self.gamma or (1.0,) * self.channels
        return tuple(
            g / math.sqrt(v + self.eps) if v + self.eps > 0 else math.nan
            for g, v in zip(gamma, self.moving_var, strict=True)
        )

    @property
    def nearly_off(self) -> tuple[bool, ...]:
        """Tell of each channel whether its |gamma| is at most a tenth of the layer's median.

        A normalized channel has standard deviation 1, so |gamma| is all the variation that the
        rest of the network sees of it; what is left of such a channel is little but its beta.
        """
        if self.gamma is None:
            return (False,) * self.channels
        median = statistics.median(map(abs, self.gamma))
        return tuple(abs(g) <= NEARLY_OFF * median for g in self.gamma)


def inspect(checkpoint: Mapping[str, Any]) -> tuple[NormLayer, ...]:
    """Return the norms that a checkpoint holds, in the model's order; none for norm `none`.

    A norm is what lies at a norm's place in LeNet (`norm1` to `norm4`), or below it in a norm
    that wraps others (`norm1.bn`), and has a gamma or moving statistics. A beta alone is none:
    so does the bias of a linear layer look that a user's norm may hold.
    """
    values: dict[str, dict[str, Any]] = {
        path: dict(attributes) for path, attributes in checkpoint["attributes"].items()
    }
    for key, tensor in checkpoint["model"].items():
        path, _, name = key.rpartition(".")
        values.setdefault(path, {})[name] = tensor
    layers = []
    for path, held in values.items():
        found = parts(held) if _NORM_PLACE.match(path) else None
        if found is None or not _has_more_than_beta(found):
            continue
        eps = held.get("eps")
        stated = isinstance(eps, float | int) and not isinstance(eps, bool)
        layers.append(
            NormLayer(
                name=path,
                channels=found.channels,
                gamma=_floats(found.gamma),
                beta=_floats(found.beta),
                moving_mean=_floats(found.moving_mean),
                moving_var=_floats(found.moving_var),
                eps=float(eps) if eps is not None and stated else DEFAULT_EPS,
                eps_stated=stated,
            )
        )
    return tuple(layers)


def _has_more_than_beta(found: Parts) -> bool:
    vectors = (found.gamma, found.moving_mean, found.moving_var)
    return any(vector is not None for vector in vectors)


def _floats(vector: Tensor | None) -> Vector:
    return None if vector is None else tuple(vector.double().flatten().tolist())
