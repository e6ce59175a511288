"""Findings: the variance that dropout and its like add before a norm."""

import math
from collections.abc import Iterator, Sequence

from bnrun.health.evidence import Evidence, Mode, NormPlace, distance
from bnrun.health.finding import RECALIBRATE, Finding, Kind, Severity, in_words
from bnrun.health.harm import Harm, find_harm

RATIO = 1.25
"""Variance in training over variance in prediction from which on a norm is listed."""
NEARER = 2.0
"""How many times nearer to the input of training than to that of prediction moving statistics lie
where they hold what is added in training."""

DROPOUT_SHIFT = Kind(
    "dropout-shift",
    "A norm sees another variance in training than in prediction",
    f"the variance of its input is {RATIO} times as large in training as in prediction, or more, "
    "with the norms before it alike in both; an error where predictions suffer, and its moving "
    f"statistics are at least {NEARER:g} times nearer to the input of training",
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
    nearness = [_nearness(norm, modes[norm.name] or "batch") for norm in found]
    holds = max(nearness) >= NEARER
    harm = find_harm(evidence) if holds else None
    shown = ", ".join(f"{in_words(name)}: {ratio:.2f}" for name, ratio in list(ratios.items())[:4])
    yield DROPOUT_SHIFT.finding(
        _severity(nearness, harm),
        list(ratios),
        evidence=f"variance in training over variance in prediction: {shown}"
        f"{f'; {harm.sentence}' if harm else ''}",
        message=f"{_source(evidence, found)} adds variance in training alone"
        f"{_place_of_statistics(nearness)}.",
        fix=f"move it behind the last norm{f'; for these weights, {RECALIBRATE}' if holds else ''}",
        ratios=ratios,
        times_nearer_to_training=max(nearness),
        **(harm.numbers if harm else {}),
    )


def _source(evidence: Evidence, found: Sequence[NormPlace]) -> str:
    """Return what adds variance before norms: dropout layers, or what cannot be seen."""
    drops = list(dict.fromkeys(name for norm in found for name in norm.dropout_before))
    if not drops:
        return "Something (F.dropout, DropPath, noise)"
    p = max(layer.dropout for layer in evidence.layers if layer.name in drops)
    named = ", ".join(in_words(name, "layer") for name in drops)
    return f"Dropout ({named}; p = {p:g})"


def _severity(nearness: Sequence[float], harm: Harm | None) -> Severity:
    """Return the severity; `harm` is that of moving statistics that hold the added variance."""
    if harm is not None:
        return "error"
    return "warning" if max(nearness) > 1 / NEARER else "note"


def _place_of_statistics(nearness: Sequence[float]) -> str:
    """Return where the moving statistics lie, as the end of a sentence."""
    if max(nearness) >= NEARER:
        return ", and the moving variance holds it"
    if max(nearness) <= 1 / NEARER:
        return "; the moving variance is that of prediction"
    return "; the moving variance lies between"


def _nearness(norm: NormPlace, mode: Mode) -> float:
    """Return how many times nearer moving statistics lie to training's input than to a mode's."""
    far = [
        float(distance(norm, norm.seen[one].averaged, norm.eps or 1e-12).square().mean().sqrt())
        for one in ("training", mode)
    ]
    return far[1] / far[0] if far[0] > 0 else math.inf


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
