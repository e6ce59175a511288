"""The training loop, as a generator of events.

    for event in train(config, dataset, device):
        run.record(event)
        screen.show(event)

An epoch reads nothing back from the device but, four times a second, what `Progress` shows.
"""

import dataclasses
import math
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from bnrun.config import Config
from bnrun.data.dataset import Dataset, image_order
from bnrun.errors import EngineError
from bnrun.events import (
    CheckpointReady,
    EpochEnded,
    Event,
    Notice,
    Progress,
    RunEnded,
    RunStarted,
    Status,
)
from bnrun.norms.population import never_moved
from bnrun.training.checkpoint import capture, fitting, restore
from bnrun.training.device import device_name, repeatable
from bnrun.training.engine import Engine, choose, make_steps, running
from bnrun.training.evaluation import accuracies_by_statistics, accuracy
from bnrun.training.failures import told
from bnrun.training.memory import keep_freed_memory
from bnrun.training.optimizer import SGD
from bnrun.training.schedule import learning_rate
from bnrun.training.step import build_model, build_optimizer
from bnrun.training.timing import Clock, Reading

PROGRESS_SECONDS = 0.25


def train(
    config: Config,
    dataset: Dataset,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None = None,
) -> Iterator[Event]:
    """Train LeNet as the config says; with a checkpoint's state, go on from there.

    The model is built at once; the training happens as the events are taken. On a CPU, the
    process keeps its freed memory from here on (see `memory.py`).

    Raises:
        NormError: the norm cannot be loaded or built.
        EngineError: the engine asked for is not to be had here.
        RunError: the checkpoint is not of this model.
        TrainingFailed: (while iterating) a step raised, in a user's own layer for example.
    """
    if device.type == "cpu":
        keep_freed_memory()
    dataset = dataset.to(device)
    engine = _engine(config, dataset, device, checkpoint)
    torch.manual_seed(config.training.seed)
    model = build_model(config).to(device)
    training = _Training(config, dataset, device, engine, model, build_optimizer(config, model))
    if checkpoint is not None:
        training.go_on_from(checkpoint)
    return training.events()


def _engine(
    config: Config, dataset: Dataset, device: torch.device, checkpoint: Mapping[str, Any] | None
) -> Engine:
    """Return the engine of a run: of one that goes on, that which it began with, if it is here."""
    epochs = config.training.epochs
    if checkpoint is None:
        return choose(config, dataset, device, epochs)
    before = checkpoint.get("engine", "eager")  # which all were, before there was a choice
    settings = config.training.model_copy(update={"engine": before})
    try:
        return choose(config.model_copy(update={"training": settings}), dataset, device, epochs)
    except EngineError as error:
        now = choose(config, dataset, device, epochs - len(checkpoint["epochs"]))
        return Engine(now.name, f"the run began {before}; {error}")


class _Diverged(Exception):
    """The loss of a step was not finite; the message says where."""


class _Training:
    """One training: what it trains, what it has finished, and the events on the way."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        engine: Engine,
        model: nn.Module,
        optimizer: SGD,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.device = device
        self.engine = engine
        self.model = model
        self.optimizer = optimizer
        self.clock = Clock(device)
        self.finished: list[EpochEnded] = []
        self.timed = Reading()
        size, count = config.training.batch_size, len(dataset.train)
        self.sizes = [min(size, count - start) for start in range(0, count, size)]
        self.steps = make_steps(engine, model, optimizer, dataset.train, size)

    def go_on_from(self, checkpoint: Mapping[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        with fitting():
            restore(checkpoint, self.model, self.optimizer)
            self.finished = [EpochEnded(**epoch) for epoch in checkpoint["epochs"]]
            self.timed = Reading(**checkpoint["timed"])

    def events(self) -> Iterator[Event]:
        settings = self.config.training
        yield RunStarted(
            norm=self.config.model.norm,
            device=str(self.device),
            machine=device_name(self.device),
            seed=settings.seed,
            epochs=settings.epochs,
            steps_per_epoch=len(self.sizes),
            data=self.dataset.describe(),
            engine=self.engine.name,
            engine_chosen=self.engine.why,
            finished=tuple(self.finished),
        )
        if settings.deterministic and self.device.type == "mps":
            yield Notice("training.deterministic: torch promises nothing repeatable on mps")
        with repeatable(self.device, settings.deterministic), running(self.engine, self.device):
            for epoch in range(len(self.finished) + 1, settings.epochs + 1):
                try:
                    ended = yield from self._epoch(epoch)
                except _Diverged as diverged:
                    yield self._end("diverged", str(diverged))
                    return
                if epoch == 1 and (idle := never_moved(self.model)):
                    yield Notice(
                        f"the moving statistics of {', '.join(idle)} are still 0 and 1 after an "
                        "epoch: the norm does not update them, and predicts without normalizing"
                    )
                self.finished.append(ended)
                yield CheckpointReady(epoch, self._state())
                yield ended  # once it is kept
        yield self._end("completed")

    def _epoch(self, epoch: int) -> Generator[Progress, None, EpochEnded]:
        """Train for an epoch and evaluate after it."""
        began = time.perf_counter()
        reading, loss, train_acc = yield from self._pass(epoch)
        self.timed += reading
        validation = self.dataset.validation
        with told(f"evaluation after epoch {epoch}"):
            test_accs = accuracies_by_statistics(
                self.model, self.dataset, self.config, self.config.training.evaluate
            )
            validation_acc = accuracy(self.model, validation) if validation else None
        return EpochEnded(
            epoch=epoch,
            loss=loss,
            train_acc=train_acc,
            test_acc=test_accs["moving"],
            validation_acc=validation_acc,
            examples_per_second=reading.examples_per_second,
            compute_examples_per_second=reading.compute_examples_per_second,
            seconds=time.perf_counter() - began,
            test_acc_population=test_accs.get("population"),
            test_acc_batch=test_accs.get("batch"),
        )

    def _pass(self, epoch: int) -> Generator[Progress, None, tuple[Reading, float, float]]:
        """Take every step of an epoch; return its timing, mean loss and mean accuracy.

        Each step's loss and count of right answers stay on the device until they are read.
        """
        settings, steps = self.config.training, len(self.sizes)
        self.clock.start_epoch()
        self.steps.begin(image_order(settings.seed, epoch, sum(self.sizes)).to(self.device))
        reported = time.perf_counter()
        self.model.train()
        for step, size in enumerate(self.sizes):
            self.steps.fetch(step)
            self.clock.batch_ready()
            self._set_learning_rate((epoch - 1) * steps + step)
            with told(f"epoch {epoch}, step {step + 1} of {steps}, a batch of {size}"):
                self.steps.take(step)
            self.clock.step_done(size)
            if time.perf_counter() - reported > PROGRESS_SECONDS and step + 1 < steps:
                loss, train_acc = self._means(epoch, step + 1)
                yield Progress(epoch, step + 1, loss, train_acc, self.clock.so_far())
                reported = time.perf_counter()
        reading = self.clock.end_epoch()
        return reading, *self._means(epoch, steps)

    def _means(self, epoch: int, steps: int) -> tuple[float, float]:
        """Read back the mean loss and accuracy of an epoch's first steps.

        Raises:
            _Diverged: a loss among them is not finite.
        """
        step_losses = self.steps.losses[:steps].tolist()
        for step, loss in enumerate(step_losses, start=1):
            if not math.isfinite(loss):
                raise _Diverged(
                    f"the loss became {loss} at epoch {epoch}, step {step} of {len(self.sizes)} "
                    f"(step {(epoch - 1) * len(self.sizes) + step} of the run)"
                )
        sizes = self.sizes[:steps]
        total = math.fsum(loss * size for loss, size in zip(step_losses, sizes, strict=True))
        return total / sum(sizes), int(self.steps.corrects[:steps].sum()) / sum(sizes)

    def _set_learning_rate(self, step: int) -> None:
        settings = self.config.optimizer
        steps = self.config.training.epochs * len(self.sizes)
        self.optimizer.lr = learning_rate(settings.schedule, settings.lr, step, steps)

    def _state(self) -> dict[str, Any]:
        return {
            **capture(self.model, self.optimizer),
            "config": self.config.to_dict(),
            "engine": self.engine.name,
            "epochs": [dataclasses.asdict(epoch) for epoch in self.finished],
            "timed": dataclasses.asdict(self.timed),
        }

    def _end(self, status: Status, reason: str | None = None) -> RunEnded:
        timed = self.timed
        return RunEnded(
            status, timed.examples_per_second, timed.compute_examples_per_second, reason
        )
