"""A batch normalized in pieces, by any norm: ghost batch normalization.

Hoffer, Hubara and Soudry, "Train longer, generalize better", NeurIPS 2017, Algorithm 1
(arXiv:1705.08741).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.batch_variants import BatchRenorm
from bnrun.norms.grouped import GroupNorm, RMSNorm
from bnrun.norms.registry import NormFactory

BY_EXAMPLE = (nn.Identity, GroupNorm, RMSNorm)
"""Classes whose output for an example does not depend on the others: pieces change nothing."""


def in_pieces(factory: NormFactory, examples: int) -> NormFactory:
    """Return a factory of the same layers, which in training normalize a batch in pieces.

    A piece is so many examples that follow one another; the last one may have fewer. The layer
    normalizes each as if it were a batch, and updates its moving statistics after each, in order.
    In evaluation it gets the whole batch. For a batch norm, the output in training is
    `grouped_norm(x, gamma, beta, examples=examples, channels=1, ...)`.

    The layer's `forward` is replaced, and no module is put around it. So its class, its place, the
    keys of its state_dict and its values by name stay what they are without pieces, and its hooks
    run once for a batch. Norms `scratch` and `renorm` normalize all whole pieces in one call. A
    layer that computes each example by itself stays as it is.
    """

    def build(num_features: int, num_dims: int, **options: Any) -> nn.Module:
        layer = factory(num_features, num_dims, **options)
        if type(layer) not in BY_EXAMPLE:
            layer.forward = _InPieces(layer, examples)
        return layer

    return build


class _InPieces:
    """The `forward` of a layer in pieces; an object and no closure, so that it is copied with it.

    Args:
        layer: its own `forward` is called for each piece.
        examples: how many make a piece.

    Attributes:
        is_plain_in_evaluation: whether, in evaluation, it is the `forward` of the layer's class.
    """

    def __init__(self, layer: nn.Module, examples: int) -> None:
        self._layer = layer
        self._forward: Callable[[Tensor], Tensor] = layer.forward
        self._examples = examples
        self.is_plain_in_evaluation = "forward" not in vars(layer)

    def __call__(self, x: Tensor) -> Tensor:
        step, layer = self._examples, self._layer
        if not layer.training or len(x) <= step:
            return self._forward(x)
        rest = len(x) % step
        parts = torch.split(x, [len(x) - rest, rest]) if rest else (x,)
        if isinstance(layer, BatchNorm) and type(layer) in (BatchNorm, BatchRenorm):
            pieces = [layer.forward_in_pieces(parts[0], step)]
        else:
            pieces = [self._forward(piece) for piece in torch.split(parts[0], step)]
        pieces += [self._forward(part) for part in parts[1:]]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)
