"""Findings: one module used several times, or never, and two domains.

A norm that is called several times in a forward pass normalizes each call's input with its own
statistics in training, and all of them with one average in evaluation. Where the inputs of the
calls are alike, nothing is lost. The same holds of batches that come from different domains.
"""

from collections.abc import Iterator, Sequence

from bnrun.health.evidence import CallStatistics, Evidence, NormPlace, Statistics, distance
from bnrun.health.finding import Finding, Kind, Severity, in_words
from bnrun.health.findings.freezing import takes_batch

DOMAINS_APART = 0.3
"""Distance between statistics of one call and of all, in deviations, from which they are two."""
BEYOND_NOISE = 2.0
"""How many times farther than a call's own batches lie from one another."""
GAIN = 0.05
"""Accuracy that each batch's own statistics must gain over population ones."""
MIN_BATCHES = 4
"""Batches that are needed to tell that they are of several domains."""
MIN_EXAMPLES = 8
"""Examples in a batch from which its statistics are those of a domain, not of single examples."""

REUSED = Kind("reused", "A norm is called several times in a forward pass", "2 calls or more")
TWO_DOMAINS = Kind(
    "two-domains",
    "A norm is given inputs of two domains",
    f"statistics of calls (or batches) lie more than {DOMAINS_APART:g} deviations from those of "
    f"all, and {BEYOND_NOISE:g} times farther than one call's batches from one another; for "
    f"batches, their own statistics predict better by {GAIN:g} too",
)
NEVER_CALLED = Kind(
    "never-called",
    "A norm is never called",
    "no call of a norm with moving statistics in any pass; a note where a function reads its "
    "moving statistics, or it has counted batches",
)
KINDS: tuple[Kind, ...] = (TWO_DOMAINS, REUSED, NEVER_CALLED)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    reused = [norm for norm in evidence.moving_norms() if norm.calls > 1]
    apart = {norm.name: gap for norm in reused if (gap := _gap_of_calls(norm)) is not None}
    if apart:
        yield _between_calls(evidence, reused, apart)
    elif not reused and (apart := _batches_apart(evidence)):
        yield _between_batches(evidence, apart)
    alike = [norm for norm in reused if norm.name not in apart]
    if alike:
        most = max(norm.calls for norm in alike)
        yield REUSED.finding(
            "note",
            (norm.name for norm in alike),
            evidence=f"called up to {most} times in a forward pass, with statistics that are alike",
            message="Each call updates the moving statistics: they forget so many times faster.",
            fix="Join the inputs (torch.cat) and call it once, or divide its momentum by the "
            "number of calls.",
            calls=most,
        )
    yield from _never_called(evidence)


def _never_called(evidence: Evidence) -> Iterator[Finding]:
    """Find norms that no pass calls, by what may explain it."""
    norms = [
        norm for norm in evidence.moving_norms() if not norm.is_called and not takes_batch(norm)
    ]
    read = [norm for norm in norms if norm.is_read]
    counted = [norm for norm in norms if norm.batches_tracked and norm not in read]
    unused = [norm for norm in norms if norm not in read + counted]
    if read:
        yield _uncalled(
            read,
            "note",
            "a function is given the moving statistics, and the norm's own forward is never called",
            "The audit does not see the inputs of a norm that a function applies.",
            "call the norm itself, in place of F.batch_norm with its values",
        )
    if counted:
        most = max(norm.batches_tracked or 0 for norm in counted)
        yield _uncalled(
            counted,
            "note",
            f"no call in any pass, in evaluation or in training; batches tracked: {most}",
            "They took part when they were trained: inputs of these batches do not reach them.",
            "data that reaches them; or, where they are left over, delete them",
        )
    if unused:
        yield _uncalled(
            unused,
            "warning",
            "no call in any pass, in evaluation or in training; no function reads the moving "
            "statistics",
            "The moving statistics do nothing here: another norm may be called instead.",
            f"call {in_words(unused[0].name)} in forward, or delete it",
        )


def _uncalled(
    norms: Sequence[NormPlace], severity: Severity, evidence: str, message: str, fix: str
) -> Finding:
    return NEVER_CALLED.finding(
        severity,
        (norm.name for norm in norms),
        evidence=f"{len(norms)} norm{'s' if len(norms) > 1 else ''}: {evidence}",
        message=message,
        fix=fix,
        norms=len(norms),
    )


def _between_calls(
    evidence: Evidence, reused: Sequence[NormPlace], apart: dict[str, float]
) -> Finding:
    worst = max(apart, key=lambda name: apart[name])
    calls = next(norm.calls for norm in reused if norm.name == worst)
    return TWO_DOMAINS.finding(
        "error" if _gain(evidence) > GAIN else "warning",
        apart,
        evidence=f"{in_words(worst)} is called {calls} times in a forward pass; statistics of one "
        f"call lie {apart[worst]:.2f} deviations from those of all{_accuracies(evidence)}",
        message="In training each call is normalized with its own statistics, in evaluation all "
        "with their average, which fits none of them.",
        fix="Give each use a norm of its own, or join the inputs (torch.cat) before the norm.",
        calls=calls,
        distance=apart[worst],
    )


def _between_batches(evidence: Evidence, apart: dict[str, float]) -> Finding:
    worst = max(apart, key=lambda name: apart[name])
    return TWO_DOMAINS.finding(
        "error",
        apart,
        evidence=f"the statistics of a batch lie {apart[worst]:.2f} deviations from those of all "
        f"batches (at {in_words(worst)}){_accuracies(evidence)}",
        message="Batches come from different domains. In training each is normalized with its own "
        "statistics, in evaluation with an average that fits none of them.",
        fix="Mix the domains in each batch (shuffle=True), or keep a norm for each domain.",
        distance=apart[worst],
        gain=_gain(evidence),
    )


def _gain(evidence: Evidence) -> float:
    """Return the accuracy that batches' own statistics gain over population ones."""
    accuracies = evidence.outputs.accuracies
    return accuracies.get("batch", 0.0) - accuracies.get("population", 1.0)


def _accuracies(evidence: Evidence) -> str:
    accuracies = evidence.outputs.accuracies
    if "batch" not in accuracies or "population" not in accuracies:
        return ""
    return (
        f"; accuracy {accuracies['batch']:.3f} with each batch's own statistics, "
        f"{accuracies['population']:.3f} with those of all"
    )


def _gap_of_calls(norm: NormPlace) -> float | None:
    """Return how far the calls of a norm lie from their average; None where they are alike."""
    seen = norm.trained
    if seen is None or not seen.calls:
        return None
    by_call = [
        [one for one in seen.calls if one.call == call]
        for call in sorted({one.call for one in seen.calls})
    ]
    merged = [_average(calls) for calls in by_call]
    gap = max(_distance(one, seen.input) for one in merged)
    noise = max(
        _mean([_distance(one.statistics, average) for one in calls])
        for calls, average in zip(by_call, merged, strict=True)
    )
    return gap if gap > max(DOMAINS_APART, BEYOND_NOISE * noise) else None


def _batches_apart(evidence: Evidence) -> dict[str, float]:
    """Return how far batches lie from their average, by norm, where that costs accuracy."""
    if _gain(evidence) <= GAIN or len(evidence.batches) < MIN_BATCHES:
        return {}
    if sorted(evidence.batches)[len(evidence.batches) // 2] < MIN_EXAMPLES:
        return {}
    gaps = {}
    for norm in evidence.moving_norms():
        seen = norm.trained
        if seen is not None and norm.calls == 1:
            gaps[norm.name] = _mean([_distance(one.statistics, seen.input) for one in seen.calls])
    return {name: gap for name, gap in gaps.items() if gap > DOMAINS_APART}


def _average(calls: Sequence[CallStatistics]) -> Statistics:
    """Return the statistics of several calls' inputs, with the variance between them left out."""
    count = sum(one.statistics.count for one in calls)
    weights = [one.statistics.count / count for one in calls]
    statistics = [one.statistics for one in calls]
    mean = sum(weight * one.mean for weight, one in zip(weights, statistics, strict=True))
    var = sum(weight * one.var for weight, one in zip(weights, statistics, strict=True))
    return Statistics(count, mean, var)  # type: ignore[arg-type]  # the sum of nothing is 0


def _distance(one: Statistics, other: Statistics) -> float:
    """Return the distance of statistics, over channels, see `evidence.distance`."""
    return float(distance(one, other).square().mean().sqrt())


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
