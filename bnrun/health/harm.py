"""Whether predictions with moving statistics are worse than they could be.

Statistics that are a little off do no harm, and every network that still learns has such. What
counts is whether predictions suffer.
"""

import math
from dataclasses import dataclass

from bnrun.health.evidence import Evidence
from bnrun.health.finding import in_deviations

LEAST_POINTS = 0.01
"""Least gap of two accuracies that counts."""
STANDARD_ERRORS = 2.0
"""A gap counts where it is larger than so many of its standard errors."""
FAR_OUTPUTS = 0.3
"""Without accuracies: distance of outputs that counts, in units of the outputs' deviation."""


@dataclass(frozen=True)
class Harm:
    """What predictions lose with moving statistics, against population ones.

    Attributes:
        sentence: with numbers.
        numbers: the same by name.
    """

    sentence: str
    numbers: dict[str, float]


def find_outputs_apart(evidence: Evidence) -> Harm | None:
    """Return how far outputs with moving statistics lie from those with population ones.

    None where that is less than `FAR_OUTPUTS`, or unknown.
    """
    far = evidence.outputs.distances.get("population")
    if far is None or far < FAR_OUTPUTS:  # nan is far
        return None
    outputs = "outputs with moving and with population statistics"
    if not math.isfinite(far):
        return Harm(f"{outputs} are not both finite", {"distance_of_outputs": far})
    return Harm(f"{outputs} lie {in_deviations(far)} apart", {"distance_of_outputs": far})


def find_harm(evidence: Evidence) -> Harm | None:
    """Return what predictions lose with moving statistics; None where that is nothing, or unknown.

    With targets, population statistics must predict better by at least `LEAST_POINTS` and by more
    than chance would have it. Without, or where no statistics predict better than guessing, outputs
    must be `FAR_OUTPUTS` apart.
    """
    accuracies = evidence.outputs.accuracies
    moving, population = accuracies.get("moving"), accuracies.get("population")
    if moving is not None and population is not None:
        gap, error = population - moving, _standard_error(moving, population, evidence)
        if gap >= LEAST_POINTS and gap > STANDARD_ERRORS * error:
            return Harm(
                f"accuracy {moving:.3f} with moving statistics, {population:.3f} with population "
                "ones",
                {"accuracy_moving": moving, "accuracy_population": population},
            )
        if max(moving, population) > _guessing(evidence) + STANDARD_ERRORS * error:
            return None
    return find_outputs_apart(evidence)


def _standard_error(one: float, other: float, evidence: Evidence) -> float:
    examples = max(evidence.outputs.examples, 1)
    return math.sqrt((one * (1 - one) + other * (1 - other)) / examples)


def _guessing(evidence: Evidence) -> float:
    return 1 / max(evidence.outputs.classes, 1)
