"""How alike what a layer puts out is, after one epoch and after another."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import scaled
from bnrun.networks.lenet import LeNet
from bnrun.norms.population import batch_statistics, predicting
from bnrun.training.evaluation import trained_model
from bnrun.training.model import build_model

CPU = torch.device("cpu")


def first_converged(
    config: Config, states: Sequence[Mapping[str, Any]], images: Tensor, alike: float
) -> list[int]:
    """Return after which epoch each layer first puts out what it does after the last.

    Args:
        config: of a training of LeNet.
        states: its checkpoints after each epoch.
        images: uint8, of shape (N, 1, 28, 28). Norms take the statistics of these.
        alike: the linear CKA from which on two representations count as the same.

    Returns:
        An epoch for each of the hidden layers and the logits, from the input up; 0 where the
        initial network is alike.
    """
    x = scaled(images)
    models = [build_model(config), *(trained_model(config, state, CPU) for state in states)]
    found = [[_kernel(output) for output in _outputs(model, x)] for model in models]
    return [
        next(epoch for epoch, one in enumerate(layer) if _alignment(one, layer[-1]) >= alike)
        for layer in zip(*found, strict=True)
    ]


def cka(x: Tensor, y: Tensor) -> float:
    """Return the linear centered kernel alignment of two representations, (N, p) and (N, q).

    Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations Revisited",
    ICML 2019, section 3: |Y'X|² / (|X'X| |Y'Y|) of centered X and Y, in Frobenius norms. It is 1
    where one is the other but for a rotation and a scale, and 0 where one does not vary.
    """
    return _alignment(_kernel(x), _kernel(y))


def _alignment(a: Tensor, b: Tensor) -> float:
    lengths = float(a.norm() * b.norm())
    return float((a * b).sum()) / lengths if lengths else 0.0


def _kernel(x: Tensor) -> Tensor:
    centered = x.double() - x.double().mean(0)
    return centered @ centered.T


def _outputs(model: LeNet, x: Tensor) -> list[Tensor]:
    """Return what the hidden layers put out, that is what the next layer gets, and the logits."""
    outputs: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        outputs.append(inputs[0].flatten(1))

    hooks = [
        layer.register_forward_pre_hook(keep)
        for layer in (model.conv2, model.fc1, model.fc2, model.fc3)
    ]
    with predicting(model), batch_statistics(model):
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return [*outputs, logits]
