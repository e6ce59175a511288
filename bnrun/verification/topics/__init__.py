"""The checks, by topic. One file holds an experiment, the judge of it, and the faults it can show.

To add a check, write its experiment, a judge with the decorator `check`, and its faults as
constants, all in the file of its topic: nothing else needs to know.
"""

from types import ModuleType
from typing import Any

from bnrun.verification.check import CHECKS as _REGISTERED
from bnrun.verification.check import Check
from bnrun.verification.diagnostic_passes import TRAINING, parts
from bnrun.verification.experiment import Experiment
from bnrun.verification.report import GROUPS
from bnrun.verification.situations import MAIN_RANKS

from bnrun.verification.topics import (  # isort: skip  (in the order of their checks)
    outputs,
    gradients,
    second_order,
    layouts,
    moving,
    memory,
    switching,
    registration,
    copies,
    precision,
    side_effects,
    options,
    refusals,
)

TOPICS: tuple[ModuleType, ...] = (
    *(outputs, gradients, second_order, layouts, moving, memory, switching),
    *(registration, copies, precision, side_effects, options, refusals),
)
CHECKS: tuple[Check, ...] = tuple(sorted(_REGISTERED, key=lambda check: GROUPS.index(check.group)))

FIRST: tuple[Experiment[Any], ...] = (parts, *(TRAINING[rank] for rank in MAIN_RANKS))
"""Experiments that come first: they show which parts, ranks and dtypes the norm has."""

EXPERIMENTS: dict[str, Experiment[Any]] = {
    experiment.name: experiment
    for experiments in (FIRST, *(check.experiments for check in CHECKS))
    for experiment in experiments
}
"""All experiments, by name, in the order in which they are made."""
