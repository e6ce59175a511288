"""What a training came to: its events folded into one record."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.events import DataUsed, EpochEnded, Event, RunEnded, RunStarted, Status

METRICS = ("loss", "train_acc", "test_acc", "test_acc_population")


@dataclass(frozen=True)
class Summary:
    """A training's result. `run` is its directory, where it has one.

    The throughputs are of the whole run; both are None where no step was timed.
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

    def after(self, event: Event) -> "Summary":
        """Return the summary with one more event counted."""
        match event:
            case EpochEnded():
                return dataclasses.replace(self, epochs=(*self.epochs, event))
            case RunEnded():
                return dataclasses.replace(self, **vars(event))
            case _:
                return self

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun train --json` prints and `summary.json` holds."""
        last = self.epochs[-1] if self.epochs else None
        return {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "device": self.device,
            "machine": self.machine,
            "engine": self.engine,
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
        }


def begin(event: RunStarted, config: Mapping[str, Any], run: str | None = None) -> Summary:
    """Start the summary of a run from its first event."""
    return Summary(
        config=config,
        norm=event.norm,
        device=event.device,
        machine=event.machine,
        seed=event.seed,
        data=event.data,
        epochs=event.finished,
        run=run,
        engine=event.engine,
    )
