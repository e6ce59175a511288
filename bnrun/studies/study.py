"""A study: a question, its claims, and the experiment that measures what their rules decide by."""

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from bnrun.studies.claim import Claim, ClaimResult, Evidence, find_claim, judge_claim
from bnrun.studies.trainings import Laboratory, TrainEvent

Budget = Literal["quick", "standard", "thorough"]
BUDGETS: tuple[Budget, ...] = get_args(Budget)


@dataclass(frozen=True)
class Measured:
    """The evidence for a claim is there."""

    claim: str
    evidence: Evidence
    seconds: float


StudyEvent = TrainEvent | Measured
Work = Generator[StudyEvent, None, None]


@dataclass(frozen=True)
class Study:
    """A question, with the claims that answer it.

    Attributes:
        name, question: how it is asked for, and what it asks.
        claims: what is decided.
        seeds: how many seeds each budget takes; 0 where nothing is random.
        seconds: what the budget standard took on two idle cores, trainings side by side.
        measure: the experiment: a generator of events, with one `Measured` for each claim whose id
            it is given, in any order. It trains what it needs in the laboratory that it is given.
    """

    name: str
    question: str
    claims: tuple[Claim, ...]
    seeds: Mapping[Budget, int]
    seconds: float
    measure: Callable[[Budget, Collection[str], Laboratory], Work]

    def claim(self, id_: str) -> Claim:
        """Return the claim with an id."""
        return find_claim(self.claims, id_)


@dataclass(frozen=True)
class StudyResult:
    """What a study found, or as much of it as there is.

    Attributes:
        study: the study.
        budget: what it was allowed to take.
        machine: what it ran on.
        evidence: by the claim's id.
        seconds: of all measurements.
        run: the study's directory; None where it has none.
    """

    study: Study
    budget: Budget
    machine: str
    evidence: Mapping[str, Evidence]
    seconds: float
    run: str | None = None

    @property
    def claims(self) -> tuple[ClaimResult, ...]:
        """Return the claims that were measured, judged, in the study's order."""
        seeds = self.study.seeds[self.budget]
        return tuple(
            judge_claim(claim, self.evidence[claim.id], self.seconds / seeds if seeds else 0.0)
            for claim in self.study.claims
            if claim.id in self.evidence
        )

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Return the ids of the claims without evidence."""
        return tuple(claim.id for claim in self.study.claims if claim.id not in self.evidence)

    def with_measured(self, event: Measured) -> "StudyResult":
        """Return the result with the evidence for one more claim."""
        evidence = {**self.evidence, event.claim: event.evidence}
        return replace(self, evidence=evidence, seconds=self.seconds + event.seconds)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun study NAME --json` prints."""
        return {
            "study": self.study.name,
            "question": self.study.question,
            "budget": self.budget,
            "seeds": self.study.seeds[self.budget],
            "seconds": round(self.seconds, 3),
            "machine": self.machine,
            "run": self.run,
            "claims": [result.to_dict() for result in self.claims],
            "unfinished": list(self.unfinished),
        }


def plan(study: Study, budget: Budget, machine: str) -> StudyResult:
    """Return the result of a study that has measured nothing yet."""
    return StudyResult(study, budget, machine, {}, 0.0)


def run_study(
    start: StudyResult, laboratory: Laboratory, claims: Collection[str] | None = None
) -> Generator[StudyEvent, None, StudyResult]:
    """Measure the claims without evidence; yield events, and return the result.

    Args:
        start: what was found so far.
        laboratory: trains the trials of the study, and keeps them.
        claims: ids of those to measure; None measures all.

    Raises:
        BnrunError: (while iterating) the data cannot be read, or a training failed.
    """
    result = start
    ids = [id_ for id_ in start.unfinished if claims is None or id_ in claims]
    for event in start.study.measure(start.budget, ids, laboratory):
        yield event
        if isinstance(event, Measured):
            result = result.with_measured(event)
    return result
