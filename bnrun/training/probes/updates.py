"""Probe `updates`: how far a step, and the whole training, moves the weights. No pass."""

from torch import Tensor

from bnrun.networks.lenet import LeNet
from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import Sight, Values, linear_layers, rms


class Updates(Instrument):
    """How far the weights of each layer moved, relative to their length.

    `update` is the last step's way over the length of the weight; `distance` is the way from the
    initial weight, over the length of that one. Before the first step both are 0.
    """

    def __init__(self, model: LeNet) -> None:
        self._start = _weights(model)
        self._before = self._start

    def before_step(self, model: LeNet) -> None:
        """Keep the weights that the step starts from."""
        self._before = _weights(model)

    def look(self, sight: Sight) -> Values:
        """Compare the weights with those before the last step, and with the initial ones."""
        return {
            name: {
                "update": _ratio(weight - self._before[name], weight),
                "distance": _ratio(weight - self._start[name], self._start[name]),
            }
            for name, weight in _weights(sight.model).items()
        }


def _weights(model: LeNet) -> dict[str, Tensor]:
    """Return copies of the weights by layer."""
    weights = {}
    for name, layer in linear_layers(model).items():
        assert isinstance(layer.weight, Tensor)
        weights[name] = layer.weight.detach().clone()
    return weights


def _ratio(way: Tensor, weight: Tensor) -> float:
    return rms(way) / rms(weight)
