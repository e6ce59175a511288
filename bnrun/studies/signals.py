"""The measurements of study `start`: signals and gradients by layer, before any training."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

POINTS = 4_000
"""Points of the midpoint rule for Gaussian means: even, so that none is at 0, where ReLU bends."""
REACH = 9
"""Deviations on each side that the rule covers: the density beyond is below 1e-18."""


def gradients_by_layer(
    model: nn.Module, layers: Iterable[nn.Module], x: Tensor, labels: Tensor
) -> list[float]:
    """Return the RMS of the loss's gradient with respect to each layer's output.

    In training mode, on a batch. The model's moving statistics change, nothing else does.

    Args:
        model: a classifier.
        layers: parts of it, such as its norms, whose outputs are what enters the nonlinearities.
        x, labels: the batch: inputs, and classes of shape (N,).
    """
    logits, outputs = _forward(model, layers, x)
    loss = functional.cross_entropy(logits, labels)
    return [rms(gradient) for gradient in torch.autograd.grad(loss, outputs)]


def deviations_by_layer(model: nn.Module, layers: Iterable[nn.Module], x: Tensor) -> list[float]:
    """Return the deviation over the batch of each layer's output, its RMS over the channels.

    In training mode. The model's moving statistics change, nothing else does.

    Args:
        model: any network.
        layers: parts of it, whose outputs have the shape (N, C).
        x: the batch of inputs.
    """
    with torch.no_grad():
        _, outputs = _forward(model, layers, x)
    return [rms(output - output.mean(0)) for output in outputs]


def slope(values: Sequence[float]) -> float:
    """Return the slope of log10 of the values against their index, by least squares."""
    logs = [math.log10(value) for value in values]
    middle, mean = (len(logs) - 1) / 2, sum(logs) / len(logs)
    products = sum((index - middle) * (log - mean) for index, log in enumerate(logs))
    return products / sum((index - middle) ** 2 for index in range(len(logs)))


def growth_law(activation: Callable[[Tensor], Tensor]) -> float:
    """Return √(E[φ′²] / Var φ) of a nonlinearity, for a standard normal input.

    By this factor a gradient grows in each layer, towards the input, where a batch norm stands
    before each nonlinearity (Yang et al. 2019, "A Mean Field Theory of Batch Normalization"). It is
    at least 1 (the Gaussian Poincaré inequality).
    """
    z = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64).requires_grad_()
    phi = activation(z)
    (slopes,) = torch.autograd.grad(phi.sum(), z)
    density = torch.exp(-z.detach().square() / 2)
    density /= density.sum()
    phi = phi.detach()
    mean = (density * phi).sum()
    variance = (density * (phi - mean).square()).sum()
    return float(torch.sqrt((density * slopes.square()).sum() / variance))


def rms(x: Tensor) -> float:
    """Return the root of the mean square."""
    return float(x.detach().double().square().mean().sqrt())


def _forward(
    model: nn.Module, layers: Iterable[nn.Module], x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return a model's output in training mode, and the outputs of these layers of it."""
    outputs: list[Tensor] = []
    hooks = [layer.register_forward_hook(_keeping(outputs)) for layer in layers]
    try:
        return model.train()(x), outputs
    finally:
        for hook in hooks:
            hook.remove()


def _keeping(outputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """Return a forward hook that appends a layer's output."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    return hook
