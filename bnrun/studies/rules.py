"""How a claim is decided: rules from an estimate and its interval to a verdict.

A rule looks at the mean over the seeds and at the interval that holds the true mean. It never sees
what was expected.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from bnrun.comparison.estimate import CONFIDENCE, interval, t_quantile
from bnrun.comparison.significance import LEVEL

Verdict = Literal["supported", "contradicted", "not decided"]

MOST_SEEDS = 1_000
"""The most seeds that are proposed to decide what a study did not."""


class Rule(Protocol):
    """Decides from a mean and an interval.

    Attributes:
        kind: the rule's name in `--json`.
        margin: in the unit of the statistic; None where the rule has none.
    """

    kind: ClassVar[str]

    @property
    def margin(self) -> float | None:
        """Return the margin, in the unit of the statistic; None where the rule has none."""

    def decide(self, low: float, high: float) -> Verdict:
        """Return the verdict where the true mean lies between `low` and `high`."""

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""

    def text(self) -> str:
        """Return the rule as half a sentence, after "supported where"."""


@dataclass(frozen=True)
class Direction:
    """The claim says "more" or "faster": the difference is above the margin."""

    kind: ClassVar[str] = "direction"
    margin: float = 0.0

    def decide(self, low: float, high: float) -> Verdict:
        """Compare the interval with the margin."""
        if low > self.margin:
            return "supported"
        return "contradicted" if high < self.margin else "not decided"

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""
        return self.margin, math.inf

    def text(self) -> str:
        """Return the rule as half a sentence."""
        return f"the whole interval is above {self.margin:g}"


@dataclass(frozen=True)
class Equivalence:
    """The claim says "does not change": the difference lies within the margin on both sides."""

    margin: float
    kind: ClassVar[str] = "equivalence"

    def decide(self, low: float, high: float) -> Verdict:
        """Compare the interval with both margins: two one-sided tests at 2.5 %."""
        if -self.margin < low and high < self.margin:
            return "supported"
        outside = low > self.margin or high < -self.margin
        return "contradicted" if outside else "not decided"

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""
        return -self.margin, self.margin

    def text(self) -> str:
        """Return the rule as half a sentence."""
        return f"the whole interval lies within ±{self.margin:g}"


@dataclass(frozen=True)
class Law:
    """The claim predicts a number: the true mean is this number, within a tolerance.

    The interval need not hold the number itself. Laws are those of infinite width or of many
    examples; with enough seeds, every small departure from them shows.

    Attributes:
        number: what is predicted; not 0.
        tolerance: how far off the mean may be, as a share of the number.
    """

    number: float
    tolerance: float = 0.1
    kind: ClassVar[str] = "law"

    @property
    def margin(self) -> float:
        """Return the tolerance in the unit of the number."""
        return self.tolerance * abs(self.number)

    def decide(self, low: float, high: float) -> Verdict:
        """Compare the interval with the number and the tolerance on both sides of it."""
        return Equivalence(self.margin).decide(low - self.number, high - self.number)

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""
        return self.number - self.margin, self.number + self.margin

    def text(self) -> str:
        """Return the rule as half a sentence."""
        return f"the whole interval lies within {self.number:g} ± {self.margin:.2g}"


@dataclass(frozen=True)
class Exact:
    """The claim is an identity: the largest relative error in float64 is rounding.

    Above `WRONG` it is contradicted. Between the two bounds a person must look.
    """

    kind: ClassVar[str] = "exact"
    ROUNDING: ClassVar[float] = 1e-10
    WRONG: ClassVar[float] = 1e-6

    @property
    def margin(self) -> float:
        """Return the largest error that counts as rounding."""
        return self.ROUNDING

    def decide(self, low: float, high: float) -> Verdict:
        """Compare the largest error, which is both ends of its interval, with the two bounds."""
        if high <= self.ROUNDING:
            return "supported"
        return "contradicted" if low > self.WRONG else "not decided"

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""
        return 0.0, self.ROUNDING

    def text(self) -> str:
        """Return the rule as half a sentence."""
        return f"the largest relative error in float64 is at most {self.ROUNDING:.0e}"


@dataclass(frozen=True)
class Definition:
    """The claim says what something is: a check of the definition gives 1 (true) or 0 (false)."""

    kind: ClassVar[str] = "definition"
    margin: ClassVar[None] = None

    def decide(self, low: float, high: float) -> Verdict:
        """Return what the check gave."""
        if low == high == 1:
            return "supported"
        return "contradicted" if low == high == 0 else "not decided"

    def zone(self) -> tuple[float, float]:
        """Return between which values the whole interval supports the claim."""
        return 1.0, 1.0

    def text(self) -> str:
        """Return the rule as half a sentence."""
        return "the check of the definition holds"


@dataclass(frozen=True)
class Judgment:
    """What a rule made of the values of one part of a claim.

    Attributes:
        verdict: adjusted for the number of parts (see `judge`).
        estimate: the mean of the values; None without values, or where one is not finite.
        ci95: its 95 % interval, not adjusted; None where one value decides, or is all there is.
        n: how many seeds gave a value.
        seeds_needed: how many seeds with the same mean and spread would decide, at the confidence
            that the verdict has. None where it is decided, where fewer than two values are there,
            or where `MOST_SEEDS` would not do.
    """

    verdict: Verdict
    estimate: float | None
    ci95: tuple[float, float] | None
    n: int
    seeds_needed: int | None = None


def judge(rules: Mapping[str, Rule], values: Mapping[str, Sequence[float]]) -> dict[str, Judgment]:
    """Judge the parts of one claim together.

    Each statistical part is decided by an interval of its mean. Their confidence is adjusted as
    Holm's procedure adjusts p values (1979): as long as some part is decided at 1 - .05 / (parts
    that are left), it is taken out, and the others are judged at the next level. So a claim of
    several parts has at most 5 % probability of any false verdict.

    Args:
        rules: by the part's name.
        values: one value a seed, by the part's name; one value in all for an exact rule or a
            definition. A part without values is not decided; nor is the mean of values of which
            one is not finite.
    """
    verdicts: dict[str, Verdict] = {}
    left = [part for part in rules if values.get(part)]
    confidence = CONFIDENCE
    while left:
        confidence = 1 - LEVEL / len(left)
        outcomes = {part: _decide(rules[part], values[part], confidence) for part in left}
        decided = {part: one for part, one in outcomes.items() if one != "not decided"}
        if not decided:
            break
        verdicts |= decided
        left = [part for part in left if part not in decided]
    return {
        part: _judgment(rule, values.get(part, ()), verdicts.get(part, "not decided"), confidence)
        for part, rule in rules.items()
    }


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on a claim from those on its parts.

    It is contradicted where a part is, and supported where all parts are.
    """
    if "contradicted" in verdicts:
        return "contradicted"
    return "not decided" if "not decided" in verdicts or not verdicts else "supported"


def _is_single(rule: Rule) -> bool:
    """Return whether one value decides, which has no spread."""
    return isinstance(rule, Exact | Definition)


def _decide(rule: Rule, values: Sequence[float], confidence: float) -> Verdict:
    if _is_single(rule):
        return rule.decide(max(values), max(values))
    bounds = interval(values, confidence) if all(map(math.isfinite, values)) else None
    return "not decided" if bounds is None else rule.decide(*bounds)


def _judgment(rule: Rule, values: Sequence[float], verdict: Verdict, confidence: float) -> Judgment:
    """Return the judgment of a part; `confidence` is that of the last level it was judged at."""
    if not values:
        return Judgment(verdict, None, None, 0)
    if _is_single(rule):
        return Judgment(verdict, max(values), None, len(values))
    if not all(map(math.isfinite, values)):
        return Judgment(verdict, None, None, len(values))
    needed = _seeds_needed(rule, values, confidence) if verdict == "not decided" else None
    mean = statistics.fmean(values)
    return Judgment(verdict, mean, interval(values, CONFIDENCE), len(values), needed)


def _seeds_needed(rule: Rule, values: Sequence[float], confidence: float) -> int | None:
    """Return with how many seeds of this mean and spread the rule would decide."""
    if len(values) < 2:
        return None
    mean, deviation = statistics.fmean(values), statistics.stdev(values)

    def decides(n: int) -> bool:
        half: float = t_quantile(confidence, n - 1) * deviation / n**0.5
        return rule.decide(mean - half, mean + half) != "not decided"

    low, high = len(values), len(values) + 1
    while not decides(high):
        low, high = high, 2 * high
        if low > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high if high <= MOST_SEEDS else None
