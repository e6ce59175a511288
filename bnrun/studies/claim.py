"""A claim as data: the sentence, who says it, how it is decided, and what is expected."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bnrun.studies.rules import Exact, Judgment, Rule, Verdict, combined, judge

Confidence = Literal["high", "medium", "low"]
Reading = Literal["read", "summary", "memory"]


@dataclass(frozen=True)
class Source:
    """Who says it, and where.

    Attributes:
        text: authors and title, or the name of a text.
        place: the section, figure or exercise.
        reading: how the source is known: it was `read`, or a `summary` of it; or from `memory`,
            and then no number of it is shown.
        numbers: what the source measured, in words; empty where it has no number.
    """

    text: str
    place: str
    reading: Reading
    numbers: str = ""


@dataclass(frozen=True)
class Part:
    """One part of a claim.

    Attributes:
        name: of a few words.
        rule: how it is decided.
        expected: the verdict that was predicted before the first run.
    """

    name: str
    rule: Rule
    expected: Verdict


@dataclass(frozen=True)
class Claim:
    """A sentence that somebody published, and the experiment that decides it here.

    Attributes:
        id: the stable name, such as `X1`.
        name: a word or two, such as `bias-idle`.
        sentence: what is claimed.
        sources: who says it, or says otherwise.
        statistic: the number that is measured for each seed, with its unit.
        parts: what is decided, one or several.
        confidence: how sure the expectation was.
        differs: what here differs from the sources.
        limits: what a verdict here does not say.
    """

    id: str
    name: str
    sentence: str
    sources: tuple[Source, ...]
    statistic: str
    parts: tuple[Part, ...]
    confidence: Confidence
    differs: str
    limits: str = ""

    @property
    def expected(self) -> Verdict:
        """Return the verdict that the parts' expectations make."""
        return combined([part.expected for part in self.parts])

    @property
    def source(self) -> str:
        """Return who says it, on one line."""
        return "; ".join(f"{one.text}, {one.place}" for one in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as `bnrun claims --json` lists it."""
        return {
            "id": self.id,
            "name": self.name,
            "claim": self.sentence,
            "source": self.source,
            "sources": [dataclasses.asdict(one) for one in self.sources],
            "statistic": self.statistic,
            "differs": self.differs,
            "limits": self.limits,
            "expected": self.expected,
            "confidence": self.confidence,
            "parts": [
                {
                    "name": part.name,
                    "rule": part.rule.kind,
                    "margin": part.rule.margin,
                    "supported_where": part.rule.text(),
                    "expected": part.expected,
                }
                for part in self.parts
            ],
        }


def find_claim(claims: Sequence[Claim], id_: str) -> Claim:
    """Return the claim with an id."""
    return next(claim for claim in claims if claim.id == id_)


Points = Sequence[tuple[float, float]]
"""The points (x, y) of a curve."""


@dataclass(frozen=True)
class Evidence:
    """What a study measured for a claim: all that judging it and drawing it needs.

    Attributes:
        values: for each part one value a seed, or one in all where the rule is exact.
        remark: a sentence with further figures of the same experiment; may be empty.
        curves: what its picture shows beside the values, by name; means over the seeds.
    """

    values: Mapping[str, Sequence[float]]
    remark: str = ""
    curves: Mapping[str, Points] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """What one seed gives: a value for each part of a claim, and curves. See `Evidence`."""

    values: Mapping[str, float]
    curves: Mapping[str, Points] = field(default_factory=dict)


def gathered(claim: "Claim", samples: Sequence[Sample], remark: str = "") -> Evidence:
    """Return the evidence of several seeds. A seed may lack a part, or points of a curve."""
    values = {
        part.name: [one.values[part.name] for one in samples if part.name in one.values]
        for part in claim.parts
    }
    found: dict[str, dict[float, list[float]]] = {}
    for sample in samples:
        for name, points in sample.curves.items():
            for x, y in points:
                found.setdefault(name, {}).setdefault(x, []).append(y)
    curves = {
        name: [(x, statistics.fmean(ys)) for x, ys in sorted(taken.items())]
        for name, taken in found.items()
    }
    return Evidence(values, remark, curves)


@dataclass(frozen=True)
class ClaimResult:
    """A claim, judged.

    Attributes:
        claim: what is claimed.
        judgments: by the part's name.
        remark: see `Evidence`.
        seconds_per_seed: what the whole study took for each seed; 0 where it has none.
    """

    claim: Claim
    judgments: Mapping[str, Judgment]
    remark: str = ""
    seconds_per_seed: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Return the verdict on the claim as a whole."""
        return combined([judgment.verdict for judgment in self.judgments.values()])

    @property
    def is_surprise(self) -> bool:
        """Return whether some part was decided other than expected."""
        judged = ((part, self.judgments[part.name]) for part in self.claim.parts)
        return any(is_surprise(part, judgment) for part, judgment in judged)

    @property
    def surprise(self) -> str:
        """Return the words that follow what was expected; "" where nothing surprised."""
        if not self.is_surprise:
            return ""
        is_whole = self.verdict not in ("not decided", self.claim.expected)
        return "a surprise" if is_whole else "a surprise in a part"

    @property
    def deciding(self) -> tuple[Part, Judgment]:
        """Return the part that the verdict on the claim rests on: the first that has it.

        Of identities, it is the one with the largest error.
        """
        judged = [(part, self.judgments[part.name]) for part in self.claim.parts]
        first, *others = (pair for pair in judged if pair[1].verdict == self.verdict)
        if not isinstance(first[0].rule, Exact):
            return first
        exact = (pair for pair in others if isinstance(pair[0].rule, Exact))
        return max([first, *exact], key=lambda pair: pair[1].estimate or 0.0)

    @property
    def note(self) -> str:
        """Return one or two plain sentences on the verdict."""
        sentences = []
        if len(self.judgments) > 1:
            groups: dict[Verdict, list[str]] = {}
            for name, judgment in self.judgments.items():
                groups.setdefault(judgment.verdict, []).append(name)
            verdicts = "; ".join(f"{key}: {', '.join(names)}" for key, names in groups.items())
            sentences.append(f"{verdicts[0].upper()}{verdicts[1:]}.")
        return " ".join([*sentences, *([self.remark] if self.remark else [])])

    @property
    def needs(self) -> dict[str, tuple[int, float]]:
        """Return how many seeds would decide each open part, and the study's seconds for them.

        The seeds are taken to have the same mean and spread. A part that no number of seeds would
        decide is left out.
        """
        needed = {name: one.seeds_needed for name, one in self.judgments.items()}
        return {
            name: (seeds, seeds * self.seconds_per_seed)
            for name, seeds in needed.items()
            if seeds is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the claim's entry in what `bnrun study --json` prints."""
        part, judgment = self.deciding
        return {
            "id": self.claim.id,
            "name": self.claim.name,
            "claim": self.claim.sentence,
            "source": self.claim.source,
            "rule": part.rule.kind,
            "margin": part.rule.margin,
            "expected": self.claim.expected,
            "verdict": self.verdict,
            "surprise": self.is_surprise,
            "estimate": judgment.estimate,
            "ci95": judgment.ci95,
            "n": judgment.n,
            "note": self.note,
            "parts": [self._part(one, self.judgments[one.name]) for one in self.claim.parts],
        }

    def _part(self, part: Part, judgment: Judgment) -> dict[str, Any]:
        seeds, seconds = self.needs.get(part.name, (None, None))
        return {
            "name": part.name,
            "rule": part.rule.kind,
            "margin": part.rule.margin,
            "expected": part.expected,
            "verdict": judgment.verdict,
            "estimate": judgment.estimate,
            "ci95": judgment.ci95,
            "n": judgment.n,
            "seeds_needed": seeds,
            "seconds_needed": seconds,
        }


def is_surprise(part: Part, judgment: Judgment) -> bool:
    """Return whether a part was decided, and other than expected."""
    return judgment.verdict not in ("not decided", part.expected)


def judge_claim(claim: Claim, evidence: Evidence, seconds_per_seed: float = 0.0) -> ClaimResult:
    """Judge a claim by its own rules."""
    rules = {part.name: part.rule for part in claim.parts}
    judgments = judge(rules, evidence.values)
    return ClaimResult(claim, judgments, evidence.remark, seconds_per_seed)
