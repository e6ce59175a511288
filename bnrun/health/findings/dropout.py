"""Findings: the variance that dropout and its like add before a norm."""

import math
from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence, Mode, NormPlace
from bnrun.health.finding import RECALIBRATE, Finding, Kind, in_words
from bnrun.health.harm import find_harm

RATIO = 1.25
"""Variance in training over variance in prediction from which on a norm is listed."""

DROPOUT_SHIFT = Kind(
    "dropout-shift",
    "A norm sees another variance in training than in prediction",
    f"the variance of its input is {RATIO} times as large in training as in prediction, or more, "
    "with the norms before it alike in both",
)
KINDS: tuple[Kind, ...] = (DROPOUT_SHIFT,)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    norms = list(evidence.moving_norms())
    modes = {norm.name: _mode_alike(norms[:place]) for place, norm in enumerate(norms)}
    ratios = {
        norm.name: ratio
        for norm in norms
        if not _is_frozen(norm)  # its moving variance holds nothing of this
        and (mode := modes[norm.name])
        and (ratio := variance_ratio(norm, mode)) >= RATIO
    }
    if not ratios:
        return
    found = [norm for norm in evidence.norms if norm.name in ratios]
    drops = list(dict.fromkeys(name for norm in found for name in norm.dropout_before))
    p = max((layer.dropout for layer in evidence.layers if layer.name in drops), default=0.0)
    what = "Something (F.dropout, DropPath, noise)"
    if drops:
        named = ", ".join(in_words(name, "layer") for name in drops)
        what = f"Dropout ({named}; p = {p:g})"
    harm = find_harm(evidence)
    shown = ", ".join(f"{in_words(name)} {ratio:.2f}" for name, ratio in list(ratios.items())[:4])
    yield DROPOUT_SHIFT.finding(
        "error" if harm else "warning",
        list(ratios),
        evidence=f"variance in training over variance in prediction: {shown}"
        f"{f'; {harm.sentence}' if harm else ''}",
        message=f"{what} adds variance in training alone, and the moving variance holds it.",
        fix=f"move it behind the last norm; for these weights, {RECALIBRATE}",
        ratios=ratios,
        **(harm.numbers if harm else {}),
    )


def _is_frozen(norm: NormPlace) -> bool:
    """Return whether a norm normalizes with moving statistics in training, and leaves them."""
    return not (norm.training_after_train and norm.is_meant_to_move)


def _mode_alike(before: Sequence[NormPlace]) -> Mode | None:
    """Return in which mode of prediction norms normalize as they do in training.

    With each batch's statistics, or, frozen, with moving ones; None where they are mixed, or one of
    another kind takes statistics of its own.
    """
    frozen = [_is_frozen(norm) for norm in before]
    if all(frozen) and frozen:
        return "moving"
    is_alike = not any(frozen) and all(norm.kind == "batch" for norm in before)
    return "batch" if is_alike else None


def variance_ratio(norm: NormPlace, mode: Mode) -> float:
    """Return the variance of a norm's input in training over that in a mode; 1 if unknown.

    It is the geometric mean over the channels.
    """
    if "training" not in norm.seen or mode not in norm.seen:
        return 1.0
    eps = norm.eps or 1e-12
    training, predicting = (norm.seen[one].averaged.var + eps for one in ("training", mode))
    ratio = float((training / predicting).log().mean().exp())
    return ratio if math.isfinite(ratio) else 1.0
