"""Faults that follow from another one: what is found of them stands under their cause."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnrun.verification.check import Check
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import UNEXPLAINED, Outcome, explained
from bnrun.verification.topics import handed_gradient, long_runs, second_order
from bnrun.verification.topics.copies import INCOMPLETE
from bnrun.verification.topics.gradients import HOW
from bnrun.verification.topics.memory import REFUSES_GRADIENT
from bnrun.verification.topics.resuming import FORGETS, OLD_PREDICTIONS
from bnrun.verification.topics.switching import NEVER_TRAINS_AGAIN, OLD_STATE

GRADIENT_CHECKS = frozenset(
    (second_order.second.name, *(f"{kind} {how}" for kind in ("gradients", "finite differences")
                                 for how in HOW.values()))
)  # fmt: skip
"""Checks of gradients, by their names without a layout."""


@dataclass(frozen=True)
class Cause:
    """A fault, and what follows from it.

    Attributes:
        fault: the cause.
        consequences: the names of faults that are found because of it.
        checks: the checks that fail from whatever it makes of their numbers.
    """

    fault: Fault
    consequences: frozenset[str] = frozenset()
    checks: frozenset[str] = frozenset()

    def explains(self, fault: Fault, check: Check) -> bool:
        """Return whether a fault is found in a check because of this one."""
        return fault.name in self.consequences or check.base in self.checks


CAUSES = (
    Cause(handed_gradient.NOT_PROPORTIONAL, checks=GRADIENT_CHECKS),
    Cause(
        handed_gradient.WRITES_INTO_GRADIENT, frozenset({REFUSES_GRADIENT.name}), GRADIENT_CHECKS
    ),
    Cause(
        long_runs.CHANGES_LEARNED,
        frozenset(
            fault.name
            for fault in (NEVER_TRAINS_AGAIN, OLD_STATE, OLD_PREDICTIONS, FORGETS, UNEXPLAINED)
        ),
        GRADIENT_CHECKS,
    ),
    Cause(
        long_runs.CHANGES_OUTPUT,
        frozenset({NEVER_TRAINS_AGAIN.name}),
        frozenset({second_order.second.name, f"finite differences {HOW[True]}"}),
    ),
    Cause(INCOMPLETE, frozenset({long_runs.OTHER_STATISTICS.name})),
)


def traced(outcomes: Sequence[tuple[Check, Outcome]]) -> list[tuple[Check, Outcome]]:
    """Return the outcomes of all checks, with causes in place of what follows from them."""
    found = {fault.name: fault for _, outcome in outcomes for fault in outcome.faults}
    causes = [  # as they were found: their sentences may state numbers
        dataclasses.replace(cause, fault=found[cause.fault.name])
        for cause in CAUSES
        if cause.fault.name in found
    ]
    return [(check, _traced(check, outcome, causes)) for check, outcome in outcomes]


def _traced(check: Check, outcome: Outcome, causes: Sequence[Cause]) -> Outcome:
    if outcome.status != "fail" or not causes:
        return outcome
    replaced = dict(_replaced(check, outcome, causes))
    return outcome if replaced == outcome.faults else explained(replaced, outcome.error)


def _replaced(
    check: Check, outcome: Outcome, causes: Sequence[Cause]
) -> Iterator[tuple[Fault, str]]:
    """Yield the faults of an outcome, each as what it follows from, with what was seen of it."""
    for fault, note in outcome.faults.items():
        cause = next((one for one in causes if one.explains(fault, check)), None)
        if cause is None or fault == cause.fault:
            yield fault, note
        else:
            yield cause.fault, ""
