"""What differs between two runs: in their configs, their results, and what they ran on."""

from dataclasses import dataclass
from typing import Any

from bnrun.config.difference import Difference, config_difference, value_differences
from bnrun.runs.run_records import RunRecord
from bnrun.training_summary import METRICS

_RESULT = ("status", "epochs", *METRICS, "examples_per_second")
_ENVIRONMENT = ("bnrun", "python", "torch", "device", "machine", "threads")


@dataclass(frozen=True)
class RunDifference:
    """Everything in which two runs differ.

    Single runs with different seeds differ by chance, too, so `remarks` says where that matters.
    """

    config: tuple[Difference, ...]
    result: tuple[Difference, ...]
    environment: tuple[Difference, ...]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what a reader needs to judge the differences, a sentence each."""
        if not any(pair.key in METRICS for pair in self.result):
            return ()
        return (
            "One seed each: two single runs with different seeds differ by chance too. "
            "`bnrun compare` pairs seeds.",
        )


def difference(a: RunRecord, b: RunRecord) -> RunDifference:
    """Return what differs between two runs."""
    return RunDifference(
        config=config_difference(a.summary.config, b.summary.config),
        result=value_differences(_RESULT, _result(a), _result(b)),
        environment=value_differences(_ENVIRONMENT, a.environment, b.environment),
    )


def _result(run: RunRecord) -> dict[str, Any]:
    own = {"status": run.status, "epochs": len(run.summary.epochs)}
    return run.summary.to_dict() | own
