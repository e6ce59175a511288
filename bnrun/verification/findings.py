"""From outcomes to findings: one diagnosis for each fault, and the checks that follow from it."""

from collections.abc import Iterable, Sequence
from typing import Any

from bnrun.verification.judge.checks import CheckKind
from bnrun.verification.judge.outcome import Case, Outcome
from bnrun.verification.known import batch_statistics, gradients, kept, momentum, normalization
from bnrun.verification.known.fault import Choice, Fault
from bnrun.verification.recipe import deviations
from bnrun.verification.report import Check, Found
from bnrun.verification.situations import LAYOUTS


def _names(*lists: Sequence[Choice[Any]]) -> set[str]:
    return {choice.fault.name for choices in lists for choice in choices if choice.fault}


# Faults that both training and predicting could have, or both moving statistics; and those that
# an input of any rank could show.
_IN_EVERY_PART = _names(
    normalization.CENTRING, normalization.DENOMINATOR, normalization.EPS, normalization.AFFINE,
    gradients.GAMMA_GRADIENT, gradients.BETA_GRADIENT, momentum.UPDATE,
)  # fmt: skip
_FOR_EVERY_RANK = _IN_EVERY_PART | _names(
    batch_statistics.SPREAD, batch_statistics.TRAINING_SOURCE, batch_statistics.PREDICTING_SOURCE,
    gradients.X_GRADIENT, kept.KEPT_MEAN, kept.KEPT_VAR,
)  # fmt: skip


def check(kind: CheckKind, outcome: Outcome) -> Check:
    """Return a check with its message: why it was skipped, or what it fails from."""
    sentences = [
        f"{fault.says} {fault.mend}" + (f" ({note})" if note else "")
        for fault, note in outcome.faults.items()
    ]
    message = " ".join(sentences) or outcome.reason
    faults = tuple(outcome.faults)
    return Check(kind.name, kind.group, outcome.status, outcome.error, message, faults)


def findings(case: Case, outcomes: Iterable[tuple[CheckKind, Outcome]]) -> list[Found]:
    """Return the faults with the checks that follow from each, in the order of the checks."""
    following: dict[Fault, list[str]] = {}
    seen: dict[Fault, str] = {}
    for kind, outcome in outcomes:
        for fault, note in outcome.faults.items():
            following.setdefault(fault, []).append(kind.name)
            seen[fault] = seen.get(fault) or note
    return [
        Found(fault, _where(case, fault), tuple(names), seen[fault])
        for fault, names in following.items()
    ]


def _where(case: Case, fault: Fault) -> str:
    """Say where alone a mistaken formula is found, if not everywhere that it could be."""
    places: set[tuple[str, int]] = set()
    for rank in case.evidence.ranks:
        for place, known, _ in deviations(case.recipe(rank), case.right):
            if known == fault:
                places.add((place, rank))
    if not places:
        return ""
    said = []
    parts = {place for place, _ in places}
    alone = {
        "training": "in training only",
        "predicting": "when predicting only",
        "mean_update": "the moving mean only",
        "var_update": "the moving variance only",
    }
    if len(parts) == 1 and fault.name in _IN_EVERY_PART:
        said.append(alone.get(next(iter(parts)), ""))
    ranks = {rank for _, rank in places}
    if (
        {2, 4} <= set(case.evidence.ranks)
        and len(ranks & {2, 4}) == 1
        and fault.name in _FOR_EVERY_RANK
    ):
        said.append(f"for {LAYOUTS[next(iter(ranks & {2, 4}))]} only")
    return ", ".join(text for text in said if text)
