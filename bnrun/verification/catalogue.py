"""All mistakes and dialects that are known by name, in the order of the files that define them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from bnrun.verification import outcome
from bnrun.verification.fault import FAMILIES, Choice, Family, Fault
from bnrun.verification.formula import (
    batch_statistics,
    gradients,
    modes,
    moving_statistics,
    normalization,
    spread,
)
from bnrun.verification.subject import Construction
from bnrun.verification.topics import TOPICS

OF_BATCH = (batch_statistics, spread, normalization, gradients, moving_statistics, modes)
"""The formula of batch normalization, with its moving statistics."""


def known_faults(family: Family | None = None) -> list[Fault]:
    """Return those of a family, or of all, each name once."""
    faults: dict[str, Fault] = {}
    for source in _sources(family):
        for value in source.values():
            for fault in _faults_in(value):
                if family is None or not fault.families or family in fault.families:
                    faults.setdefault(fault.name, fault)
    del faults[outcome.UNEXPLAINED.name]  # it is the absence of known mistakes
    return list(faults.values())


def _sources(family: Family | None) -> Iterator[Mapping[str, Any]]:
    """Yield named values that hold the faults of a family, or of all."""
    if family in (None, "batch"):
        yield from (vars(module) for module in OF_BATCH)
    for one in FAMILIES if family is None else (family,):
        if one != "batch":
            yield from (
                vars(Construction(one, last=last).ways(torch.float64)) for last in (True, False)
            )
            yield {"clips": normalization.CLIPS}
            yield {"gamma": gradients.GAMMA_GRADIENT, "beta": gradients.BETA_GRADIENT}
            yield {"terms": gradients.WRONG_TERM}
    yield vars(outcome)
    for topic in TOPICS:  # choices in them are imported
        yield {name: one for name, one in vars(topic).items() if not isinstance(one, Choice)}


def _faults_in(value: Any) -> Iterator[Fault]:
    """Yield the faults of a fault, a choice, or a tuple or dict of them."""
    if isinstance(value, Fault):
        yield value
    elif isinstance(value, Choice) and value.fault is not None:
        yield value.fault
    elif isinstance(value, tuple | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _faults_in(member)
