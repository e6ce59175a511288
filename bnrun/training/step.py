"""What is trained, with what, and what one step of it is."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from bnrun.config import Config
from bnrun.networks.layers import cross_entropy
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.training.optimizer import SGD

Phase = Literal["forward", "backward", "optimizer"]


def nothing(phase: Phase) -> None:
    """Take no notice of a phase's end."""


def build_model(config: Config) -> LeNet:
    """Build the network of a config, with its initial weights."""
    return LeNet(
        norm_factory(config.model.norm),
        pool=config.model.pool,
        activation=config.model.activation,
        seed=config.training.seed,
    )


def build_optimizer(config: Config, model: nn.Module) -> SGD:
    """Build stochastic gradient descent as a config states it."""
    return SGD(
        model.parameters(),
        lr=config.optimizer.lr,
        momentum=config.optimizer.momentum,
        nesterov=config.optimizer.nesterov,
        weight_decay=config.optimizer.weight_decay,
    )


def train_step(
    model: nn.Module,
    optimizer: SGD,
    images: Tensor,
    labels: Tensor,
    done: Callable[[Phase], None] = nothing,
) -> tuple[Tensor, Tensor]:
    """Take one step on a batch; return its mean loss and the count of right answers, on device.

    `done` hears of the end of each phase.
    """
    optimizer.zero_grad()
    logits = model(images)
    loss = cross_entropy(logits, labels)
    done("forward")
    loss.backward()  # type: ignore[no-untyped-call,unused-ignore]
    done("backward")
    optimizer.step()
    correct = (logits.detach().argmax(1) == labels).sum()
    done("optimizer")
    return loss.detach(), correct
