"""Findings: other inputs at evaluation than in training."""

from collections.abc import Iterator

from bnrun.health.evidence import Evidence, NormPlace, Trial
from bnrun.health.finding import Finding, Kind, in_deviations, in_words
from bnrun.health.findings.moving_statistics import START_WEIGHT, start_weight
from bnrun.health.harm import find_harm, find_outputs_apart
from bnrun.health.trials import AS_GIVEN, FITTED, WORTH_TRYING

GAIN = 4.0
"""How many times better changed inputs must fit than the given ones."""
FITS = 0.3
"""Distance below which changed inputs fit at all."""
GAIN_FITTED = 6.0
"""The same for a scale and a shift that were fitted, which fit better anyway."""
LEAST_CHANNELS = 8
"""Channels of the first norm from which on a fitted scale and shift say something."""
CAUSES = {
    "x / 255": "The inputs are 0..255, and were 0..1 in training.",
    "x * 255": "The inputs are 0..1, and were 0..255 in training.",
    "(x - 0.5) / 0.5": "The inputs are 0..1, and were -1..1 in training.",
    "x * 0.5 + 0.5": "The inputs are -1..1, and were 0..1 in training.",
    "x / 127.5 - 1": "The inputs are 0..255, and were -1..1 in training.",
    "1 - x": "The inputs are inverted: dark is light.",
    "x.flip(1)": "The colour channels are swapped: BGR for RGB.",
    "x.transpose(2, 3)": "Height and width are swapped.",
    "(x - imagenet_mean) / imagenet_std": "The inputs are not normalized, and were in training.",
    "(x / 255 - imagenet_mean) / imagenet_std": "The inputs are 0..255 and not normalized.",
    "x * imagenet_std + imagenet_mean": "The inputs are normalized, and were not in training.",
}

INPUTS_CHANGED = Kind(
    "inputs-changed",
    "Inputs are others than in training",
    f"the first norm's statistics are {WORTH_TRYING} deviations off or more, and fit at least "
    f"{GAIN:.0f} times better, and to {FITS} or less, with inputs scaled, shifted or swapped",
    ("weights-missing", "statistics-missing", "two-domains"),
)
KINDS: tuple[Kind, ...] = (INPUTS_CHANGED,)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    given = next((one for one in evidence.trials if one.change == AS_GIVEN), None)
    norm = next((one for one in evidence.norms if given and one.name == given.norm), None)
    if given is None or norm is None or given.distance < WORTH_TRYING or _is_new(norm):
        return
    fitting = [one for one in evidence.trials if one.distance < FITS]
    others = [one for one in fitting if one.change in CAUSES]
    best = min(others, key=lambda one: one.distance, default=None)
    if best is not None and best.distance * GAIN <= given.distance:
        yield _finding(evidence, given, best, CAUSES[best.change], best.change)
        return
    fitted = next((one for one in fitting if one.change.startswith(FITTED)), None)
    if fitted is None or norm.channels < LEAST_CHANNELS:
        return
    if fitted.distance * GAIN_FITTED <= given.distance:
        change = fitted.change.removeprefix(FITTED)
        yield _finding(evidence, given, fitted, "The inputs are scaled and shifted.", change)


def _is_new(norm: NormPlace) -> bool:
    """Return whether moving statistics are those of a new norm, or partly so: they fit anything."""
    assert norm.moving_mean is not None
    assert norm.moving_var is not None
    is_start = not norm.moving_mean.any() and bool((norm.moving_var == 1).all())
    return is_start or start_weight(norm) >= START_WEIGHT


def _finding(evidence: Evidence, given: Trial, best: Trial, cause: str, change: str) -> Finding:
    harm = find_harm(evidence) or find_outputs_apart(evidence)  # population statistics hide it
    also = f"; {harm.sentence}" if harm else ""
    return INPUTS_CHANGED.finding(
        "error" if harm else "warning",
        [given.norm],
        evidence=f"{in_words(given.norm)}'s moving statistics lie "
        f"{in_deviations(given.distance)} from those of its input, and {best.distance:.2g} "
        f"with {change}{also}",
        message=cause,
        fix=f"x = {change}",
        distance=given.distance,
        distance_changed=best.distance,
        change=change,
        **(harm.numbers if harm else {}),
    )
