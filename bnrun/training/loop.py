"""The training loop, as a generator of events.

    for event in train(config, dataset, device):
        run.record(event)
        screen.show(event)

An epoch reads nothing back from the device, except for what `Progress` shows four times a second.
"""

import contextlib
import dataclasses
import itertools
import math
import operator
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import torch

from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.errors import EngineError
from bnrun.events import (
    Activity,
    CheckpointReady,
    EpochEnded,
    Event,
    Notice,
    Plan,
    Probed,
    Progress,
    RunEnded,
    RunStarted,
    Status,
)
from bnrun.norms.population import unmoved_norms
from bnrun.processes import ALONE, Processes
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.checkpoint import require_fit
from bnrun.training.device import device_name
from bnrun.training.engine import Engine
from bnrun.training.engine_choice import choose
from bnrun.training.evaluation import accuracies_by_statistics, accuracy
from bnrun.training.model import wrap_model_errors
from bnrun.training.norm_batch import check_norm_batch, check_shares
from bnrun.training.norm_statistics import norm_statistics
from bnrun.training.optimizer import learning_rate
from bnrun.training.probes.probes import Probes
from bnrun.training.stepper import Stepper
from bnrun.training.timing import Clock, Reading
from bnrun.training_summary import Summary, planned

PROGRESS_SECONDS = 0.25
"""Time between two `Progress` events of an epoch."""


def train(
    config: Config,
    dataset: Dataset,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None = None,
    processes: Processes = ALONE,
) -> Generator[Event, None, Summary]:
    """Train LeNet as the config describes; with a checkpoint's state, continue from there.

    The model is built, and the engine chosen, before this returns. Training happens as the events
    are taken, and the generator returns the summary of all of them.

    Everything that is global to the process (the kernels' switch, torch's random generators and
    deterministic algorithms, the current CUDA device) is set for one piece of computing and put
    back before the next event is yielded. So trainings may be interleaved, and each ends at the
    bits that it has alone. One thing stays changed, on a CPU with glibc: the process keeps the
    memory that it frees (see `allocator.py`).

    Args:
        config: of the run. Its data and device are not read: the next two arguments stand for them.
        dataset: on any device.
        device: to train on.
        checkpoint: the state of a `CheckpointReady` event, which runs/ stores as checkpoint.pt.
        processes: which train together. All must call this with the same arguments; they compute
            the same results and get the same events, times aside. A state holds nothing that
            depends on their number.

    Raises:
        ConfigError: the norm cannot normalize a piece that `training.norm_batch`, or the share of
            a process, leaves; or it cannot be synchronized between processes.
        NormError: the norm cannot be loaded or built.
        EngineError: the engine that the config names is not available here.
        RunError: the checkpoint is of another model.
        ProcessLost: another process ended, or does not answer.
        TrainingFailed: a step raised, in a user's own layer for example. Raised while iterating;
            or at once, where a norm's parameters cannot be trained or an engine is checked.
    """
    if device.type == "cpu":
        keep_freed_memory()
    check_norm_batch(config, len(dataset.train))
    if norm_statistics(config, processes, device).kind == "local":
        check_shares(config, len(dataset.train), processes)
    dataset = dataset.to(device)
    engine = _engine(config, dataset, device, checkpoint, processes)
    training = _Training(config, dataset, device, engine, processes)
    if checkpoint is not None:
        training.restore(checkpoint)
    return _summarized(training.events(), config)


def _engine(
    config: Config,
    dataset: Dataset,
    device: torch.device,
    checkpoint: Mapping[str, Any] | None,
    processes: Processes,
) -> Engine:
    """Return the engine of a run; a run that continues keeps its own, where it is available."""
    epochs = config.training.epochs
    if checkpoint is None:
        return choose(config, dataset, device, epochs, processes)
    before = checkpoint.get("engine", "eager")  # older checkpoints name none: all were eager
    try:
        return choose(config.with_training(engine=before), dataset, device, epochs, processes)
    except EngineError as error:
        left = epochs - len(checkpoint["epochs"])
        now = choose(config, dataset, device, left, processes)
        return Engine(now.name, f"the run started {before}, which can't continue: {error.reason}")


def _summarized(
    events: Generator[Event, None, None], config: Config
) -> Generator[Event, None, Summary]:
    """Yield the events of a training, and return their summary."""
    summary = planned(config.to_dict())
    with contextlib.closing(events):
        for event in events:
            summary = summary.with_event(event)
            yield event
    return summary


def _plans(checkpoint: Mapping[str, Any], config: Config) -> tuple[Plan, ...]:
    """Return the plans that a checkpoint was trained under, and today's where it is another."""
    before = [Plan(1, checkpoint["config"]["training"]["epochs"])]  # of an older checkpoint
    plans = [Plan(**plan) for plan in checkpoint["plans"]] if "plans" in checkpoint else before
    if plans[-1].epochs == config.training.epochs:
        return tuple(plans)
    return (*plans, Plan(len(checkpoint["epochs"]) + 1, config.training.epochs))


class _Diverged(Exception):
    """The loss of a step was not finite; the message says where."""


class _Training:
    """One training: its stepper, the epochs that it has finished, and its events."""

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        device: torch.device,
        engine: Engine,
        processes: Processes,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.device = device
        self.engine = engine
        self.processes = processes
        self.stepper = Stepper(config, dataset.train, engine=engine, processes=processes)
        steps = config.training.epochs * self.stepper.steps_per_epoch
        self.probes = Probes(config, self.stepper.model, dataset.train, steps, engine)
        self.clock = Clock(device)
        self.finished: list[EpochEnded] = []
        self.timed = Reading()
        self.plans: tuple[Plan, ...] = (Plan(1, config.training.epochs),)

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Continue from the state of a checkpoint.

        Raises:
            RunError: it is of another model.
        """
        with require_fit():
            self.finished = [EpochEnded(**epoch) for epoch in checkpoint["epochs"]]
            self.timed = Reading(**checkpoint["timed"])
            self.stepper.restore(checkpoint, len(self.finished))
            self.probes.restore(checkpoint.get("probes", {}))
        self.plans = _plans(checkpoint, self.config)

    def events(self) -> Generator[Event, None, None]:
        """Train for all epochs that are left."""
        settings = self.config.training
        yield RunStarted(
            norm=self.config.model.norm_call,
            device=str(self.device),
            machine=device_name(self.device),
            seed=settings.seed,
            epochs=settings.epochs,
            steps_per_epoch=self.stepper.steps_per_epoch,
            data=self.dataset.describe(),
            engine=self.engine.name,
            engine_chosen=self.engine.why,
            finished=tuple(self.finished),
            plans=self.plans,
            processes=self.processes.size,
            hosts=self.processes.hosts,
            norm_statistics=self.stepper.statistics.kind,
        )
        if self.stepper.statistics.notice:
            yield Notice(self.stepper.statistics.notice)
        if settings.deterministic and self.device.type == "mps":
            yield Notice("training.deterministic: torch has no deterministic algorithms on mps")
        yield from self._batch_notices()
        yield from self._schedule_notices()
        for epoch in range(len(self.finished) + 1, settings.epochs + 1):
            try:
                ended = yield from self._epoch(epoch)
            except _Diverged as diverged:
                yield self._end("diverged", str(diverged))
                return
            if epoch == 1 and (idle := unmoved_norms(self.stepper.model)):
                yield Notice(
                    f"the moving statistics of {', '.join(idle)} are still 0 and 1 after an "
                    "epoch: the norm does not update them, and predicts without normalizing"
                )
            self.finished.append(ended)
            yield Activity("checkpoint")
            yield CheckpointReady(epoch, self._state())
            yield ended  # after the checkpoint: an epoch that is reported can be continued from
        yield self._end("completed")

    def _batch_notices(self) -> Iterator[Notice]:
        """Warn where the last batch of an epoch has one image, which norms over the batch refuse.

        After a linear layer, one image has one value per channel: it equals the mean of the batch.
        """
        sizes = self.stepper.batch_sizes
        first = sizes[0]
        if sizes[-1] == 1 < first:
            images = sum(sizes)
            better = next(size for size in range(first - 1, 0, -1) if images % size != 1)
            yield Notice(
                f"the last batch of each epoch has one image ({images:,} = {len(sizes) - 1} * "
                f"{first} + 1), where a norm over the batch has nothing to average; such norms "
                f"refuse it, or put out beta. Fix: --set training.batch_size={better}"
            )

    def _schedule_notices(self) -> Iterator[Notice]:
        """Yield what a schedule makes of epochs that were planned for a run of another length."""
        schedule, peak = self.config.optimizer.schedule, self.config.optimizer.lr
        done, per_epoch = len(self.finished), self.stepper.steps_per_epoch
        is_new = self.plans[-1].first == done + 1 <= self.config.training.epochs
        if schedule == "constant" or not is_new:
            return
        for before, now in itertools.pairwise(plan.epochs for plan in self.plans[-2:]):
            last = learning_rate(schedule, peak, done * per_epoch - 1, before * per_epoch)
            following = learning_rate(schedule, peak, done * per_epoch, now * per_epoch)
            yield Notice(
                f"schedule {schedule} spans the run: up to epoch {done}, the learning rates are "
                f"those of a run of {before}, and from there on those of a run of {now}; the rate "
                f"goes from {last:.2g} to {following:.2g}"
            )

    def _epoch(self, epoch: int) -> Generator[Progress | Probed | Activity, None, EpochEnded]:
        """Train for an epoch and evaluate after it."""
        start = time.perf_counter()
        reading, loss, train_acc = yield from self._steps(epoch)
        self.timed += reading
        steps = self.stepper.steps_per_epoch
        yield Progress(epoch, steps, loss, train_acc, reading.examples_per_second)
        yield Activity("evaluating")
        test_accs, validation_acc = self._evaluate(epoch)
        return EpochEnded(
            epoch=epoch,
            loss=loss,
            train_acc=train_acc,
            test_acc=test_accs["moving"],
            validation_acc=validation_acc,
            examples_per_second=reading.examples_per_second,
            compute_examples_per_second=reading.compute_examples_per_second,
            seconds=time.perf_counter() - start,
            test_acc_population=test_accs.get("population"),
            test_acc_batch=test_accs.get("batch"),
        )

    def _steps(
        self, epoch: int
    ) -> Generator[Progress | Probed, None, tuple[Reading, float, float]]:
        """Take every step of an epoch; return its timing, mean loss and mean accuracy.

        Each step's loss and count of right answers stay on the device until they are read.
        """
        steps, done = self.stepper.steps_per_epoch, 0
        self.clock.start_epoch()
        if epoch == 1:
            yield from self._look()
        while done < steps:
            done = self._steps_until_progress(done)
            yield from self._look()
            if done < steps:
                loss, train_acc = self._means(epoch, done)
                yield Progress(epoch, done, loss, train_acc, self.clock.so_far())
        reading = self.clock.end_epoch()
        return reading, *self._means(epoch, steps)

    def _steps_until_progress(self, done: int) -> int:
        """Take steps for `PROGRESS_SECONDS`, to the epoch's end, or until probes are due.

        Return how many are done.
        """
        start = time.perf_counter()
        with self.stepper.computing():
            while done < self.stepper.steps_per_epoch:
                self.stepper.fetch()
                self.clock.batch_ready()
                self.probes.before_step(self.stepper.steps_taken + 1)
                _, size = self.stepper.take()
                self.probes.after_step()
                self.clock.step_done(size)
                done += 1
                is_due = self.probes.is_due(self.stepper.steps_taken)
                if is_due or time.perf_counter() - start > PROGRESS_SECONDS:
                    break
        return done

    def _look(self) -> list[Probed]:
        """Return what probes see now, where they are due; their time does not count."""
        step = self.stepper.steps_taken
        if not self.probes.is_due(step):
            return []
        with self.clock.paused():
            return list(self.probes.look(step, float(self.stepper.optimizer.lr)))

    def _means(self, epoch: int, steps: int) -> tuple[float, float]:
        """Read back the mean loss and accuracy of an epoch's first steps.

        Raises:
            _Diverged: a loss among them is not finite.
        """
        sizes = self.stepper.batch_sizes
        losses = self.stepper.losses[:steps].tolist()
        for step, loss in enumerate(losses, start=1):
            if not math.isfinite(loss):
                raise _Diverged(
                    f"the loss became {loss} at epoch {epoch}, step {step} of {len(sizes)} "
                    f"(step {(epoch - 1) * len(sizes) + step} of the run)"
                )
        images = sum(sizes[:steps])
        total = math.fsum(map(operator.mul, losses, sizes))
        return total / images, int(self.stepper.correct_counts[:steps].sum()) / images

    def _evaluate(self, epoch: int) -> tuple[dict[str, float], float | None]:
        """Return the test accuracy by kind of statistics, and the validation accuracy."""
        model, validation = self.stepper.model, self.dataset.validation
        with self.stepper.computing(), wrap_model_errors(f"evaluation after epoch {epoch}"):
            test_accs = accuracies_by_statistics(
                model, self.dataset, self.config, self.config.training.evaluate, self.processes
            )
            if validation is None:
                return test_accs, None
            return test_accs, accuracy(model, validation, processes=self.processes)

    def _state(self) -> dict[str, Any]:
        return {
            **self.stepper.capture(),
            "config": self.config.to_dict(),
            "engine": self.engine.name,
            "epochs": [dataclasses.asdict(epoch) for epoch in self.finished],
            "timed": dataclasses.asdict(self.timed),
            "plans": [dataclasses.asdict(plan) for plan in self.plans],
            **({"probes": probes} if (probes := self.probes.state()) else {}),
        }

    def _end(self, status: Status, reason: str | None = None) -> RunEnded:
        return RunEnded(
            status,
            self.timed.examples_per_second,
            self.timed.compute_examples_per_second,
            reason,
        )
