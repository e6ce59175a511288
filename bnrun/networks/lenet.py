"""LeNet with a norm before each nonlinearity, as in the textbook.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition",
1998, without its padding; norms as in *Dive into Deep Learning*, section "Batch Normalization".
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from bnrun.networks.layers import ActivatedAveragePool, ActivatedMaxPool, Convolution
from bnrun.networks.whole import in_one_call

POOLS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "avg": ActivatedAveragePool,
    "max": ActivatedMaxPool,
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU}
NORM_PLACES = (1, 2, 3, 4)
"""The places that a norm may stand at: after the convolutions, after the hidden linear layers."""


class LeNet(nn.Module):
    """Two convolutions and three linear layers, with a norm after all but the last.

    The parts stand in this order; with `norm_position` after, activation and norm are exchanged:

        convolution (conv1, conv2)     norm, activation, pooling
        linear layer (fc1, fc2)        norm, activation, dropout
        linear layer (fc3)

    Shapes: input (N, 1, 28, 28) in [0, 1]; output (N, 10), the logits of ten classes.
    44,878 parameters with batch norms, 44,426 without.

    Args:
        norm: a factory `(num_features, num_dims) -> nn.Module`, called once for each place.
        pool: `avg` or `max`.
        activation: `sigmoid` or `relu`.
        norm_places: where the norm stands, of 1 to 4; the other places get an identity.
        norm_position: `before` or `after` the activation.
        dropout: the probability of dropout, which draws from torch's generator.
        weight_scale: a factor for the initial weights of conv and linear layers.
        seed: of the initial weights of conv and linear layers. They do not depend on the norm.
    """

    def __init__(
        self,
        norm: Callable[[int, int], nn.Module],
        *,
        pool: str = "avg",
        activation: str = "sigmoid",
        norm_places: Collection[int] = NORM_PLACES,
        norm_position: str = "before",
        dropout: float = 0.0,
        weight_scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()

        def norm_at(place: int, num_features: int, num_dims: int) -> nn.Module:
            return norm(num_features, num_dims) if place in norm_places else nn.Identity()

        self.conv1 = Convolution(1, 6, kernel_size=5)
        self.norm1 = norm_at(1, 6, 4)
        self.conv2 = Convolution(6, 16, kernel_size=5)
        self.norm2 = norm_at(2, 16, 4)
        self.fc1 = nn.Linear(16 * 4 * 4, 120)
        self.norm3 = norm_at(3, 120, 2)
        self.fc2 = nn.Linear(120, 84)
        self.norm4 = norm_at(4, 84, 2)
        self.fc3 = nn.Linear(84, 10)
        self.act = ACTIVATIONS[activation]()
        is_after = norm_position == "after"
        self.act_before_norm = self.act if is_after else nn.Identity()
        self.act_after_norm = nn.Identity() if is_after else self.act
        self.act_pool = POOLS[pool](self.act_after_norm)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self._initialize(torch.Generator().manual_seed(seed), weight_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, 10), of images (N, 1, 28, 28)."""
        at_once = in_one_call(self, x)
        if at_once is not None:
            return at_once
        x = self.act_pool(self.norm1(self.act_before_norm(self.conv1(x))))  # (N,  6, 12, 12)
        x = self.act_pool(self.norm2(self.act_before_norm(self.conv2(x))))  # (N, 16,  4,  4)
        x = x.flatten(1)  # (N, 256)
        x = self.dropout(self.act_after_norm(self.norm3(self.act_before_norm(self.fc1(x)))))
        x = self.dropout(self.act_after_norm(self.norm4(self.act_before_norm(self.fc2(x)))))
        logits: Tensor = self.fc3(x)
        return logits

    def _initialize(self, generator: torch.Generator, weight_scale: float) -> None:
        """Set Xavier-uniform weights and PyTorch's uniform biases from a separate generator.

        The weights are multiplied by `weight_scale`, the biases are not.

        A norm's constructor may draw random numbers from torch's generator. It does not share
        this one, so a seed gives the same conv and linear weights whatever the norm.
        """
        for layer in (self.conv1, self.conv2, self.fc1, self.fc2, self.fc3):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            with torch.no_grad():  # a gain of Xavier's would raise where a factor is very large
                layer.weight.mul_(weight_scale)
            assert layer.bias is not None
            bound = layer.weight[0].numel() ** -0.5
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


def flops() -> int:
    """Return the number of multiplications and additions of training on one image."""
    return forward_flops() + backward_flops()


LAYER_FLOPS = {
    "conv1": 2 * 6 * 24 * 24 * (1 * 5 * 5),
    "conv2": 2 * 16 * 8 * 8 * (6 * 5 * 5),
    "fc1": 2 * 256 * 120,
    "fc2": 2 * 120 * 84,
    "fc3": 2 * 84 * 10,
}
"""Multiplications and additions of each layer's forward pass, for one image.

The gradient of its weights takes as many, and so does that of its input.
"""


def forward_flops() -> int:
    """Return the multiplications and additions of the convolutions and linear layers, one image."""
    return sum(LAYER_FLOPS.values())


def backward_flops() -> int:
    """Return those of the gradients. That of conv1's input, the images, is not computed."""
    return 2 * forward_flops() - LAYER_FLOPS["conv1"]
