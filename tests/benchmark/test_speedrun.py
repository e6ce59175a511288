"""A speedrun: a config trained to its end with several seeds."""

import pytest
import torch

from bnrun.benchmark.speedrun import speedrun
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.errors import ConfigError, TrainingFailed
from bnrun.events import Activity, EpochEnded, Stage, drain
from bnrun.training import train

CPU = torch.device("cpu")


def _config(*overrides: str) -> Config:
    given = ["training.epochs=2", "training.batch_size=50", "training.seed=3", "optimizer.lr=0.1"]
    return resolve(None, [a for one in (*given, *overrides) for a in parse_override(one)]).config


def test_every_seed_is_a_training_of_its_own(small: Dataset) -> None:
    events: list[Stage | Activity] = []
    found = drain(speedrun(_config(), small, CPU, 3), events.append)
    assert [trial.seed for trial in found.trials] == [3, 4, 5]
    assert found.engine == "eager"
    config = _config("training.seed=5")
    last = [event for event in train(config, small, CPU) if isinstance(event, EpochEnded)][-1]
    assert found.trials[2].test_acc == last.test_acc
    document = found.to_dict()
    assert document["test_acc"]["n"] == 3
    assert document["test_acc"]["mean"] == pytest.approx(
        sum(trial["test_acc"] for trial in document["trials"]) / 3
    )
    assert all(trial["seconds"] > 0 for trial in document["trials"])
    ways = ("choosing the engine", "compiling the kernels")  # the second, where the cache has none
    assert events[0] in map(Activity, ways)
    assert events[-1] == Stage("seed 5", 6, 6)


def test_a_seed_that_diverges_ends_it(small: Dataset) -> None:
    with pytest.raises(TrainingFailed, match="seed 3: the loss became"):
        drain(
            speedrun(
                _config("model={norm: none, activation: relu}", "optimizer.lr=1e10"), small, CPU, 2
            )
        )


def test_a_seed_beyond_those_of_a_config_is_refused_before_any_is_trained(small: Dataset) -> None:
    with pytest.raises(ConfigError, match="received seed 4294967296"):
        next(speedrun(_config("training.seed=4294967295"), small, CPU, 2))
