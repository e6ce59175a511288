"""In what two runs differ: in their configs, in what came of them, in what they ran on."""

from dataclasses import dataclass
from typing import Any

from bnrun.config.difference import Difference, config_difference, differing
from bnrun.runs.kept import KeptRun
from bnrun.summary import METRICS

_RESULT = ("status", "epochs", *METRICS, "examples_per_second")
_ENVIRONMENT = ("bnrun", "python", "torch", "device", "machine", "threads")


@dataclass(frozen=True)
class RunDifference:
    """All that differs between two runs."""

    config: tuple[Difference, ...]
    result: tuple[Difference, ...]
    environment: tuple[Difference, ...]


def difference(a: KeptRun, b: KeptRun) -> RunDifference:
    """Hold two runs against each other."""
    return RunDifference(
        config=config_difference(a.summary.config, b.summary.config),
        result=differing(_RESULT, _result(a), _result(b)),
        environment=differing(_ENVIRONMENT, a.environment, b.environment),
    )


def _result(run: KeptRun) -> dict[str, Any]:
    own = {"status": run.status, "epochs": len(run.summary.epochs)}
    return run.summary.to_dict() | own
