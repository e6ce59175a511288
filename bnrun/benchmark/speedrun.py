"""`bench --speedrun`: how far a config comes, and how soon, over many seeds."""

import dataclasses
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.comparison.estimate import Estimate, estimate
from bnrun.comparison.outcome import Arm
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import DataUsed, EpochEnded, RunEnded, Stage
from bnrun.training.device import device_name
from bnrun.training.engine_choice import choose
from bnrun.training.loop import train


@dataclass(frozen=True)
class SpeedrunTrial:
    """One seed's training: the test accuracy after its last epoch, and its wall time.

    `seconds` holds all of the training, evaluations included; the data was loaded before.
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
        """Return the mean test accuracy and its interval."""
        return _estimate([trial.test_acc for trial in self.trials])

    @property
    def seconds(self) -> Estimate:
        """Return the mean wall time and its interval."""
        return _estimate([trial.seconds for trial in self.trials])

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --speedrun N --json` prints."""
        estimates = {"test_acc": self.test_acc, "seconds": self.seconds}
        return dataclasses.asdict(self) | {
            name: dataclasses.asdict(found) for name, found in estimates.items()
        }


def speedrun(
    config: Config, dataset: Dataset, device: torch.device, count: int
) -> Generator[Stage | Speedrun, None, None]:
    """Train with `count` seeds, from the config's own on; yield how far, and last the result.

    Raises:
        BnrunError: as `train`.
        TrainingFailed: (while iterating) a seed raised, or diverged.
    """
    dataset = dataset.to(device)
    first, epochs = config.training.seed, config.training.epochs
    engine = choose(config, dataset, device, epochs).name  # one for all
    training = config.training.model_copy(update={"engine": engine})
    arm = Arm("", config.model_copy(update={"training": training}))
    trials: list[SpeedrunTrial] = []
    for seed in range(first, first + count):
        yield Stage(f"seed {seed}", len(trials) * epochs, count * epochs)
        began, test_acc = time.perf_counter(), 0.0
        for event in train(arm.with_seed(seed), dataset, device):
            match event:
                case EpochEnded():
                    test_acc = event.test_acc
                    yield Stage(f"seed {seed}", len(trials) * epochs + event.epoch, count * epochs)
                case RunEnded(status="diverged"):
                    raise TrainingFailed(f"seed {seed}: {event.reason}.")
        trials.append(SpeedrunTrial(seed, test_acc, time.perf_counter() - began))
    yield Speedrun(
        config=config.to_dict(),
        trials=tuple(trials),
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        engine=engine,
        torch=torch.__version__,
    )


def _estimate(values: Sequence[float]) -> Estimate:
    found = estimate(values)
    assert found is not None
    return found
