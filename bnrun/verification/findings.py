"""From outcomes to findings: one for each fault, with the checks that fail from it."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnrun.verification.check import Case, Check
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome
from bnrun.verification.recipe import deviations
from bnrun.verification.report import CheckResult, Finding, Measurement
from bnrun.verification.smallest_input import example_of

# Parts that training and predicting both have, or both moving statistics
_IN_BOTH_PLACES = {"centring", "denominator", "eps", "affine", "gamma_gradient", "beta_gradient"}
_OF_ONE_STATISTIC = {
    "mean_update": "the moving mean only",
    "var_update": "the moving variance only",
}
_PLACES = {"training": "in training only", "predicting": "when predicting only"}
_OF_NO_RANK = {"over", "mode", "moves"}
"""Parts of which a mistake may show for images alone, or not at all, by its nature."""

_IN_ONE_PLACE = {"averages-deviation", "deviation-corrected-as-variance", "output-clipped"}
"""Faults that show in one place alone by their nature: of a variance; of an outlier."""
PLAIN_ERROR = 1e-3
"""The least error, relative to the largest expected value, that is plain to see in two numbers."""


@dataclass(frozen=True, eq=False)
class JudgedRun:
    """The outcomes of all checks that were made under one engine."""

    measurement: Measurement
    case: Case
    outcomes: list[tuple[Check, Outcome]]

    def name_of(self, check: Check) -> str:
        """Return the name of a check, with the layout of its inputs as the class takes them."""
        return check.name_in(self.case.construction.layouts)

    def results(self) -> Iterator[CheckResult]:
        """Yield the checks, each with a message: why it was skipped, or what it fails from."""
        engine, dtype = self.measurement.engine, self.measurement.dtype
        for check, outcome in self.outcomes:
            sentences = [
                f"{fault.sentence} {fault.fix}" + (f" ({note})" if note else "")
                for fault, note in outcome.faults.items()
            ]
            yield CheckResult(
                self.name_of(check),
                check.group_in(self.case.construction.family),
                outcome.status,
                outcome.error,
                " ".join(sentences) or outcome.reason,
                tuple(outcome.faults),
                engine,
                dtype,
                tuple(outcome.faults.values()),
                example_of(self.case, check),
            )


@dataclass(frozen=True)
class _Sighting:
    """A check that a fault was found in, with what was seen of it, and how large an error."""

    run: JudgedRun
    check: Check
    note: str
    share: float
    error: float | None = None

    @property
    def name(self) -> str:
        return self.run.name_of(self.check)


def findings(runs: Sequence[JudgedRun]) -> list[Finding]:
    """Return the faults with the checks that fail from each, in the order of the checks."""
    seen: dict[Fault, list[_Sighting]] = {}
    for run in runs:
        for check, outcome in run.outcomes:
            for fault, note in outcome.faults.items():
                share = outcome.shares.get(fault, math.inf)
                alone = outcome.error if len(outcome.faults) == 1 else None
                seen.setdefault(fault, []).append(_Sighting(run, check, note, share, alone))
    return [_finding(fault, sightings, len(runs)) for fault, sightings in seen.items()]


def _finding(fault: Fault, sightings: Sequence[_Sighting], engines: int) -> Finding:
    """Return a finding; its evidence is the first that is plain to see, or the plainest."""
    noted = [one for one in sightings if one.note]
    plain = next((one for one in noted if one.share >= PLAIN_ERROR), None)
    evidence = plain or max(noted, key=lambda one: one.share, default=None)
    if evidence is None:
        evidence = _by_error(sightings)
    examples = (example_of(one.run.case, one.check) for one in sightings)
    return Finding(
        fault,
        _where(fault, list(dict.fromkeys(one.run for one in sightings)), engines),
        tuple(dict.fromkeys(one.name for one in sightings)),
        evidence.note if evidence else "",
        evidence.name if evidence else "",
        next((one for one in examples if one is not None and one.differs), None),
    )


def _by_error(sightings: Sequence[_Sighting]) -> _Sighting | None:
    """Return the sighting of the largest error, with that in words; None where none has one."""
    largest = max(
        (one for one in sightings if one.error), key=lambda one: one.error or 0, default=None
    )
    if largest is None or largest.error is None:
        return None
    words = f"an error of {largest.error:.2g}, relative to the largest expected value"
    if math.isinf(largest.error):
        words = "a value that is not finite"
    return dataclasses.replace(largest, note=words)


def _where(fault: Fault, found_in: Sequence[JudgedRun], engines: int) -> str:
    """Return the only place where a fault is found, if it could be in several."""
    words = _places(found_in[0].case, fault)
    if len(found_in) < engines:
        words.append(f"{found_in[0].measurement.engine} only")
    return ", ".join(words)


def _places(case: Case, fault: Fault) -> list[str]:
    if fault.name in _IN_ONE_PLACE:
        return []
    deviating = [
        (deviation.place, deviation.part, rank)
        for rank in case.ranks
        for deviation in deviations(case.recipe(rank), case.right)
        if deviation.fault == fault
    ]
    places = {place for place, part, _ in deviating if part in _IN_BOTH_PLACES}
    statistics = {part for _, part, _ in deviating if part in _OF_ONE_STATISTIC}
    main = set(case.construction.main_ranks)
    ranks = {rank for _, part, rank in deviating if part not in _OF_NO_RANK} & main
    words = []
    if len(places) == 1:
        words.append(_PLACES[places.pop()])
    if len(statistics) == 1:
        words.append(_OF_ONE_STATISTIC[statistics.pop()])
    if len(ranks) == 1 < len(main) and main <= set(case.ranks):
        words.append(f"for {case.construction.layouts[ranks.pop()]} only")
    return words
