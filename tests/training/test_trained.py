"""A checkpoint is enough to evaluate a model, and to give it population statistics."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.data.synthetic import synthetic
from bnrun.errors import RunError
from bnrun.events import CheckpointReady, EpochEnded
from bnrun.training import train
from bnrun.training.trained import evaluate, recalibrate, trained_model

CPU = torch.device("cpu")
IMAGES = 500


@pytest.fixture(scope="module")
def small() -> Dataset:
    data = synthetic()
    return replace(
        data,
        train=data.train.take(torch.arange(600)),
        test=data.test.take(torch.arange(200)),
    )


def _config(norm: str) -> Config:
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
def test_a_checkpoint_is_evaluated_and_recalibrated(norm: str, small: Dataset) -> None:
    config = _config(norm)
    state, ended = _trained(config, small)
    kept = copy.deepcopy(state)

    found = evaluate(config, state, small, CPU, ["batch", "population"])
    assert list(found.accuracies) == ["moving", "population", "batch"]
    assert found.accuracies["moving"] == ended.test_acc
    assert (found.norm, found.seed, found.epoch, found.keeps_moving) == (norm, 0, 1, True)
    assert (found.population_images, found.batch_size, found.recalibrated) == (IMAGES, 100, None)
    assert found.data == small.describe()

    replaced = recalibrate(config, state, small, CPU)
    again = evaluate(config, replaced, small, CPU, [])
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


def test_a_model_without_moving_statistics_has_one_accuracy_and_nothing_to_replace(
    small: Dataset,
) -> None:
    config = _config("none")
    state, ended = _trained(config, small)
    found = evaluate(config, state, small, CPU, ["population", "batch"])
    assert found.accuracies == {"moving": ended.test_acc, "population": None, "batch": None}
    assert not found.keeps_moving
    with pytest.raises(RunError, match="norm 'none' keeps no moving statistics"):
        recalibrate(config, state, small, CPU)


def test_population_images_are_at_most_those_there_are(small: Dataset) -> None:
    config = Config.model_validate({"training": {"epochs": 1}})
    state, _ = _trained(config, small)
    assert evaluate(config, state, small, CPU, []).population_images == 600
    assert recalibrate(config, state, small, CPU)["population_images"] == 600


def test_the_checkpoint_of_another_model_is_refused(small: Dataset) -> None:
    state, _ = _trained(_config("none"), small)
    with pytest.raises(RunError, match="does not fit this config's model"):
        trained_model(_config("scratch"), state, CPU)
