"""The experiments of study `shift`: another domain, an attack, and images that share a batch.

Population statistics are over `POPULATION_IMAGES` training images.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split, image_order, scaled
from bnrun.learning import CLASSES
from bnrun.networks.layers import cross_entropy
from bnrun.norms.introspection import MovingStatistics
from bnrun.norms.population import predicting
from bnrun.studies.changed_images import Change, changed
from bnrun.studies.own_training import population_accuracy, take_steps
from bnrun.studies.predictions import CPU
from bnrun.training.engine import EAGER, Engine, running
from bnrun.training.evaluation import accuracy, take_population, trained_model
from bnrun.training.stepper import Stepper

POPULATION_IMAGES = 10_000
ATTACKED = 2_000
"""Test images that are attacked: the first ones."""

Accuracies = Mapping[str, float]
"""By the kind of statistics.

`moving` are the network's own, `population` those of training images as they are, `target` those of
training images changed as the test images are. A network without moving statistics has `moving`
alone.
"""


def by_statistics(
    config: Config, state: Mapping[str, Any], dataset: Dataset, domains: Mapping[str, Change]
) -> dict[str, Accuracies]:
    """Return a network's accuracies on test images of each domain.

    Args:
        config, state: of a training, and a checkpoint of it.
        dataset: its images.
        domains: what changes images, by name.
    """
    model = trained_model(config, state, CPU)
    some = dataset.train.take(torch.arange(min(POPULATION_IMAGES, len(dataset.train))))
    found: dict[str, Accuracies] = {}
    for domain, change in domains.items():
        there = replace(dataset, test=changed(dataset.test, change))
        accuracies = {"moving": accuracy(model, there.test)}
        if MovingStatistics.find(model):
            target = replace(there, train=changed(some, change))
            accuracies["population"] = population_accuracy(model, there, POPULATION_IMAGES)
            accuracies["target"] = population_accuracy(model, target, POPULATION_IMAGES)
        found[domain] = accuracies
    return found


def by_statistics_of_all(
    networks: Mapping[str, tuple[Config, Mapping[str, Any], Mapping[str, Change]]],
    dataset: Dataset,
) -> dict[str, dict[str, Accuracies]]:
    """Return the accuracies of several networks, each on domains of its own; see `by_statistics`.

    Args:
        networks: config, checkpoint and domains, by name.
        dataset: the images.
    """
    return {
        name: by_statistics(config, state, dataset, domains)
        for name, (config, state, domains) in networks.items()
    }


def robustness_at_one_accuracy(
    configs: Mapping[str, Config],
    dataset: Dataset,
    *,
    every: int,
    changes: Mapping[str, Change],
    strengths: Mapping[str, float],
    engine: Engine = EAGER,
) -> dict[str, dict[str, float]]:
    """Train networks to the clean accuracy of the first, and return how robust each is.

    Args:
        configs: of the trainings, by name. The first one goes on to its end.
        dataset: the images.
        every: see `trained_to`.
        changes, strengths, engine: see `robustness`.
    """
    found: dict[str, dict[str, float]] = {}
    goal = None
    for name, config in configs.items():
        model = trained_to(goal, config, dataset, every, engine)
        found[name] = robustness(model, dataset.test, changes, strengths, engine)
        goal = found[name]["clean"] if goal is None else goal
    return found


def trained_to(
    goal: float | None, config: Config, dataset: Dataset, every: int, engine: Engine = EAGER
) -> nn.Module:
    """Train until a test accuracy is reached, at most for the config's epochs.

    The training is one of its own.

    Args:
        goal: the accuracy, with population statistics; None takes all the steps.
        config: of the training.
        dataset: the images.
        every: steps from one look at the accuracy to the next.
        engine: executes the steps, and predicts.

    Returns:
        The network, with population statistics.
    """
    stepper = Stepper(config, dataset.train, engine=engine)
    model, steps = stepper.model, config.training.epochs * stepper.steps_per_epoch
    while stepper.steps_taken < steps:
        left = steps - stepper.steps_taken
        take_steps(stepper, left if goal is None else min(every, left))
        if goal is not None:
            with stepper.computing():
                if population_accuracy(model, dataset, POPULATION_IMAGES) >= goal:
                    break
    with stepper.computing():
        if MovingStatistics.find(model):
            take_population(model, dataset.train, POPULATION_IMAGES)
    return model


def robustness(
    model: nn.Module,
    test: Split,
    changes: Mapping[str, Change],
    strengths: Mapping[str, float],
    engine: Engine = EAGER,
) -> dict[str, float]:
    """Return a network's accuracy on changed test images, by change; `clean` is without any.

    Attacks are by the fast gradient sign method (Goodfellow, Shlens and Szegedy 2015, section 4):
    each pixel moves by the strength in the direction that raises the loss, within [0, 1]. They are
    on the first `ATTACKED` test images.

    Args:
        model: predicts as it is in evaluation mode.
        test: the images.
        changes: what is done to images, by name.
        strengths: of attacks, by name.
        engine: predicts the images that are not attacked.
    """
    with running(engine, CPU):
        found = {name: accuracy(model, changed(test, change)) for name, change in changes.items()}
        found["clean"] = accuracy(model, test)
    x, labels = scaled(test.images[:ATTACKED]), test.labels[:ATTACKED]
    with running(EAGER, CPU):
        direction = _gradient(model, x, labels).sign()
        for name, strength in strengths.items():
            with predicting(model):
                logits = model((x + strength * direction).clamp(0, 1))
            found[name] = float((logits.argmax(1) == labels).float().mean())
    return found


def _gradient(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Return the gradient of the loss of predictions with respect to the images."""
    was_training = model.training
    images = x.clone().requires_grad_()
    loss = cross_entropy(model.eval()(images), labels)
    model.train(was_training)
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient


def in_company(
    classes: int | None, config: Config, dataset: Dataset, engine: Engine = EAGER
) -> dict[str, float]:
    """Train with batches that are normalized in pieces, and return the test accuracies.

    The training is one of its own, and takes one epoch.

    Args:
        classes: how many classes the images of a piece are of, drawn for each piece; None takes the
            images as they come.
        config: of the training; `training.norm_batch` is the size of a piece.
        dataset: the images.
        engine: executes the steps, and predicts.

    Returns:
        By the statistics: `moving` are those of the training, `population` those of training images
        as they come. A network without moving statistics has the same twice.
    """
    train, seed = dataset.train, config.training.seed
    if classes is not None:
        assert config.training.norm_batch is not None
        index = company(train.labels, config.training.norm_batch, classes, seed)
        places = torch.empty_like(index)
        places[image_order(seed, 1, len(index))] = index  # the epoch's order then undoes its own
        train = train.take(places)
    stepper = Stepper(config, train, engine=engine)
    take_steps(stepper, stepper.steps_per_epoch)
    with stepper.computing():
        return {
            "moving": accuracy(stepper.model, dataset.test),
            "population": population_accuracy(stepper.model, dataset, POPULATION_IMAGES),
        }


def company(labels: Tensor, piece: int, classes: int, seed: int) -> Tensor:
    """Return indices of images, piece after piece, each piece with so many classes alone.

    The classes of a piece are drawn at random, and their images are taken in turn from all of the
    class, again and again; so some come more often than others.

    Args:
        labels: of the images.
        piece: the images of a piece, a multiple of `classes`.
        classes: see above.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    queues = [shuffled[labels[shuffled] == one] for one in range(CLASSES)]
    taken, each = [0] * CLASSES, piece // classes
    pieces = []
    for _ in range(len(labels) // piece):
        for one in torch.randperm(CLASSES, generator=generator)[:classes].tolist():
            turn = torch.arange(taken[one], taken[one] + each) % len(queues[one])
            pieces.append(queues[one][turn])
            taken[one] += each
    return torch.cat(pieces)
