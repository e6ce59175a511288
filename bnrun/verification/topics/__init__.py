"""The checks, by topic. One file holds an experiment, the judge of it, and the faults it can show.

To add a check, write its experiment, a judge with the decorator `check`, and its faults as
constants, all in the file of its topic: nothing else needs to know.
"""

from types import ModuleType
from typing import Any

from bnrun.verification.check import CHECKS as _REGISTERED
from bnrun.verification.check import Check
from bnrun.verification.diagnostic_passes import (
    PREDICTING,
    PREDICTING_WITH_GRADIENTS,
    TRAINING,
    parts,
)
from bnrun.verification.experiment import Experiment
from bnrun.verification.report import GROUPS
from bnrun.verification.smallest_input import smallest
from bnrun.verification.subject import Construction

from bnrun.verification.topics import (  # isort: skip  (in the order of their checks)
    outputs,
    gradients,
    second_order,
    handed_gradient,
    independence,
    layouts,
    moving,
    memory,
    long_runs,
    switching,
    without_gradients,
    registration,
    copies,
    resuming,
    precision,
    half_precision,
    side_effects,
    options,
    refusals,
)

TOPICS: tuple[ModuleType, ...] = (
    *(outputs, gradients, second_order, handed_gradient, independence, layouts, moving, memory),
    *(long_runs, switching, without_gradients, registration, copies, resuming, precision),
    *(half_precision, side_effects, options, refusals),
)
CHECKS: tuple[Check, ...] = tuple(sorted(_REGISTERED, key=lambda check: GROUPS.index(check.group)))

_FIRST: tuple[Experiment[Any], ...] = (parts, *TRAINING.values())
EXPERIMENTS: dict[str, Experiment[Any]] = {
    experiment.name: experiment
    for experiments in (_FIRST, *(check.experiments for check in CHECKS), (smallest,))
    for experiment in experiments
}
"""All experiments, by name."""


def first_of(construction: Construction) -> list[Experiment[Any]]:
    """Return what comes first: it shows which parts, ranks and dtypes the norm has."""
    return [parts, *(TRAINING[rank] for rank in construction.main_ranks)]


def checks_of(construction: Construction) -> list[Check]:
    """Return the checks of a family, for the ranks of input that it has."""
    return [
        check
        for check in CHECKS
        if construction.family in check.families
        and (check.rank is None or check.rank in construction.ranks)
    ]


def experiments_of(construction: Construction) -> list[Experiment[Any]]:
    """Return the experiments of a family, in the order in which they are made.

    The smallest input is not among them: it is for what they find.
    """
    without = [
        kind[rank]
        for kind in (TRAINING, PREDICTING, PREDICTING_WITH_GRADIENTS)
        for rank in kind.keys() - set(construction.ranks)
    ]
    experiments = [*first_of(construction)]
    for check in checks_of(construction):
        experiments += [one for one in check.experiments if one not in without]
    return list(dict.fromkeys(experiments))
