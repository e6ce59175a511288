"""The result of an audit: the evidence, the findings and the verdict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnrun.health.evidence import Evidence, NormPlace, Statistics, distance
from bnrun.health.finding import Finding

Verdict = Literal["healthy", "ill"]
PARTS = 0.1
"""Distance of a norm's outputs, in their deviations, from which on they count as parted."""


@dataclass(frozen=True)
class Audit:
    """How well the norms of a network are.

    Attributes:
        evidence: what was observed.
        findings: the worst first, each followed by those that it explains.
        seconds: that the audit took.
        printed: lines that the network or the data printed, where they are not shown.
        remarks: sentences on what the audit did not look at.
    """

    evidence: Evidence
    findings: tuple[Finding, ...]
    seconds: float = 0.0
    printed: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Return `ill` where an error was found."""
        return "ill" if any(one.severity == "error" for one in self.findings) else "healthy"

    @property
    def headline(self) -> str:
        """Return the verdict as a person reads it: without a norm, healthy would say too much."""
        if self.verdict == "healthy" and not self.evidence.norms:
            return "no norm to audit"
        return self.verdict

    @property
    def parts_at(self) -> str | None:
        """Return the first norm whose output differs with population statistics, if any does."""
        drift = self.evidence.outputs.drift
        return next((name for name, value in drift.items() if not value < PARTS), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun audit --json` prints."""
        evidence = self.evidence
        return {
            "network": evidence.network,
            "verdict": self.verdict,
            "norms": [_norm(one) for one in evidence.norms],
            "findings": [one.to_dict() for one in self.findings],
            "outputs": {
                "accuracies": _finite(evidence.outputs.accuracies),
                "distances": _finite(evidence.outputs.distances),
                "drift": _finite(evidence.outputs.drift),
                "parts_at": self.parts_at,
                "examples": evidence.outputs.examples,
            },
            "weights": {
                "file": evidence.loading.file,
                "unwrapped": list(evidence.loading.unwrapped),
                "missing": list(evidence.loading.missing),
                "unexpected": list(evidence.loading.unexpected),
            },
            "parameters": evidence.parameters,
            "batches": list(evidence.batches),
            "passes": evidence.passes,
            "remarks": list(self.remarks),
            "seconds": self.seconds,
        }


def _norm(norm: NormPlace) -> dict[str, Any]:
    return {
        "name": norm.name,
        "kind": norm.kind,
        "class": norm.class_name,
        "channels": norm.channels,
        "momentum": norm.momentum,
        "eps": norm.eps,
        "batches_tracked": norm.batches_tracked,
        "distance": distance_of(norm),
        "nearly_off": nearly_off(norm),
        "calls": norm.calls,
    }


def distance_of(norm: NormPlace) -> float | None:
    """Return how far a norm's moving statistics lie from population ones, over its channels.

    It is the root mean square of `evidence.distance`; None where one of the two is not there, or
    not finite.
    """
    seen = norm.trained
    if seen is None or not norm.keeps_moving:
        return None
    value = float(distance(norm, seen.averaged, norm.eps or 0.0).square().mean().sqrt())
    return value if math.isfinite(value) else None


def parts_of_distance(norm: NormPlace) -> tuple[float, float] | None:
    """Return how far a norm's moving mean and its moving deviation lie off, each over its channels.

    See `evidence.distance`; None where one is not there, or not finite.
    """
    seen = norm.trained
    if seen is None or norm.moving_mean is None or norm.moving_var is None:
        return None
    population, eps = seen.averaged, norm.eps or 0.0
    only_mean = Statistics(0, norm.moving_mean, population.var)
    only_var = Statistics(0, population.mean, norm.moving_var)
    mean, deviation = (
        float(distance(one, population, eps).square().mean().sqrt())
        for one in (only_mean, only_var)
    )
    return (mean, deviation) if math.isfinite(mean) and math.isfinite(deviation) else None


NEARLY_OFF = 0.1
"""Share of the layer's median |gamma| at or below which a channel counts as nearly off."""


def nearly_off(norm: NormPlace) -> int | None:
    """Return how many channels are nearly off; None without a gamma."""
    if norm.gamma is None:
        return None
    sizes = norm.gamma.abs()
    return int((sizes <= NEARLY_OFF * sizes.median()).sum())


def _finite(values: Mapping[Any, float]) -> dict[str, float | None]:
    """Return values for JSON, which has no numbers that are not finite: null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
