"""All mistakes and dialects that are known by name, in the order of the lists they stand in."""

from collections.abc import Iterator
from typing import Any

from bnrun.verification.known import (
    batch_statistics,
    behaviour,
    gradients,
    kept,
    modes,
    momentum,
    normalization,
    offers,
)
from bnrun.verification.known.fault import Choice, Fault


def known_faults() -> list[Fault]:
    """Return them, each name once."""
    found: dict[str, Fault] = {}
    for module in (
        batch_statistics,
        normalization,
        gradients,
        kept,
        momentum,
        modes,
        behaviour,
        offers,
    ):
        for value in vars(module).values():
            for fault in _faults_in(value):
                found.setdefault(fault.name, fault)
    del found[behaviour.UNEXPLAINED.name]  # which is that none of them is
    return list(found.values())


def _faults_in(value: Any) -> Iterator[Fault]:
    """Yield the faults of a fault, a choice, or a list or table of them."""
    if isinstance(value, Fault):
        yield value
    elif isinstance(value, Choice) and value.fault is not None:
        yield value.fault
    elif isinstance(value, tuple | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _faults_in(member)
