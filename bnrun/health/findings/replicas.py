"""Findings: gradient accumulation and replicas.

A norm counts each forward pass in training mode. Where it counts several for a step of the
optimizer, its statistics are those of micro-batches, however large the batch of the step.
"""

from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import Finding, Kind

NEAR = 0.02
"""Distance to a whole number, as a share, within which a ratio counts as one."""
UNEVEN = 1.05
"""Ratio of two norms' counts from which they are uneven."""

MICRO_BATCHES = Kind(
    "micro-batches",
    "Statistics are those of micro-batches",
    f"2 or more batches tracked for each step, a whole number within {NEAR:.0%}",
)
OTHER_COUNT = Kind(
    "steps-unlike-batches",
    "The batches tracked are not the steps taken",
    f"batches tracked for each step differ from a whole number by more than {NEAR:.0%}",
)
UNEVEN_COUNTS = Kind(
    "uneven-counts",
    "Some norms were updated more often than others",
    f"counts for each call that differ by a factor of {UNEVEN:g} or more",
    follows=("reused", "two-domains"),
)
KINDS: tuple[Kind, ...] = (MICRO_BATCHES, OTHER_COUNT, UNEVEN_COUNTS)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    counted = [norm for norm in evidence.moving_norms() if norm.batches_tracked]
    if not counted:
        return
    counts = {norm.name: _count(norm) for norm in counted}
    least, most = min(counts.values()), max(counts.values())
    if most >= UNEVEN * least:
        yield _uneven(counts, least, most)
    if evidence.steps:
        yield from _against_steps(evidence.steps, counted, counts)


def _count(norm: NormPlace) -> float:
    """Return the number of forward passes in training that a norm counted."""
    return (norm.batches_tracked or 0) / max(1, norm.calls)


def _uneven(counts: dict[str, float], least: float, most: float) -> Finding:
    more = [name for name, count in counts.items() if count >= UNEVEN * least]
    return UNEVEN_COUNTS.finding(
        "note",
        more,
        evidence=f"batches tracked: {most:.0f} in {len(more)} of {len(counts)} norms, {least:.0f} "
        "in the others",
        message="Activation checkpointing runs a forward pass twice, and updates statistics twice; "
        "a part that was frozen or skipped has fewer updates.",
        fix="model.get_submodule(name).num_batches_tracked  # is it what the part should have?",
        least=least,
        most=most,
    )


def _against_steps(
    steps: int, counted: Sequence[NormPlace], counts: dict[str, float]
) -> Iterator[Finding]:
    ratio = max(counts.values()) / steps
    whole = round(ratio)
    names = [norm.name for norm in counted if counts[norm.name] > (1 + NEAR) * steps]
    said = f"{max(counts.values()):.0f} batches tracked in {steps} steps: {ratio:.3g} a step"
    if whole >= 2 and abs(ratio / whole - 1) <= NEAR:
        yield MICRO_BATCHES.finding(
            "warning",
            names,
            evidence=said,
            message=f"Gradients are accumulated over {whole} micro-batches (or activation "
            "checkpointing runs each twice). Statistics are those of one micro-batch, and the "
            f"moving ones forget {whole} times faster.",
            fix=f"momentum={_momentum(counted, whole)}, or nn.GroupNorm, which has no statistics "
            "of the batch",
            ratio=ratio,
        )
    elif abs(ratio - 1) > NEAR:
        yield OTHER_COUNT.finding(
            "note",
            names or list(counts),
            evidence=said,
            message="Weights that were trained before bring their count along, validation in "
            "train() mode counts, and a part in eval() does not."
            if ratio > 1
            else "In some steps the norms were in eval(), or a replica's count was lost.",
            fix="model.eval() before validation, and model.train() after it",
            ratio=ratio,
        )


def _momentum(norms: Sequence[NormPlace], whole: int) -> str:
    """Return the momentum that forgets as fast per step as the norms' own does per batch."""
    momentum = next((norm.momentum for norm in norms if norm.momentum), 0.1)
    return f"{1 - (1 - momentum) ** (1 / whole):.3g}"
