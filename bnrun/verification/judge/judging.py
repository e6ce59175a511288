"""Judging one check: by what was observed, or by the trouble there was in observing it."""

import re

from bnrun.verification.judge import module
from bnrun.verification.judge.checks import CheckKind
from bnrun.verification.judge.outcome import Case, Outcome, failed, skipped
from bnrun.verification.known import behaviour
from bnrun.verification.situations import LAYOUTS, MAIN_RANKS

NOT_MADE = ("not offered", "not run")


def judge(kind: CheckKind, case: Case) -> Outcome:
    """Judge one check: by what was observed, or by the trouble there was in observing it."""
    evidence = case.evidence
    if kind.rank is not None and kind.rank not in evidence.ranks:
        return _not_taken(kind, case, kind.rank)
    if not evidence.ranks and kind.forward:
        return skipped("no forward pass works")
    if kind.experiment is not None:
        seen = evidence.observations[kind.experiment]
        if seen.trouble in NOT_MADE:
            return skipped(seen.message)
        if seen.trouble is not None:
            return _trouble(case, kind.experiment)
    outcome = kind.judge(case)
    spoilt = case.spoilt
    if spoilt is not None and _of_values(outcome):
        return failed(spoilt, error=outcome.error)
    return outcome


def _of_values(outcome: Outcome) -> bool:
    """Tell whether a check failed for values alone, which NaN or noise can be the reason of."""
    return outcome.status == "fail" and set(outcome.faults) <= {
        behaviour.UNEXPLAINED,
        behaviour.WRONG_LAYOUTS,
        behaviour.STATE_DICT_INCOMPLETE,
        behaviour.COPY_DIFFERS,
        behaviour.DOUBLE_CHANGES,
        behaviour.CANCELLING,
        behaviour.NEVER_TRAINS_AGAIN,
        behaviour.NOT_FINITE_AT_ZERO_VARIANCE,
        behaviour.NOT_REPEATABLE,
    }


def _not_taken(kind: CheckKind, case: Case, rank: int) -> Outcome:
    """Judge an input of a rank with which no forward pass works.

    It is not offered, unless the class asked for the rank when it was built, or takes none at all.
    """
    seen = case.evidence.observations[f"training {rank}"]
    if seen.trouble == "not run":
        return skipped(seen.message)
    asked = case.evidence.offers["asks_rank"] and rank in MAIN_RANKS
    none_taken = not case.evidence.ranks and rank in MAIN_RANKS
    if seen.trouble == "not offered" and not asked and not none_taken:
        return skipped(seen.message)
    if kind.experiment != f"training {rank}":
        return skipped(f"no pass forward and backward works for {LAYOUTS[rank]}")
    other = case.evidence.observations["training 2"]
    if _but_for_numbers(other.message) == _but_for_numbers(seen.message):
        seen = other
    trouble = "raised" if seen.trouble == "not offered" else str(seen.trouble)
    return failed(behaviour.trouble(trouble, seen.message.removeprefix("not taken: ")))


def _but_for_numbers(text: str) -> str:
    """Return a message without the numbers that tell one shape from another."""
    return re.sub(r"[\d ,()]+", " ", text)


def _trouble(case: Case, experiment: str) -> Outcome:
    """Judge an experiment that came to nothing: as following from a known fault, if it does."""
    seen = case.evidence.observations[experiment]
    unregistered = module.unregistered(case)
    if experiment == "double" and case.float64_refused:
        return failed(behaviour.FLOAT64_REFUSED)
    if experiment == "double" and unregistered:
        return failed(*unregistered, note=seen.message)
    return failed(behaviour.trouble(str(seen.trouble), seen.message))
