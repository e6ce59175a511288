"""Findings: the variance that dropout adds before a norm."""

import math
from collections.abc import Iterator

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import RECALIBRATE, Finding, Kind
from bnrun.health.harm import find_harm

RATIO = 1.25
"""Variance in training over variance in prediction from which on a norm is listed."""

DROPOUT_SHIFT = Kind(
    "dropout-shift",
    "Dropout shifts the variance that a norm sees",
    f"the variance of its input is {RATIO} times as large in training as in prediction, or more, "
    "behind a layer that drops values",
)
KINDS: tuple[Kind, ...] = (DROPOUT_SHIFT,)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    ratios = {
        norm.name: ratio
        for norm in evidence.moving_norms()
        if norm.dropout_before and (ratio := variance_ratio(norm)) >= RATIO
    }
    if not ratios:
        return
    found = [norm for norm in evidence.norms if norm.name in ratios]
    drops = list(dict.fromkeys(name for norm in found for name in norm.dropout_before))
    p = max((layer.dropout for layer in evidence.layers if layer.name in drops), default=0.0)
    harm = find_harm(evidence)
    shown = ", ".join(f"{name} {ratio:.2f}" for name, ratio in list(ratios.items())[:4])
    yield DROPOUT_SHIFT.finding(
        "error" if harm else "warning",
        list(ratios),
        evidence=f"variance in training over variance in prediction: {shown}"
        f"{f'; {harm.sentence}' if harm else ''}",
        message=f"Dropout ({', '.join(drops)}; p = {p:g}) adds variance in training alone, and the "
        "moving variance holds it.",
        fix=f"move dropout behind the last norm; for these weights, {RECALIBRATE}",
        ratios=ratios,
        **(harm.numbers if harm else {}),
    )


def variance_ratio(norm: NormPlace) -> float:
    """Return the variance of a norm's input in training over that in prediction; 1 if unknown.

    It is the geometric mean over the channels, with batch statistics in both.
    """
    if "training" not in norm.seen or "batch" not in norm.seen:
        return 1.0
    eps = norm.eps or 1e-12
    training, predicting = (norm.seen[mode].averaged.var + eps for mode in ("training", "batch"))
    ratio = float((training / predicting).log().mean().exp())
    return ratio if math.isfinite(ratio) else 1.0
