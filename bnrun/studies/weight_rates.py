"""A training in which normalized weights have a learning rate of their own (claim R3)."""

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Split
from bnrun.training.engine import EAGER, Engine
from bnrun.training.optimizer import SGD
from bnrun.training.stepper import Stepper


class TwoRates(SGD):
    """SGD in which the gradients of some weights are multiplied first: that is their rate.

    Args:
        model: the network.
        weights: those with a rate of their own.
        factor: their rate over that of the others.
    """

    def __init__(self, model: nn.Module, weights: list[Tensor], factor: float) -> None:
        super().__init__(model.parameters(), lr=0.0)  # set before each step
        self._weights = weights
        self._factor = factor

    def step(self) -> None:
        """Multiply these gradients, and take a step."""
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        torch._foreach_mul_(gradients, self._factor)
        super().step()


def accuracy_of_an_epoch(
    config: Config, train: Split, rate: float, engine: Engine = EAGER
) -> float:
    """Return the training accuracy of the first epoch, with another rate for normalized weights.

    These are the weights of the convolutions and hidden linear layers of LeNet, which has a batch
    norm after each. The training is one of its own, and leaves nothing.

    Args:
        config: of the training, of plain SGD.
        train: the training images.
        rate: of these weights, over the learning rate of all else.
        engine: executes the steps.
    """
    stepper = Stepper(config, train, engine=engine)
    model = stepper.model
    weights: list[Tensor] = [one.weight for one in (model.conv1, model.conv2, model.fc1, model.fc2)]
    stepper.optimizer = TwoRates(model, weights, rate)
    for _ in range(stepper.steps_per_epoch):
        stepper.step()
    return float(stepper.correct_counts.sum()) / len(train)
