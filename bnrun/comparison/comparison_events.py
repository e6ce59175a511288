"""The events that a comparison yields while it works."""

from dataclasses import dataclass

from bnrun.comparison.parity_verdict import Parity
from bnrun.comparison.result import Comparison, Speeds
from bnrun.config import Config
from bnrun.events import Activity, Event, Stage
from bnrun.training_summary import Summary


@dataclass(frozen=True)
class Trial:
    """One training of an arm with one seed; `run` is its directory, where it has one."""

    arm: str
    config: Config
    run: str | None = None

    @property
    def name(self) -> str:
        """Return the trial's name: `scratch-s0`."""
        return f"{self.arm}-s{self.config.training.seed}"


@dataclass(frozen=True)
class CompareStarted:
    """A comparison starts or continues, with these trials still to be trained.

    `engine` is that of all arms that name none of their own, and `engine_reason` why.
    """

    trials: tuple[Trial, ...]
    engine: str | None = None
    engine_reason: str = ""


@dataclass(frozen=True)
class TrialEvent:
    """An event of one of the trials."""

    trial: Trial
    event: Event


@dataclass(frozen=True)
class TrialEnded:
    """A trial has ended: completed, diverged or failed."""

    trial: Trial
    summary: Summary


@dataclass(frozen=True)
class ThroughputFailed:
    """The throughput could not be measured, and why."""

    reason: str


@dataclass(frozen=True)
class ResultSoFar:
    """The comparison with all results so far. It follows each new result, to be written down."""

    comparison: Comparison


CompareEvent = (
    CompareStarted
    | Stage
    | Activity
    | Parity
    | TrialEvent
    | TrialEnded
    | Speeds
    | ThroughputFailed
    | ResultSoFar
)
