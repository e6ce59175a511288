"""How well a model predicts, and that asking leaves it as it was."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.training.evaluation import accuracies_by_statistics, accuracy, take_population


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


def test_statistics_that_never_moved_are_mended_by_population_and_batch() -> None:
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


def test_what_is_evaluated_does_not_change_how_training_goes_on() -> None:
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
