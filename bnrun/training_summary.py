"""The result of one training: its events, folded into one record.

    summary = planned(config.to_dict())
    for event in events:
        summary = summary.with_event(event)

This fold is the only one: training returns its result, a run directory writes it, and both reading
a run back and comparing runs use it.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnrun.config.norm_call import norm_call
from bnrun.events import DataUsed, EpochEnded, Event, Plan, RunEnded, RunStarted, Status
from bnrun.learning import (
    DID_NOT_LEARN,
    LOSS_ABOVE_GUESSING,
    predicts_by_guessing,
    why_loss_above_guessing,
    why_not_learned,
)

METRICS = ("loss", "train_acc", "test_acc", "test_acc_population")

NOTABLE_POINTS = 2.0
"""Percentage points of test accuracy between two kinds of statistics that deserve a sentence."""


@dataclass(frozen=True)
class Summary:
    """The result of a training, or as much of it as there is yet.

    Attributes:
        config: the run's config, as `Config.to_dict` returns it.
        norm, seed: taken from the config; the norm with its options.
        device, machine: the device that the run trains on, and its name for humans.
        data: the images of the run.
        epochs: the epochs that have ended.
        status: how the run ended; `interrupted` until it has.
        reason: why the run diverged or failed.
        examples_per_second: training examples over wall time, evaluation excluded, of the whole
            run; of its finished epochs until it has ended; None where no step was timed.
        compute_examples_per_second: the same with the time of computing alone.
        run: the run's directory, where it has one.
        engine: how the steps were executed.
        plans, processes, hosts, norm_statistics: see `RunStarted`.
    """

    config: Mapping[str, Any]
    norm: str
    device: str
    machine: str
    seed: int
    data: DataUsed
    epochs: tuple[EpochEnded, ...] = ()
    status: Status = "interrupted"
    reason: str | None = None
    examples_per_second: float | None = None
    compute_examples_per_second: float | None = None
    run: str | None = None
    engine: str = "eager"
    plans: tuple[Plan, ...] = ()
    processes: int = 1
    hosts: tuple[str, ...] = ()
    norm_statistics: str = ""

    def with_event(self, event: Event) -> "Summary":
        """Return the summary after one more event of the training."""
        match event:
            case RunStarted():
                return Summary(
                    config=self.config,
                    run=self.run,
                    norm=event.norm,
                    device=event.device,
                    machine=event.machine,
                    seed=event.seed,
                    data=event.data,
                    engine=event.engine,
                    plans=event.plans,
                    processes=event.processes,
                    hosts=event.hosts,
                    norm_statistics=event.norm_statistics,
                )._with_epochs(event.finished)
            case EpochEnded():
                return self._with_epochs((*self.epochs, event))
            case RunEnded():
                return dataclasses.replace(self, **vars(event))
            case _:
                return self

    def _with_epochs(self, epochs: tuple[EpochEnded, ...]) -> "Summary":
        """Return the summary with these epochs and their throughputs: each had as many examples."""
        return dataclasses.replace(
            self,
            epochs=epochs,
            examples_per_second=_mean_rate(epoch.examples_per_second for epoch in epochs),
            compute_examples_per_second=_mean_rate(
                epoch.compute_examples_per_second for epoch in epochs
            ),
        )

    def with_failure(self, reason: str) -> "Summary":
        """Return the summary of a training that raised an error."""
        return dataclasses.replace(self, status="failed", reason=reason)

    @property
    def why_not_learned(self) -> str | None:
        """Return why the network has not learned; None if it has, or the run is not completed."""
        if self.status != "completed" or not self.epochs:
            return None
        return why_not_learned(self.epochs[-1], self.data, self.config["optimizer"]["lr"])

    @property
    def why_loss_above_guessing(self) -> str | None:
        """Return by how much the loss of a network that learned is above that of guessing.

        None where it is not, where the network did not learn, or the run is not completed.
        """
        if self.status != "completed" or not self.epochs:
            return None
        return why_loss_above_guessing(self.epochs[-1], self.data, self.config["optimizer"]["lr"])

    @property
    def learned(self) -> bool | None:
        """Return whether the network learned anything; None where the run is not completed.

        It did where an accuracy, in training or on the test images, is above that of guessing. Its
        loss may have blown up all the same: see `shortcoming`.
        """
        if self.status != "completed" or not self.epochs:
            return None
        return self.why_not_learned is None

    @property
    def shortcoming(self) -> str:
        """Return the mark of a bad training, in a few words; empty for a good one."""
        if self.why_not_learned is not None:
            return DID_NOT_LEARN
        return LOSS_ABOVE_GUESSING if self.why_loss_above_guessing is not None else ""

    @property
    def images(self) -> tuple[DataUsed, str | None]:
        """Return what is known of the images: two trainings with the same ones have equal values.

        The folder counts only for images that are not the published ones.
        """
        root = self.config["data"]["root"] if self.data.verified is False else None
        return dataclasses.replace(self.data, source=""), root

    @property
    def has_rates_of_several_plans(self) -> bool:
        """Return whether a schedule went over a run that was later made longer or shorter."""
        return len(self.plans) > 1 and self.config["optimizer"]["schedule"] != "constant"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what deserves to be said of the result, a sentence each.

        A network that did not learn does, and one that learned with a loss above that of guessing.
        So does one that learned and predicts badly: a wide gap between moving and population
        statistics comes from the moving average alone, since the weights are the same. So do
        learning rates that were planned for a run of another length.
        """
        return (*self._accuracy_remarks(), *self._schedule_remarks())

    def _accuracy_remarks(self) -> Iterator[str]:
        if not self.epochs:
            return
        last = self.epochs[-1]
        moving, population = last.test_acc, last.test_acc_population
        if self.why_not_learned is not None:
            yield f"The network did not learn: {self.why_not_learned}"
        elif self.why_loss_above_guessing is not None:
            yield f"The loss ended above that of guessing: {self.why_loss_above_guessing}"
        elif self.learned and predicts_by_guessing(last, self.data):
            yield (
                f"The test accuracy, {moving:.3f}, is that of guessing, though the network "
                f"learned (train accuracy {last.train_acc:.3f}): what its norms predict with does "
                "not fit its weights, or not yet. `bnrun evaluate` tries other statistics."
            )
        elif population is not None and abs(100 * (population - moving)) > NOTABLE_POINTS:
            yield (
                f"The same weights reach {moving:.3f} with moving and {population:.3f} with "
                "population statistics: the moving average holds what batches were under earlier "
                "weights, the population what images are under these."
            )

    def _schedule_remarks(self) -> Iterator[str]:
        if self.has_rates_of_several_plans:
            schedule = self.config["optimizer"]["schedule"]
            *parts, last = (
                f"of a run of {_epochs(plan.epochs)} {when}"
                for plan, when in zip(self.plans, _spans(self.plans), strict=True)
            )
            yield (
                f"The learning rates of schedule {schedule} are those {', '.join(parts)}, and "
                f"{last}. A run of {_epochs(self.plans[-1].epochs)} from the start has other rates."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun train --json` prints and `summary.json` holds."""
        last = self.epochs[-1] if self.epochs else None
        return {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "learned": self.learned,
            "device": self.device,
            "machine": self.machine,
            "engine": self.engine,
            "processes": self.processes,
            "hosts": list(self.hosts),
            "norm_statistics": self.norm_statistics,
            "norm": self.norm,
            "seed": self.seed,
            "data": dataclasses.asdict(self.data),
            "config": dict(self.config),
            "epochs": [dataclasses.asdict(epoch) for epoch in self.epochs],
            "loss": last and last.loss,
            "train_acc": last and last.train_acc,
            "test_acc": last and last.test_acc,
            "test_acc_population": last and last.test_acc_population,
            "test_acc_batch": last and last.test_acc_batch,
            "examples_per_second": self.examples_per_second,
            "compute_examples_per_second": self.compute_examples_per_second,
            "plans": [dataclasses.asdict(plan) for plan in self.plans],
            "remarks": list(self.remarks),
        }


def _spans(plans: Sequence[Plan]) -> Iterator[str]:
    """Yield the epochs in which each plan holds: until the next one starts."""
    for plan, following in itertools.pairwise(plans):
        last = following.first - 1
        yield f"in epoch {last}" if last == plan.first else f"in epochs {plan.first} to {last}"
    yield f"from epoch {plans[-1].first} on"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def _mean_rate(rates: Iterable[float | None]) -> float | None:
    """Return the rate of equal amounts of work together; None where no rate is known."""
    known = [rate for rate in rates if rate is not None and rate > 0]
    return statistics.harmonic_mean(known) if known else None


def planned(config: Mapping[str, Any], run: str | None = None) -> Summary:
    """Return the summary of a run that has not started: what its config says of it.

    Args:
        config: the config, as `Config.to_dict` returns it.
        run: the run's directory, where it has one.
    """
    return Summary(
        config=config,
        norm=norm_call(config["model"]["norm"], config["model"].get("norm_options", {})),
        device=config["training"]["device"],
        machine="",
        seed=config["training"]["seed"],
        data=DataUsed(config["data"]["name"], "not loaded yet", None, 0, 0, 0),
        run=run,
    )
