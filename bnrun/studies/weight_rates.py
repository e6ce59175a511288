"""A training in which normalized weights have a learning rate of their own (claim R3)."""

import torch

from bnrun.config import Config
from bnrun.data.dataset import Split
from bnrun.studies.own_training import take_steps
from bnrun.training.engine import EAGER, Engine
from bnrun.training.stepper import Stepper


def accuracy_of_an_epoch(
    config: Config, train: Split, rate: float, engine: Engine = EAGER
) -> float:
    """Return the training accuracy of the first epoch, with another rate for normalized weights.

    These are the weights of the convolutions and hidden linear layers of LeNet, which has a batch
    norm after each. Their gradients are multiplied after each backward pass, which in plain SGD is
    another rate. The training is one of its own, and leaves nothing.

    Args:
        config: of the training, of plain SGD.
        train: the training images.
        rate: of these weights, over the learning rate of all else.
        engine: executes the steps.
    """
    stepper = Stepper(config, train, engine=engine)
    model = stepper.model
    weights = (model.conv1.weight, model.conv2.weight, model.fc1.weight, model.fc2.weight)

    def multiply() -> None:
        torch._foreach_mul_([one.grad for one in weights if one.grad is not None], rate)

    take_steps(stepper, stepper.steps_per_epoch, multiply)
    return float(stepper.correct_counts.sum()) / len(train)
