"""Paired differences between arms, and the verdicts on them.

Two trials of one seed share initial weights and the order of the images, so arms are compared by
the differences within seeds, with Student's paired t test.

Every pair has one primary metric, which is decided before any trial is trained: the test
accuracy with population statistics, or as the network predicts where neither arm keeps moving ones.
With several pairs, the p values of the primary metric are adjusted over them (Holm). The
other metrics form a second family: their p values are adjusted over all of its tests. So each
family has at most 5 % probability of any false difference.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bnrun.comparison.arm_words import in_words
from bnrun.comparison.arms import ArmResult
from bnrun.comparison.estimate import Estimate, estimate, interval
from bnrun.comparison.significance import (
    LEVEL,
    detectable_difference,
    difference_p,
    equivalence_p,
    holm,
)
from bnrun.comparison.trial_metrics import last_value, metric_taken
from bnrun.training_summary import METRICS, Summary

NO_DIFFERENCE = "no difference detected"
NOT_EQUIVALENT = "not shown to be equivalent"

ROUNDING = 1e-12
"""Rounding of the arithmetic on metrics: an interval narrower than this shows no spread at all."""


Pairs = Literal["first", "all"]
PAIRS: tuple[Pairs, ...] = get_args(Pairs)


@dataclass(frozen=True)
class Criteria:
    """How the pairs of a comparison are judged. Decided before its trials are trained.

    `metric` is the primary metric, None for the one that fits each pair. `equivalence` is the
    margin within which arms count as equivalent, in the unit of the primary metric; None asks for
    no such verdict. `survivors` judges a pair although trials of it were lost. `pairs` are those
    that are judged: `all`, or those of the `first` arm with each other one; None, which a plan
    does not keep, leaves it to the number of arms.
    """

    metric: str | None = None
    equivalence: float | None = None
    survivors: bool = False
    pairs: Pairs | None = None


DEFAULT_CRITERIA = Criteria()


@dataclass(frozen=True)
class Equivalence:
    """Whether two arms are equivalent within ±`margin`, by two one-sided t tests at 5 %.

    `p` is at most .05 where `ci90`, the 90 % interval of the difference, lies within the margin.
    """

    margin: float
    ci90: tuple[float, float]
    p: float
    p_adjusted: float

    @property
    def verdict(self) -> str:
        """Return the verdict, by the adjusted p."""
        within = f"equivalent within ±{self.margin:g}"
        return within if self.p_adjusted <= LEVEL else NOT_EQUIVALENT


@dataclass(frozen=True)
class Pair:
    """Two arms on one metric: a's value less b's over the seeds that both completed.

    Attributes:
        metric_a, metric_b: the metric that stands for `metric` in each arm (see `metric_taken`).
        difference: the mean with its 95 % interval, which is never adjusted.
        primary: whether the metric is the primary one of these arms.
        verdict: what the difference shows, in words.
        detected: whether a difference was detected; None where it was not judged.
        p: two-sided p of the paired t test that the mean difference is 0; None if not judged.
        p_adjusted: p adjusted over the `tests` of its family; the verdict goes by it.
        tests: how many tests the family has; 1 means that nothing was adjusted.
        detectable: true difference that would be detected in 4 of 5 comparisons with this n and
            this spread, at the level that Holm's strictest step allows; None if not judged.
        equivalence: None where no margin was given, or it is not in this metric's unit.
        lost: how many trials of the two arms were lost.
        survivors_only: whether it was judged in spite of that.
        not_learned: the arms of which some trial did not learn. A difference shows that, then.
    """

    a: str
    b: str
    metric: str
    metric_a: str
    metric_b: str
    difference: Estimate
    primary: bool
    verdict: str
    detected: bool | None = None
    p: float | None = None
    p_adjusted: float | None = None
    tests: int = 1
    detectable: float | None = None
    equivalence: Equivalence | None = None
    lost: int = 0
    survivors_only: bool = False
    not_learned: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as the document of `bnrun compare --json` holds it."""
        equivalence = self.equivalence
        return {
            "a": self.a,
            "b": self.b,
            "metric": self.metric,
            "metric_a": self.metric_a,
            "metric_b": self.metric_b,
            "primary": self.primary,
            "difference": self.difference.mean,
            "ci95": self.difference.ci95,
            "n": self.difference.n,
            "verdict": self.verdict,
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "adjusted": self.tests > 1,
            "tests": self.tests,
            "detectable": self.detectable,
            "equivalence": equivalence and vars(equivalence) | {"verdict": equivalence.verdict},
            "lost": self.lost,
            "survivors_only": self.survivors_only,
            "not_learned": list(self.not_learned),
        }


def judge_pairs(
    groups: Sequence[Sequence[ArmResult]], seeds: Sequence[int], criteria: Criteria
) -> tuple[Pair, ...]:
    """Return the pairs of arms that the criteria name, on every metric that both have, judged.

    Args:
        groups: the arms; those of one group may be pairs, those of two may not.
        seeds: those of the trials.
        criteria: say which pairs of a group are judged, and how.
    """
    together = [
        (a, b)
        for arms in groups
        for a, b in itertools.combinations(arms, 2)
        if criteria.pairs != "first" or a is arms[0]
    ]
    cases = [case for a, b in together for case in _cases(a, b, len(seeds), criteria)]
    pairs = [_pair(case) for case in cases]
    for is_primary in (True, False):
        family = [
            number
            for number, case in enumerate(cases)
            if case.primary is is_primary and not case.obstacle
        ]
        judged = _judge_family([cases[number] for number in family])
        for number, judgment in zip(family, judged, strict=True):
            pairs[number] = dataclasses.replace(pairs[number], **judgment)
    return tuple(pairs)


@dataclass(frozen=True)
class _Case:
    """Two arms on one metric, before anything was adjusted.

    `values` are the differences, a less b, of the seeds that both completed. `obstacle` is why no
    verdict can be given, empty where one can.
    """

    a: ArmResult
    b: ArmResult
    metric: str
    values: tuple[float, ...]
    primary: bool
    margin: float | None
    planned: int
    obstacle: str
    survivors_only: bool

    @property
    def is_zero(self) -> bool:
        """Return whether there is no difference at all, on any seed."""
        return all(abs(value) < ROUNDING for value in self.values)

    @property
    def p(self) -> float:
        return 1.0 if self.is_zero else difference_p(self.values)

    @property
    def equivalence_p(self) -> float:
        assert self.margin is not None
        return equivalence_p(self.values, self.margin)

    @property
    def lost(self) -> int:
        return len(self.a.lost) + len(self.b.lost)


def _cases(a: ArmResult, b: ArmResult, planned: int, criteria: Criteria) -> Iterator[_Case]:
    """Yield two arms on each metric that both have."""
    primary = criteria.metric or "test_acc_population"
    one_accuracy = not (a.keeps_moving_statistics or b.keeps_moving_statistics)
    if one_accuracy and primary == "test_acc_population":
        primary = "test_acc"
    for metric in METRICS:
        if one_accuracy and metric == "test_acc_population":
            continue  # the same numbers as test_acc
        values = tuple(_differences(a, b, metric))
        if not values:
            continue
        lost = bool(a.lost or b.lost)
        has_margin = (metric == "loss") == (primary == "loss")
        yield _Case(
            a=a,
            b=b,
            metric=metric,
            values=values,
            primary=metric == primary,
            margin=criteria.equivalence if has_margin else None,
            planned=planned,
            obstacle=_obstacle(a, b, values, planned, criteria.survivors),
            survivors_only=lost and criteria.survivors,
        )


def _differences(a: ArmResult, b: ArmResult, metric: str) -> Iterator[float]:
    """Yield a's value less b's for every seed that both completed."""
    others = {trial.seed: trial for trial in b.completed}
    for trial in a.completed:
        if trial.seed in others:
            value_a, value_b = _value(trial, metric), _value(others[trial.seed], metric)
            if value_a is not None and value_b is not None:
                yield value_a - value_b


def _value(trial: Summary, metric: str) -> float | None:
    return last_value(trial, metric_taken(trial, metric))


def _obstacle(
    a: ArmResult, b: ArmResult, values: Sequence[float], planned: int, survivors: bool
) -> str:
    """Return why a pair can't be judged; empty where it can."""
    with_losses = [arm for arm in (a, b) if arm.lost]
    if with_losses and not survivors:
        lost = sum(len(arm.lost) for arm in with_losses)
        of = planned * len(with_losses)
        return f"not judged: {lost} of {of} trial{'s' if of != 1 else ''} lost"
    if len(values) == 1:
        return "one seed: not judged"
    spread = max(values) - min(values)
    if spread < ROUNDING and abs(values[0]) >= ROUNDING:
        return "no spread over seeds: not judged"
    return ""


def _judge_family(family: Sequence[_Case]) -> Iterator[dict[str, Any]]:
    """Yield the fields of each pair that hold its judgment, p values adjusted over the family."""
    with_margin = [number for number, case in enumerate(family) if case.margin is not None]
    adjusted = holm([family[number].equivalence_p for number in with_margin])
    equivalences = {
        number: _equivalence(family[number], p)
        for number, p in zip(with_margin, adjusted, strict=True)
    }
    level = LEVEL / max(len(family), 1)
    for number, p_adjusted in enumerate(holm([case.p for case in family])):
        case = family[number]
        yield {
            "verdict": _verdict(case, p_adjusted),
            "detected": p_adjusted <= LEVEL,
            "p": case.p,
            "p_adjusted": p_adjusted,
            "tests": len(family),
            "detectable": None if case.is_zero else detectable_difference(case.values, level),
            "equivalence": equivalences.get(number),
        }


def _equivalence(case: _Case, p_adjusted: float) -> Equivalence:
    ci90 = interval(case.values, 1 - 2 * LEVEL)
    assert case.margin is not None
    assert ci90 is not None
    return Equivalence(case.margin, ci90, case.equivalence_p, p_adjusted)


def _verdict(case: _Case, p_adjusted: float) -> str:
    if p_adjusted > LEVEL:
        verdict = NO_DIFFERENCE
    else:
        higher = case.a if sum(case.values) > 0 else case.b
        verdict = f"{in_words(higher.arm.name)} higher"
    if case.survivors_only:
        verdict += f" (survivors: {len(case.values)} of {case.planned})"
    return verdict


def _pair(case: _Case) -> Pair:
    """Return the pair of a case, as it stands where it can't be judged."""
    difference = estimate(case.values)
    assert difference is not None
    return Pair(
        a=case.a.arm.name,
        b=case.b.arm.name,
        metric=case.metric,
        metric_a=metric_taken(case.a.completed[-1], case.metric),
        metric_b=metric_taken(case.b.completed[-1], case.metric),
        difference=difference,
        primary=case.primary,
        verdict=case.obstacle,
        lost=case.lost,
        survivors_only=case.survivors_only,
        not_learned=tuple(one.arm.name for one in (case.a, case.b) if one.not_learned),
    )
