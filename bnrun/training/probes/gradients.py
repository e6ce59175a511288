"""Probe `gradients`: how large gradients are, layer by layer. One pass forward and backward."""

import torch

from bnrun.networks.layers import cross_entropy
from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import (
    Sight,
    Values,
    outputs_of,
    preactivations,
    rms,
    weight_path,
)


class Gradients(Instrument):
    """The loss's gradient at each layer.

    `rms` is the root of the mean square of the gradient with respect to what enters the
    nonlinearity: it does not depend on how many values a layer has. `ratio` is the length of the
    weight's gradient over that of the weight.
    """

    def look(self, sight: Sight) -> Values:
        """Take the batch forward and backward."""
        model = sight.model
        with outputs_of(preactivations(model)) as outputs:
            loss = cross_entropy(model(sight.images), sight.labels)
        weights = {name: model.get_parameter(weight_path(model, name)) for name in outputs}
        found = torch.autograd.grad(loss, [*outputs.values(), *weights.values()])
        signals, gradients = found[: len(outputs)], found[len(outputs) :]
        return {
            name: {"rms": rms(signal), "ratio": rms(gradient) / rms(weights[name])}
            for name, signal, gradient in zip(outputs, signals, gradients, strict=True)
        }
