"""What the evidence says, one file a topic.

A topic is a file with `KINDS`, the kinds of findings that it knows, and `find`, which yields those
that the evidence shows. Topics do not know of each other: which finding explains another is said by
`Kind.follows`, and `find_all` places it.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from types import ModuleType

from bnrun.health.evidence import Evidence
from bnrun.health.finding import SEVERITIES, Finding, Kind, Severity
from bnrun.health.findings import (
    batch_size,
    channels,
    dropout,
    freezing,
    inputs,
    loading,
    moving_statistics,
    options,
    other_norms,
    replicas,
    reuse,
    structure,
    tools,
)

TOPICS: tuple[ModuleType, ...] = (
    loading,
    channels,
    moving_statistics,
    inputs,
    dropout,
    reuse,
    batch_size,
    replicas,
    freezing,
    structure,
    options,
    tools,
    other_norms,
)
"""In the order in which findings of one severity are shown: nearer causes first."""

KINDS: dict[str, Kind] = {kind.id: kind for topic in TOPICS for kind in topic.KINDS}
"""All kinds by id."""


def find_all(evidence: Evidence) -> tuple[Finding, ...]:
    """Return all findings: the worst first, each followed by those that it explains."""
    found = [finding for topic in TOPICS for finding in topic.find(evidence)]
    placed = [_placed(one, _cause(one, found)) for one in found]
    ranked = [dataclasses.replace(one, severity=_severity(one, placed)) for one in placed]
    roots = sorted(
        (one for one in ranked if one.under is None), key=lambda one: SEVERITIES.index(one.severity)
    )
    return tuple(shown for root in roots for shown in _with_consequences(root, ranked))


def _placed(finding: Finding, cause: str | None) -> Finding:
    """Return a finding under its cause, if it has one, which may change what it says."""
    about = KINDS[finding.id].about_under
    if cause is None or not about:
        return dataclasses.replace(finding, under=cause)
    return dataclasses.replace(finding, under=cause, message=f"{about}.")


def _cause(finding: Finding, found: Sequence[Finding]) -> str | None:
    """Return the id of the finding that explains another, if any was found."""
    ids = {one.id for one in found if one.explains}
    return next((cause for cause in KINDS[finding.id].follows if cause in ids), None)


def _severity(finding: Finding, found: Sequence[Finding]) -> Severity:
    """Return how bad a finding is: as bad as the worst that follows from it."""
    severities = (one.severity for one in _with_consequences(finding, found))
    return min(severities, key=SEVERITIES.index)


def _with_consequences(cause: Finding, found: Sequence[Finding]) -> Iterator[Finding]:
    """Yield a finding, and those under it at any depth."""
    yield cause
    first = next(one for one in found if one.id == cause.id)
    if cause is first:  # of several findings of one kind, the first carries what follows from it
        for one in found:
            if one.under == cause.id:
                yield from _with_consequences(one, found)
