"""How well a model or a checkpoint predicts; evaluating leaves a model as it was."""

import copy
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.errors import RunError
from bnrun.events import CheckpointReady, EpochEnded
from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.norms.introspection import unknown_vectors
from bnrun.training import train
from bnrun.training.evaluation import (
    accuracies_by_statistics,
    accuracy,
    evaluate,
    no_moving_statistics,
    recalibrate,
    take_population,
    trained_model,
)

CPU = torch.device("cpu")
IMAGES = 200


class Spy(nn.Module):
    """Answers with the top left pixel, and remembers the mode it was asked in."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[tuple[bool, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append((self.training, torch.is_grad_enabled()))
        return nn.functional.one_hot((images[:, 0, 0, 0] * 255).round().long(), 10).float()


@pytest.mark.parametrize("count", [7, 1000, 2500])
def test_accuracy_is_the_fraction_answered_rightly(count: int) -> None:
    labels = torch.arange(count) % 10
    answers = torch.where(torch.arange(count) % 4 == 0, (labels + 1) % 10, labels)
    images = torch.zeros(count, 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = answers.byte()
    assert accuracy(Spy(), Split(images, labels)) == int((answers == labels).sum()) / count


@pytest.mark.parametrize("training", [True, False])
def test_it_evaluates_without_gradients_and_restores_the_mode(training: bool) -> None:
    model = Spy().train(training)
    accuracy(model, Split(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(3).long()))
    assert model.modes == [(False, False)]
    assert model.training is training
    assert torch.is_grad_enabled()


class Draws(nn.Module):
    """A norm with moving statistics that draws random numbers as it predicts, and counts."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.bn = NORMS["builtin"](num_features, num_dims)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y: Tensor = self.bn(x + 0.01 * torch.randn_like(x))
        return y


@functools.cache
def _small() -> Dataset:
    data = synthetic()
    some = torch.arange(200)
    return replace(data, train=data.train.take(some), test=data.test.take(some))


def _config(**training: object) -> Config:
    return Config.model_validate({"training": {"population_images": 100, **training}})


def test_every_kind_of_statistics_is_returned_moving_first() -> None:
    found = accuracies_by_statistics(
        LeNet(NORMS["scratch"]), _small(), _config(), ("batch", "population")
    )
    assert list(found) == ["moving", "population", "batch"]
    assert list(accuracies_by_statistics(LeNet(NORMS["scratch"]), _small(), _config(), ())) == [
        "moving"
    ]


def test_a_model_without_moving_statistics_predicts_in_one_way() -> None:
    found = accuracies_by_statistics(
        LeNet(NORMS["none"]), _small(), _config(), ("moving", "population", "batch")
    )
    assert list(found) == ["moving"]


def test_population_and_batch_statistics_repair_moving_ones_that_never_moved() -> None:
    model = LeNet(NORMS["builtin"])
    for step in range(25):
        images, labels = next(_small().train.batches(200))
        nn.functional.cross_entropy(model(images), labels).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                assert parameter.grad is not None, step
                parameter -= 0.5 * parameter.grad
                parameter.grad = None
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
    config = _config(batch_size=100)
    found = accuracies_by_statistics(model, _small(), config, ("population", "batch"))
    assert found["moving"] < 0.5
    assert found["population"] > 0.8
    assert found["batch"] > 0.8


def test_population_statistics_are_over_the_first_training_images() -> None:
    first, same, other = LeNet(NORMS["scratch"]), LeNet(NORMS["scratch"]), LeNet(NORMS["scratch"])
    train = _small().train
    take_population(first, train, 100)
    take_population(same, train.take(torch.arange(100)), 10_000)
    take_population(other, train, 200)
    first_mean, same_mean, other_mean = (
        next(model.buffers()).clone() for model in (first, same, other)
    )
    assert torch.equal(first_mean, same_mean)
    assert not torch.equal(first_mean, other_mean)


def test_what_is_evaluated_does_not_change_how_training_continues() -> None:
    states = []
    for statistics in (("moving",), ("moving", "population", "batch")):
        torch.manual_seed(0)
        model = LeNet(Draws)
        accuracies_by_statistics(model, _small(), _config(), statistics)
        counts = [module.calls for module in model.modules() if isinstance(module, Draws)]
        states.append((torch.get_rng_state(), *model.state_dict().values(), torch.tensor(counts)))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_the_mode_is_restored_after_a_model_that_raises() -> None:
    class Raises(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("not today")

    model = Raises()
    with pytest.raises(RuntimeError, match="not today"):
        accuracy(model, _small().test)
    assert model.training
    assert torch.is_grad_enabled()


# ---- checkpoints


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    data = synthetic()
    return replace(
        data,
        train=data.train.take(torch.arange(300)),
        test=data.test.take(torch.arange(100)),
    )


def _norm_config(norm: str) -> Config:
    training = {"epochs": 1, "population_images": IMAGES, "batch_size": 100}
    return Config.model_validate({"model": {"norm": norm}, "training": training})


def _trained(config: Config, data: Dataset) -> tuple[dict[str, Any], EpochEnded]:
    events = list(train(config, data, CPU))
    state = next(event.state for event in events if isinstance(event, CheckpointReady))
    return dict(state), next(event for event in events if isinstance(event, EpochEnded))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, dict):
        return [tensor for inner in value.values() for tensor in _tensors(inner)]
    return [value] if isinstance(value, Tensor) else []


@pytest.mark.parametrize("norm", ["scratch", "builtin", "textbook"])
def test_a_checkpoint_is_evaluated_and_recalibrated(norm: str, dataset: Dataset) -> None:
    config = _norm_config(norm)
    state, ended = _trained(config, dataset)
    kept = copy.deepcopy(state)

    found = evaluate(config, state, dataset, CPU, ["batch", "population"])
    assert list(found.accuracies) == ["moving", "population", "batch"]
    assert found.accuracies["moving"] == ended.test_acc
    assert (found.norm, found.seed, found.epoch, found.keeps_moving) == (norm, 0, 1, True)
    assert (found.population_images, found.batch_size, found.recalibrated) == (IMAGES, 100, None)
    assert found.data == dataset.describe()

    replaced = recalibrate(config, state, dataset, CPU)
    again = evaluate(config, replaced, dataset, CPU, [])
    assert again.accuracies == {"moving": found.accuracies["population"]}
    assert again.recalibrated == IMAGES
    assert set(replaced) == {*state, "population_images"}
    for key in state:  # all but the moving statistics is the same, and the old state is whole
        assert all(map(torch.equal, _tensors(state[key]), _tensors(kept[key])))
        if key not in ("model", "attributes"):
            assert replaced[key] is state[key]
    differing = [
        name
        for name, value in replaced["model"].items()
        if not torch.equal(value, state["model"][name])
    ]
    assert all("running_" in name for name in differing)
    assert bool(differing) is (norm != "textbook")  # it keeps them in attributes


NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.moving_mean, self.moving_var = torch.zeros(num_features), torch.ones(num_features)

    def forward(self, x):
        return x + 5 * torch.randn_like(x)
"""


def test_a_norm_that_draws_predicts_the_same_each_time_and_leaves_the_callers_numbers_alone(
    dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    config = _norm_config(f"{tmp_path}/noisy.py:Noisy")
    state, _ = _trained(config, dataset)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = evaluate(config, state, dataset, CPU, ["population"])
    recalibrate(config, state, dataset, CPU)
    trained_model(config, state, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert evaluate(config, state, dataset, CPU, ["population"]) == first


def test_a_model_without_moving_statistics_has_one_accuracy_and_nothing_to_replace(
    dataset: Dataset,
) -> None:
    config = _norm_config("none")
    state, ended = _trained(config, dataset)
    found = evaluate(config, state, dataset, CPU, ["population", "batch"])
    assert found.accuracies == {"moving": ended.test_acc, "population": None, "batch": None}
    assert not found.keeps_moving
    with pytest.raises(RunError, match="norm 'none' keeps no moving statistics"):
        recalibrate(config, state, dataset, CPU)


def test_population_images_are_at_most_those_there_are(dataset: Dataset) -> None:
    config = Config.model_validate({"training": {"epochs": 1}})
    state, _ = _trained(config, dataset)
    assert evaluate(config, state, dataset, CPU, []).population_images == 300
    assert recalibrate(config, state, dataset, CPU)["population_images"] == 300


def test_the_checkpoint_of_another_model_is_refused(dataset: Dataset) -> None:
    state, _ = _trained(_norm_config("none"), dataset)
    with pytest.raises(RunError, match="does not fit this config's model"):
        trained_model(_norm_config("scratch"), state, CPU)


class OwnNames(nn.Module):
    """A batch norm that keeps its moving statistics under names of its own."""

    def __init__(self, num_features: int, num_dims: int) -> None:
        super().__init__()
        self.register_buffer("exp_mean", torch.zeros(num_features))
        self.register_buffer("exp_var", torch.ones(num_features))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.exp_mean, self.exp_var, training=self.training)


OWN = ("exp_mean", "exp_var")


def test_moving_statistics_of_other_names_are_said_and_taken_where_they_are_named(small) -> None:
    model = LeNet(OwnNames)
    model.train()(small.train.images[:50].float() / 255)
    config = Config().with_training(population_images=100, batch_size=50)
    kinds = ("moving", "population", "batch")
    assert list(accuracies_by_statistics(model, small, config, kinds)) == ["moving"]
    assert no_moving_statistics(unknown_vectors(model)) == (
        "none named running_mean, moving_mean, running_var or moving_var; it holds exp_mean, "
        "exp_var: name two of them, as in --moving exp_mean,exp_var"
    )
    named = accuracies_by_statistics(model, small, config, kinds, moving=OWN)
    assert list(named) == list(kinds)
    take_population(model, small.train, 100, names=OWN)
    assert (
        accuracies_by_statistics(model, small, config, ["moving"])["moving"] == named["population"]
    )
