"""What the norms of a checkpoint have learned: gamma, beta and moving statistics.

They are read by name alone (see `bnrun.norms.introspection`), without the norm's class.
"""

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnrun.config.norm_call import norm_call
from bnrun.errors import RunError, did_you_mean
from bnrun.norms.introspection import ChannelValues, channel_values

NEARLY_OFF = 0.1
"""Share of the layer's median |gamma| at or below which a channel counts as nearly off."""
DEFAULT_EPS = 1e-5
"""PyTorch's and the textbook's; assumed where a norm has no attribute `eps`."""
_NORM_PLACE = re.compile(r"norm\d+(\.|$)")

Vector = tuple[float, ...] | None


@dataclass(frozen=True)
class NormLayer:
    """One norm of a model: its place in the model, and its values by channel.

    Values that the norm does not have are None. `eps_stated` is whether the norm has an attribute
    `eps`; where it has none, `eps` is the default.
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
        """Return gamma / sqrt(moving variance + eps), by which prediction multiplies a channel."""
        if self.moving_var is None:
            return None
        gamma = self.gamma or (1.0,) * self.channels
        return tuple(
            g / math.sqrt(v + self.eps) if v + self.eps > 0 else math.nan
            for g, v in zip(gamma, self.moving_var, strict=True)
        )

    @property
    def nearly_off(self) -> tuple[bool, ...]:
        """Return for each channel whether its |gamma| is at most a tenth of the layer's median.

        A normalized channel has standard deviation 1, so |gamma| is all the variation that the
        rest of the network sees of it. Of a channel that is nearly off, it sees little but beta.
        """
        if self.gamma is None:
            return (False,) * self.channels
        median = statistics.median(map(abs, self.gamma))
        return tuple(abs(g) <= NEARLY_OFF * median for g in self.gamma)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer for JSON, which has no numbers that are not finite: null."""
        return {
            "name": self.name,
            "channels": self.channels,
            "gamma": _finite(self.gamma),
            "beta": _finite(self.beta),
            "moving_mean": _finite(self.moving_mean),
            "moving_var": _finite(self.moving_var),
            "eps": self.eps,
            "eps_stated": self.eps_stated,
            "effective_scale": _finite(self.effective_scale),
            "nearly_off": list(self.nearly_off),
        }


@dataclass(frozen=True)
class Inspection:
    """The norms of a checkpoint, in the order of the network.

    Attributes:
        norm: the norm's name.
        epoch: how many epochs the checkpoint has been trained for.
        layers: at least one.
        recalibrated: where `recalibrate` made the checkpoint, the number of images that its
            statistics are over; else None.
    """

    norm: str
    epoch: int
    layers: tuple[NormLayer, ...]
    recalibrated: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun inspect-gamma --json` prints, without the run."""
        layers = [{"norm": self.norm, **layer.to_dict()} for layer in self.layers]
        return {"epoch": self.epoch, "layers": layers}


def inspect(checkpoint: Mapping[str, Any], layer: str | None = None) -> Inspection:
    """Return the norms of a checkpoint, or one of them, such as `norm1`.

    Where a norm wraps others, its name stands for all of them.

    Raises:
        RunError: the checkpoint has no norm, or none of this name.
    """
    model = checkpoint["config"]["model"]
    norm = norm_call(model["norm"], model.get("norm_options", {}))  # older ones have no options
    layers = norm_layers(checkpoint)
    if not layers:
        raise RunError(
            f"norm '{norm}' has no gamma and no moving statistics: there is nothing to inspect."
        )
    chosen = tuple(one for one in layers if layer is None or _is_at(one.name, layer))
    if layer is not None and not chosen:
        names = [one.name for one in layers]
        raise RunError(
            f"the run has no norm '{layer}'.{did_you_mean(layer, names)} It has: "
            f"{', '.join(names)}.",
            key="layer",
        )
    return Inspection(norm, len(checkpoint["epochs"]), chosen, checkpoint.get("population_images"))


def _is_at(path: str, name: str) -> bool:
    return f"{path}.".startswith(f"{name}.")


def norm_layers(checkpoint: Mapping[str, Any]) -> tuple[NormLayer, ...]:
    """Return the norms of a checkpoint in the model's order; none for norm `none`.

    A norm is a module at a norm's place in LeNet (`norm1` to `norm4`), or below it in a norm that
    wraps others (`norm1.bn`), with a gamma or moving statistics. A beta alone is not enough: it may
    be the bias of a linear layer in a user's norm.
    """
    values: dict[str, dict[str, Any]] = {
        path: dict(attributes) for path, attributes in checkpoint["attributes"].items()
    }
    for key, tensor in checkpoint["model"].items():
        path, _, name = key.rpartition(".")
        values.setdefault(path, {})[name] = tensor
    layers = []
    for path, module_values in values.items():
        found = channel_values(module_values) if _NORM_PLACE.match(path) else None
        if found is None or not _has_more_than_beta(found):
            continue
        eps = module_values.get("eps")
        is_stated = isinstance(eps, float | int) and not isinstance(eps, bool)
        layers.append(
            NormLayer(
                name=path,
                channels=found.channels,
                gamma=_floats(found.gamma),
                beta=_floats(found.beta),
                moving_mean=_floats(found.moving_mean),
                moving_var=_floats(found.moving_var),
                eps=float(eps) if eps is not None and is_stated else DEFAULT_EPS,
                eps_stated=is_stated,
            )
        )
    return tuple(layers)


def _has_more_than_beta(values: ChannelValues) -> bool:
    vectors = (values.gamma, values.moving_mean, values.moving_var)
    return any(vector is not None for vector in vectors)


def _finite(vector: Vector) -> list[float | None] | None:
    if vector is None:
        return None
    return [value if math.isfinite(value) else None for value in vector]


def _floats(vector: Tensor | None) -> Vector:
    return None if vector is None else tuple(vector.double().flatten().tolist())
