"""What differs between two runs: in their configs, their results, and what they ran on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bnrun.config.difference import (
    RECORDING_KEYS,
    Difference,
    config_difference,
    value_differences,
)
from bnrun.runs.run_records import RunRecord
from bnrun.training_summary import METRICS

_RESULT = ("status", "epochs", *METRICS, "examples_per_second")
_ENVIRONMENT = ("bnrun", "python", "torch", "device", "machine", "threads", "engine")
_NOT_OF_THE_TRAINING = ("training.device", "training.engine", "data.root", *RECORDING_KEYS)
"""Config keys that do not say what is trained; images and engine are compared themselves."""


@dataclass(frozen=True)
class RunDifference:
    """Everything in which two runs differ, and what a reader needs to judge it, in sentences."""

    config: tuple[Difference, ...]
    result: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    remarks: tuple[str, ...]


def difference(a: RunRecord, b: RunRecord) -> RunDifference:
    """Return what differs between two runs."""
    config = config_difference(a.summary.config, b.summary.config)
    result = value_differences(_RESULT, _result(a), _result(b))
    environment = value_differences(_ENVIRONMENT, _environment(a), _environment(b))
    differ = any(one.key in METRICS and None not in (one.a, one.b) for one in result)
    remarks = tuple(_remarks(a, b, config)) if differ else ()
    return RunDifference(config, result, environment, remarks)


def _result(run: RunRecord) -> dict[str, Any]:
    own = {"status": run.status, "epochs": len(run.summary.epochs)}
    return run.summary.to_dict() | own


def _environment(run: RunRecord) -> dict[str, Any]:
    return {**run.environment, "engine": run.summary.engine} if run.environment else {}


def _remarks(a: RunRecord, b: RunRecord, config: tuple[Difference, ...]) -> Iterator[str]:
    """Yield what the difference of two results can be put down to."""
    for name, run in (("a", a), ("b", b)):
        done, planned = len(run.summary.epochs), run.summary.config["training"]["epochs"]
        if run.status != "completed":
            yield f"{name} is {run.status}: its figures are those of epoch {done} of {planned}."
    if not (a.summary.epochs and b.summary.epochs):
        return
    seeds = a.summary.seed, b.summary.seed
    replanned = any(run.summary.has_rates_of_several_plans for run in (a, b))
    if a.summary.images != b.summary.images:
        yield "They have different images: their figures do not compare."
    elif seeds[0] != seeds[1]:
        yield (
            f"One seed each ({seeds[0]} and {seeds[1]}): two runs with different seeds differ by "
            "chance, too. `bnrun compare` pairs seeds."
        )
    elif any(one.key not in _NOT_OF_THE_TRAINING for one in config) or replanned:
        yield (
            f"Both have seed {seeds[0]}: they share initial weights and the order of the images. "
            "One seed shows no spread; `bnrun compare` trains several."
        )
    else:
        yield (
            f"Both train the same, with seed {seeds[0]}: their results differ by what they ran on, "
            "or by a change of the code."
        )
