"""From outcomes to findings: one for each fault, with the checks that fail from it."""

from collections.abc import Iterable

from bnrun.verification.check import Case, Check, Outcome
from bnrun.verification.fault import Fault
from bnrun.verification.recipe import deviations
from bnrun.verification.report import CheckResult, Finding
from bnrun.verification.situations import LAYOUTS, MAIN_RANKS

# Parts that training and predicting both have, or both moving statistics
_IN_BOTH_PLACES = {"centring", "denominator", "eps", "affine", "gamma_gradient", "beta_gradient"}
_OF_ONE_STATISTIC = {
    "mean_update": "the moving mean only",
    "var_update": "the moving variance only",
}
_PLACES = {"training": "in training only", "predicting": "when predicting only"}
_OF_NO_RANK = {"over", "mode", "moves"}
"""Parts of which a mistake may show for images alone, or not at all, by its nature."""


def result(check: Check, outcome: Outcome) -> CheckResult:
    """Return a check with its message: why it was skipped, or what it fails from."""
    sentences = [
        f"{fault.sentence} {fault.fix}" + (f" ({note})" if note else "")
        for fault, note in outcome.faults.items()
    ]
    message = " ".join(sentences) or outcome.reason
    faults = tuple(outcome.faults)
    return CheckResult(check.name, check.group, outcome.status, outcome.error, message, faults)


def findings(case: Case, outcomes: Iterable[tuple[Check, Outcome]]) -> list[Finding]:
    """Return the faults with the checks that fail from each, in the order of the checks."""
    checks: dict[Fault, list[str]] = {}
    seen: dict[Fault, str] = {}
    for check, outcome in outcomes:
        for fault, note in outcome.faults.items():
            checks.setdefault(fault, []).append(check.name)
            seen[fault] = seen.get(fault) or note
    return [
        Finding(fault, _where(case, fault), tuple(names), seen[fault])
        for fault, names in checks.items()
    ]


def _where(case: Case, fault: Fault) -> str:
    """Return the only place where a mistake is found, if it could be in several."""
    found = [
        (deviation.place, deviation.part, rank)
        for rank in case.evidence.ranks
        for deviation in deviations(case.recipe(rank), case.right)
        if deviation.fault == fault
    ]
    places = {place for place, part, _ in found if part in _IN_BOTH_PLACES}
    statistics = {part for _, part, _ in found if part in _OF_ONE_STATISTIC}
    ranks = {rank for _, part, rank in found if part not in _OF_NO_RANK} & set(MAIN_RANKS)
    words = []
    if len(places) == 1:
        words.append(_PLACES[places.pop()])
    if len(statistics) == 1:
        words.append(_OF_ONE_STATISTIC[statistics.pop()])
    if len(ranks) == 1 and set(MAIN_RANKS) <= set(case.evidence.ranks):
        words.append(f"for {LAYOUTS[ranks.pop()]} only")
    return ", ".join(words)
