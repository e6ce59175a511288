"""Probe `landscape`: the loss along the gradient. Nine passes forward and backward.

Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS
2018, section 3.2, figure 4 and appendix A.2.2 (arXiv:1805.11604).
"""

from bnrun.training.probes.instrument import Instrument
from bnrun.training.probes.sight import Sight, Values, cosine, difference, norm

SHORTEST, LONGEST, LENGTHS = 0.5, 4.0, 8
"""The steps: of the learning rate, the first, the last and how many, in equal ratios."""


class Landscape(Instrument):
    """The loss and its gradient g' on the way from the weights along -g, their gradient.

    All on one batch, with that batch's statistics. For steps of 1/2 to 4 learning rates, the
    paper's numbers are: `lowest` and `highest`, the losses, the start included, and `range`, their
    difference; `change`, the largest |g' - g|; and `beta`, the largest |g' - g| over the length of
    the step, the "effective" smoothness.

    Others do not depend on the scale of the weights: `surprise`, the largest |d - p| / p, with d
    the decrease of the loss and p = step |g|² what the gradient promises; `relative`, the largest
    |g' - g| / |g|; and `cosine`, the smallest cosine of the angle between g and g'. Where g is 0,
    nothing changes: they are 0, 0 and 1.
    """

    def look(self, sight: Sight) -> Values:
        """Take the batch forward and backward at each step length."""
        weights = sight.parameters
        loss, gradient = sight.gradients(weights)
        length = norm(gradient)
        losses, surprises = [float(loss)], [0.0]
        changes, betas, cosines = [0.0], [0.0], [1.0]
        for at in range(LENGTHS):
            step = sight.lr * SHORTEST * (LONGEST / SHORTEST) ** (at / (LENGTHS - 1))
            there = {name: one.detach() - step * gradient[name] for name, one in weights.items()}
            loss, moved = sight.gradients(there)
            change = norm(difference(moved, gradient))
            losses.append(float(loss))
            promised = step * length**2
            surprises.append(abs((losses[0] - losses[-1]) / promised - 1) if promised else 0.0)
            changes.append(change)
            betas.append(change / (step * length) if length else 0.0)
            cosines.append(cosine(moved, gradient))
        values = {
            "lowest": min(losses),
            "highest": max(losses),
            "range": max(losses) - min(losses),
            "change": max(changes),
            "beta": max(betas),
            "cosine": min(cosines),
            "surprise": max(surprises),
            "relative": max(changes) / length if length else 0.0,
        }
        return {"network": values}
