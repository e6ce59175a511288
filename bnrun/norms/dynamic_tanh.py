"""Dynamic tanh, which takes a norm's place and uses no statistics.

Zhu, Chen, He, LeCun and Liu, "Transformers without Normalization", CVPR 2025, section 4
(arXiv:2503.10622).
"""

import torch
from torch import Tensor, nn


class DynamicTanh(nn.Module):
    """Squash each value, then scale and shift each channel: y = gamma * tanh(alpha * x) + beta.

    Shapes: input (N, C) or (N, C, ...) with C = `num_features`; output the same.

    Args:
        num_features: the channel count C.
        alpha: where the one learned `alpha` of the layer starts.
        affine: whether to learn gamma (`weight`, starts at 1) and beta (`bias`, starts at 0), of
            shape (C,).
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, num_features: int, alpha: float = 0.5, affine: bool = True) -> None:
        super().__init__()
        self.num_features = num_features
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        weight, bias = torch.ones(num_features), torch.zeros(num_features)
        self.register_parameter("weight", nn.Parameter(weight) if affine else None)
        self.register_parameter("bias", nn.Parameter(bias) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        """Return y for x, of shape (N, C, ...)."""
        per_channel = (1, self.num_features, *[1] * (x.dim() - 2))
        y = torch.tanh(self.alpha * x)
        if self.weight is not None:
            y = y * self.weight.view(per_channel)
        if self.bias is not None:
            y = y + self.bias.view(per_channel)
        return y

    def extra_repr(self) -> str:
        """Show the arguments, as `print(module)` lists them."""
        return f"{self.num_features}, affine={self.weight is not None}"
