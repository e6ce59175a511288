"""All mistakes and dialects that are known by name, in the order of the files that define them."""

from collections.abc import Iterator
from typing import Any

from bnrun.verification import outcome
from bnrun.verification.fault import Choice, Fault
from bnrun.verification.formula import (
    batch_statistics,
    gradients,
    modes,
    moving_statistics,
    normalization,
)
from bnrun.verification.topics import TOPICS

FORMULA = (batch_statistics, normalization, gradients, moving_statistics, modes)


def known_faults() -> list[Fault]:
    """Return them, each name once."""
    faults: dict[str, Fault] = {}
    for module in (*FORMULA, outcome, *TOPICS):
        for value in vars(module).values():
            for fault in _faults_in(value):
                faults.setdefault(fault.name, fault)
    del faults[outcome.UNEXPLAINED.name]  # it is the absence of known mistakes
    return list(faults.values())


def _faults_in(value: Any) -> Iterator[Fault]:
    """Yield the faults of a fault, a choice, or a tuple or dict of them."""
    if isinstance(value, Fault):
        yield value
    elif isinstance(value, Choice) and value.fault is not None:
        yield value.fault
    elif isinstance(value, tuple | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _faults_in(member)
