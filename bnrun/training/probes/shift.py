"""Probe `shift`: covariate shift as the change of a layer's gradient. Five passes both ways.

Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS
2018, definition 2.1 (arXiv:1805.11604).
"""

import itertools

from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import (
    Sight,
    Values,
    cosine,
    difference,
    linear_layers,
    norm,
    weight_path,
)


class Shift(Instrument):
    """How the gradient of a layer's weight changes when the layers before it take their step.

    With G the gradient now, and G' the one on the same batch after all earlier layers, with their
    norms, have taken a step of plain gradient descent at the learning rate: `cosine` of the angle
    between G and G'; `relative`, |G' - G| / |G|; and `absolute`, |G' - G|, the paper's number. The
    first layer has none before it, and no values.
    """

    def look(self, sight: Sight) -> Values:
        """Take the batch forward and backward, for each layer after the steps of those before."""
        weights = {name: one.detach() for name, one in sight.parameters.items()}
        _, gradient = sight.gradients(weights)
        found, moved = {}, dict(weights)
        places = list(linear_layers(sight.model))
        for number, (before, layer) in enumerate(itertools.pairwise(places), start=1):
            for name in weights:
                if name.startswith((f"{before}.", f"norm{number}.")):
                    moved[name] = weights[name] - sight.lr * gradient[name]
            path = weight_path(sight.model, layer)
            now = {path: gradient[path]}
            _, after = sight.gradients(moved, [path])
            change, length = norm(difference(after, now)), norm(now)
            found[layer] = {
                "cosine": cosine(now, after),
                "relative": change / length if length else 0.0,
                "absolute": change,
            }
        return found
