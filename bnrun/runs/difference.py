"""In what two runs differ: in their configs, in what came of them, in what they ran on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.config import KEYS
from bnrun.runs.kept import KeptRun

METRICS = ("loss", "train_acc", "test_acc", "test_acc_population")
_RESULT = ("status", "epochs", *METRICS, "examples_per_second")
_ENVIRONMENT = ("bnrun", "python", "torch", "device", "machine", "threads")


@dataclass(frozen=True)
class Difference:
    """A key, and its two differing values."""

    key: str
    a: Any
    b: Any


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
        result=_differing(_RESULT, _result(a), _result(b)),
        environment=_differing(_ENVIRONMENT, a.environment, b.environment),
    )


def config_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the dotted keys in which two configs' documents differ, in the schema's order."""
    return _differing(KEYS, _flat(a), _flat(b))


def _differing(
    keys: Iterable[str], a: Mapping[str, Any], b: Mapping[str, Any]
) -> tuple[Difference, ...]:
    pairs = (Difference(key, a.get(key), b.get(key)) for key in keys)
    return tuple(pair for pair in pairs if pair.a != pair.b)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        f"{section}.{name}": value
        for section in document
        for name, value in document[section].items()
    }


def _result(run: KeptRun) -> dict[str, Any]:
    own = {"status": run.status, "epochs": len(run.summary.epochs)}
    return run.summary.document() | own
