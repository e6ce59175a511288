"""Findings: other inputs at evaluation than in training."""

from collections.abc import Iterator

from bnrun.health.evidence import Evidence
from bnrun.health.finding import Finding, Kind

KINDS: tuple[Kind, ...] = ()


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    return iter(())
