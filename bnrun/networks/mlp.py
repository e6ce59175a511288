"""A plain deep network, for claims that are about depth."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Initialization = Literal["he", "xavier"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}

CLASSES = 10


class Block(nn.Module):
    """A linear layer, a norm and a nonlinearity: act(norm(W x)); residual: x + act(norm(W x))."""

    def __init__(self, linear: nn.Linear, norm: nn.Module, act: nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm
        self.act = act
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output for x, of shape (N, inputs)."""
        y: Tensor = self.act(self.norm(self.linear(x)))
        return x + y if self.residual else y


class MLP(nn.Module):
    """Blocks of one width, and a linear layer at the end.

    Shapes: input (N, `inputs`), output (N, 10). Linear layers have no biases: at the start
    they would be small or 0, and before a norm they are idle.

    Args:
        norm: a factory `(num_features, num_dims) -> nn.Module`, called once for each block.
        depth: how many blocks; at least 1.
        width: the channels of each block.
        activation: `relu`, `gelu`, `tanh` or `sigmoid`.
        residual: whether each block but the first adds its output to its input.
        initialization: of all weights, normally distributed: `he` has the variance 2 / inputs (He
            et al. 2015, section 2.2), `xavier` 2 / (inputs + outputs) (Glorot and Bengio 2010,
            section 4.2).
        inputs: how many values an input has.
        seed: of the weights. They do not depend on the norm.
    """

    def __init__(
        self,
        norm: Callable[[int, int], nn.Module],
        *,
        depth: int,
        width: int,
        activation: str = "relu",
        residual: bool = False,
        initialization: Initialization = "he",
        inputs: int = 784,
        seed: int = 0,
    ) -> None:
        super().__init__()
        sizes = [inputs] + [width] * depth
        self.blocks = nn.ModuleList(
            Block(
                nn.Linear(before, width, bias=False),
                norm(width, 2),
                ACTIVATIONS[activation](),
                residual and index > 0,
            )
            for index, before in enumerate(sizes[:-1])
        )
        self.last = nn.Linear(width, CLASSES, bias=False)
        generator = torch.Generator().manual_seed(seed)
        for layer in [*(block.linear for block in self.blocks), self.last]:
            assert isinstance(layer, nn.Linear)
            outer = layer.out_features if initialization == "xavier" else 0
            variance = 2 / (layer.in_features + outer)
            nn.init.normal_(layer.weight, 0.0, variance**0.5, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, (N, 10), of x, (N, `inputs`)."""
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.last(x)
        return logits
