"""What tests have several processes do together; see `team` in tests/training/test_processes.py."""

from typing import Any

import torch

from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.data.synthetic import synthetic
from bnrun.processes import Processes
from bnrun.training.engine import Engine
from bnrun.training.evaluation import accuracies_by_statistics, take_population
from bnrun.training.stepper import Stepper

EPOCH = 4
"""Steps of an epoch."""


def config_of(*overrides: str) -> Config:
    """Momentum, batches of 32, and a rate at which rounding does not grow."""
    texts = ("optimizer={lr: 0.1, momentum: 0.9}", "training.batch_size=32", *overrides)
    return resolve(None, [one for text in texts for one in parse_override(text)]).config


def few_images() -> Dataset:
    """108 images: an epoch of four steps of 32, the last of 12; with four processes, two idle."""
    whole = synthetic()
    train, test = whole.train.take(torch.arange(108)), whole.test.take(torch.arange(100))
    return Dataset(train, test, "synthetic", "generated", None)


class Trainings:
    """Trainings by the first two, three or four of the processes, and by one alone.

    Each method is called in all of them; those that do not take part return None.
    """

    def __init__(self, processes: Processes) -> None:
        torch.set_num_threads(1)
        self._all, self._data = processes, few_images()
        groups = [torch.distributed.new_group(list(range(size))) for size in (2, 3)]
        self._groups: dict[int, Any] = dict(zip((2, 3), groups, strict=True))

    def train(
        self,
        size: int,
        overrides: tuple[str, ...],
        steps: int = EPOCH,
        engine: str = "eager",
        dtype: str = "float64",
    ) -> dict[str, Any] | None:
        """Return losses, counts and the state after some steps."""
        processes = self._some(size)
        if processes is None:
            return None
        stepper = self._stepper(processes, overrides, engine, dtype)
        return _after(stepper, steps)

    def resume(self, sizes: tuple[int, ...], overrides: tuple[str, ...]) -> dict[str, Any] | None:
        """Train an epoch with each number of processes, from the state that the one before left."""
        found, state = None, None
        for epoch, size in enumerate(sizes):
            processes = self._some(size)
            if processes is not None:
                stepper = self._stepper(processes, overrides)
                if state is not None:
                    stepper.restore(state, epoch)
                found = _after(stepper, EPOCH)
                state = stepper.capture()
            state = self._all.from_first(state)
        return found

    def evaluate(self, size: int, overrides: tuple[str, ...]) -> dict[str, Any] | None:
        """Return accuracies by kind of statistics, and population statistics."""
        processes = self._some(size)
        if processes is None:
            return None
        stepper = self._stepper(processes, overrides, dtype="float32")
        with stepper.computing():
            kinds, config = ("moving", "population", "batch"), config_of(*overrides)
            found: dict[str, Any] = accuracies_by_statistics(
                stepper.model, self._data, config, kinds, processes
            )
            take_population(stepper.model, self._data.train, 108, processes)
        return found | {"state": stepper.model.state_dict()}

    def _some(self, size: int) -> Processes | None:
        rank = self._all.rank
        if rank >= size:
            return None
        if size == self._all.size:
            return self._all
        return Processes(rank, size, group=self._groups.get(size))

    def _stepper(
        self,
        processes: Processes,
        overrides: tuple[str, ...],
        engine: str = "eager",
        dtype: str = "float64",
    ) -> Stepper:
        config, kind = config_of(*overrides), getattr(torch, dtype)
        return Stepper(
            config, self._data.train, engine=Engine(engine), dtype=kind, processes=processes
        )


def _after(stepper: Stepper, steps: int) -> dict[str, Any]:
    with stepper.computing():
        losses = [float(stepper.step()[0]) for _ in range(steps)]
    return {
        "losses": torch.tensor(losses, dtype=torch.float64),
        "counts": stepper.correct_counts,
        "state": stepper.model.state_dict(),
        "in_one_call": stepper.is_in_one_call,
    }
