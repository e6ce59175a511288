"""The trainings of study `regularize`, and what they make of images that they never saw."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.networks.layers import cross_entropy
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import predicting, preserving
from bnrun.studies.own_training import population_accuracy, take_steps
from bnrun.training.engine import EAGER, Engine
from bnrun.training.evaluation import BATCH_SIZE, accuracy, take_population
from bnrun.training.stepper import Stepper

MEASURED = 10_000
"""Training images that losses, accuracies and population statistics are over, at most."""


@dataclass(frozen=True)
class Look:
    """How well a network predicts after so many steps, with population statistics.

    `loss` and `train_acc` are of training images, without dropout. Accuracies are fractions.
    """

    step: int
    loss: float
    train_acc: float
    test_acc: float

    @property
    def gap(self) -> float:
        """Return by how much the training accuracy is above the test accuracy."""
        return self.train_acc - self.test_acc


@dataclass(frozen=True)
class Course:
    """A training from its start to its end.

    Attributes:
        looks: in the order of steps, the first before any.
        validation_acc: the accuracy on the validation images after the last step.
        ratios: see `variance_ratios`; of the network at the end.
    """

    looks: Sequence[Look]
    validation_acc: float
    ratios: Sequence[Sequence[float]] = ()

    @property
    def least_loss(self) -> float:
        """Return the least training loss that was seen."""
        return min(look.loss for look in self.looks)

    def gap_at(self, loss: float) -> float:
        """Return the gap where the training loss first falls to a value that it reaches.

        Between two looks, the gap is linear in the loss.
        """
        before = self.looks[0]
        for look in self.looks:
            if look.loss <= loss:
                share = (before.loss - loss) / (before.loss - look.loss) if look != before else 0
                return before.gap + share * (look.gap - before.gap)
            before = look
        raise ValueError(f"the training loss never falls to {loss:g}")


def course(
    config: Config, dataset: Dataset, looked_at: Sequence[int], engine: Engine = EAGER
) -> Course:
    """Train a network, and look at it before the first step and after some.

    The training is one of its own, and leaves nothing.

    Args:
        config: of the training; its epochs do not matter.
        dataset: with validation images.
        looked_at: the steps after which it is looked at, in their order; the last ends it.
        engine: executes the steps, and predicts.
    """
    stepper = Stepper(config, dataset.train, engine=engine)
    measured = dataset.train.take(torch.arange(min(MEASURED, len(dataset.train))))
    seen = replace(dataset, train=measured)
    looks = [_look(stepper, seen)]
    for step in looked_at:
        take_steps(stepper, step - stepper.steps_taken)
        looks.append(_look(stepper, seen))
    assert dataset.validation is not None
    with stepper.computing():
        held_out = replace(seen, test=dataset.validation)
        validation_acc = population_accuracy(stepper.model, held_out, MEASURED)
        ratios = variance_ratios(stepper.model, seen.train, config.training.batch_size)
    return Course(looks, validation_acc, ratios)


def _look(stepper: Stepper, seen: Dataset) -> Look:
    model = stepper.model
    with stepper.computing(), preserving(model) as norms:
        if norms:
            take_population(model, seen.train, MEASURED)
        loss, train_acc = _loss_and_accuracy(model, seen.train)
        return Look(stepper.steps_taken, loss, train_acc, accuracy(model, seen.test))


def _loss_and_accuracy(model: nn.Module, split: Split) -> tuple[float, float]:
    """Return a model's mean loss over images, and the fraction that it classifies correctly."""
    loss, right = 0.0, 0
    with predicting(model):
        for images, labels in split.batches(BATCH_SIZE):
            logits = model(images)
            loss += float(cross_entropy(logits, labels)) * len(labels)
            right += int((logits.argmax(1) == labels).sum())
    return loss / len(split), right / len(split)


def variance_ratios(model: nn.Module, train: Split, batch_size: int) -> list[list[float]]:
    """Return how far the variances of a norm's input in training and in prediction lie apart.

    Li, Chen, Hu and Yang, "Understanding the Disharmony between Dropout and Batch Normalization by
    Variance Shift" (arXiv:1801.05134), compare them. Here the variance in training is the mean over
    batches of training images with the weights as they are. It is what moving statistics estimate,
    without their lag. That in prediction is over all the images, with population statistics. The
    ratio is that of the larger to the smaller.

    Args:
        model: stays as it is. Its dropout draws from torch's generator.
        train: the images.
        batch_size: of a batch.

    Returns:
        A ratio for each channel of each norm that keeps moving statistics, from the input up.
    """
    with preserving(model) as norms, torch.no_grad(), _variances(norms) as in_training:
        model.train()
        for images, _ in train.batches(batch_size):
            if len(images) == batch_size or len(train) < batch_size:
                model(images)
    with preserving(model) as norms:
        if norms:
            take_population(model, train, len(train))
        predicted = {path: moving.tensors()[1].clone() for path, moving in norms.items()}
    ratios = [predicted[path] / torch.stack(in_training[path]).mean(0) for path in predicted]
    return [torch.maximum(one, 1 / one).tolist() for one in ratios]


@contextmanager
def _variances(norms: Mapping[str, MovingStatistics]) -> Iterator[dict[str, list[Tensor]]]:
    """Give the biased variance by channel of each input that each norm gets inside the block."""
    found: dict[str, list[Tensor]] = {path: [] for path in norms}

    def keep(path: str, x: Tensor) -> None:
        found[path].append(x.transpose(0, 1).flatten(1).var(1, correction=0))

    hooks = [
        moving.module.register_forward_pre_hook(lambda _, inputs, path=path: keep(path, inputs[0]))
        for path, moving in norms.items()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
