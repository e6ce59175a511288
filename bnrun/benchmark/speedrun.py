"""`bench --speedrun`: how accurate a config gets, and how soon, over many seeds."""

import dataclasses
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.comparison.arms import Arm
from bnrun.comparison.estimate import Estimate, estimate
from bnrun.comparison.plan import check_seeds
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Activity, DataUsed, EpochEnded, Stage, mapped
from bnrun.training.device import device_name
from bnrun.training.engine_choice import choose, describe_choice
from bnrun.training.loop import train
from bnrun.training_summary import Summary


@dataclass(frozen=True)
class SpeedrunTrial:
    """The training of one seed: the test accuracy after its last epoch, and its wall time.

    `seconds` is the time of the whole training, evaluations included, once the data is loaded.
    """

    seed: int
    test_acc: float
    seconds: float


@dataclass(frozen=True)
class Speedrun:
    """All trials of a config."""

    config: Mapping[str, Any]
    trials: tuple[SpeedrunTrial, ...]
    data: DataUsed
    device: str
    machine: str
    engine: str
    torch: str

    @property
    def test_acc(self) -> Estimate:
        """Return the mean test accuracy and its 95 % interval."""
        return _estimate([trial.test_acc for trial in self.trials])

    @property
    def seconds(self) -> Estimate:
        """Return the mean wall time and its 95 % interval."""
        return _estimate([trial.seconds for trial in self.trials])

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --speedrun N --json` prints."""
        return dataclasses.asdict(self) | {
            "test_acc": dataclasses.asdict(self.test_acc),
            "seconds": dataclasses.asdict(self.seconds),
        }


def speedrun(
    config: Config, dataset: Dataset, device: torch.device, count: int
) -> Generator[Stage | Activity, None, Speedrun]:
    """Train `count` seeds, starting from the config's own; yield progress, return the result.

    The engine is chosen once, for all of them.

    Raises:
        ConfigError: (while iterating) there are too many seeds, or one is not a valid seed.
        BnrunError: (while iterating) see `train`.
        TrainingFailed: (while iterating) a seed raised, or diverged.
    """
    seeds = range(config.training.seed, config.training.seed + count)
    check_seeds(seeds)
    dataset = dataset.to(device)
    epochs = config.training.epochs
    yield Activity(describe_choice(config, device))
    engine = choose(config, dataset, device, epochs).name
    arm = Arm("speedrun", config).with_engine(engine)
    trials: list[SpeedrunTrial] = []
    for seed in seeds:
        stage = Stage(f"seed {seed}", len(trials) * epochs, count * epochs)
        start = time.perf_counter()
        summary = yield from _train(arm.with_seed(seed), dataset, device, stage)
        seconds = time.perf_counter() - start
        if summary.status != "completed":
            raise TrainingFailed(f"seed {seed}: {summary.reason}.")
        trials.append(SpeedrunTrial(seed, summary.epochs[-1].test_acc, seconds))
    return Speedrun(
        config=config.to_dict(),
        trials=tuple(trials),
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        engine=engine,
        torch=torch.__version__,
    )


def _train(
    config: Config, dataset: Dataset, device: torch.device, stage: Stage
) -> Generator[Stage, None, Summary]:
    """Train one seed; yield the stage, which advances with every epoch, and return the summary."""
    yield stage
    return (
        yield from mapped(
            train(config, dataset, device),
            lambda event: (
                dataclasses.replace(stage, done=stage.done + event.epoch)
                if isinstance(event, EpochEnded)
                else None
            ),
        )
    )


def _estimate(values: Sequence[float]) -> Estimate:
    result = estimate(values)
    assert result is not None
    return result
