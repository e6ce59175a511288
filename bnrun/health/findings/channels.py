"""Findings: channels that are off, and values that are not finite."""

from collections.abc import Iterator, Mapping

from torch import Tensor, isfinite

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import Finding, Kind, in_words
from bnrun.health.findings.moving_statistics import is_untrained

OFF = 1e-3
"""|γ| at or below which a channel is off."""
LEAST_SHARE = 0.1
"""Share of a norm's channels that must be off for a warning."""
MOST_SHOWN = 4
"""Norms whose numbers are shown; more are counted."""
EPS_DECIDES = 0.1
"""Variance, in units of eps, below which eps decides the output: its deviation is under 0.3."""

NOT_FINITE = Kind(
    "not-finite",
    "Values are not finite",
    "any NaN or infinite value in γ, β, moving statistics or outputs, or a negative variance",
)
GAMMA_OFF = Kind(
    "gamma-off",
    "Channels are switched off by γ",
    f"|γ| of {OFF} or less in {LEAST_SHARE:.0%} of the channels",
)
VARIANCE_OFF = Kind(
    "variance-off",
    "Channels hardly vary, and eps decides",
    f"variance below {EPS_DECIDES} eps in {LEAST_SHARE:.0%} of the channels",
    ("not-finite", "inputs-changed", "never-updated", "gamma-off", "large-eps"),
)
KINDS: tuple[Kind, ...] = (NOT_FINITE, GAMMA_OFF, VARIANCE_OFF)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    yield from _not_finite(evidence)
    if not is_untrained(evidence) or not list(evidence.moving_norms()):
        yield from _gamma_off(evidence)
    yield from _variance_off(evidence)


def _not_finite(evidence: Evidence) -> Iterator[Finding]:
    """Find values that are not finite, and the first layer where they arise."""
    wrong = {norm.name: what for norm in evidence.norms if (what := list(_wrong_values(norm)))}
    first = next((layer for layer in evidence.layers if not layer.finite), None)
    if not wrong and first is None:
        return
    shown = [f"{in_words(name)}: {', '.join(what)}" for name, what in list(wrong.items())[:3]]
    origin = "" if first is None else _named(first.name, evidence)
    if first is not None:
        place = "there" if [first.name] == list(wrong) else origin
        shown.append(f"outputs are not finite from {place} on")
    yield NOT_FINITE.finding(
        "error",
        list(wrong) or ([first.name] if first else []),
        evidence="; ".join(shown),
        message=_cause(wrong, origin),
        fix="train on from the last finite checkpoint, at a lower learning rate; where only "
        "moving statistics are not, module.reset_running_stats()",
        first_layer=first.name if first else next(iter(wrong)),
        values=wrong,
    )


def _named(layer: str, evidence: Evidence) -> str:
    is_norm = any(norm.name == layer for norm in evidence.norms)
    return in_words(layer, "norm" if is_norm else "layer")


def _wrong_values(norm: NormPlace) -> Iterator[str]:
    """Yield which of a norm's vectors have values that cannot be, and in how many channels."""
    vectors: Mapping[str, Tensor | None] = {
        "γ": norm.gamma,
        "β": norm.beta,
        "moving mean": norm.moving_mean,
        "moving variance": norm.moving_var,
    }
    for name, vector in vectors.items():
        count = 0 if vector is None else int((~isfinite(vector)).sum())
        if count:
            yield f"{name} not finite in {count} of {norm.channels} channels"
    if norm.moving_var is not None and bool((norm.moving_var < 0).any()):
        count = int((norm.moving_var < 0).sum())
        yield f"moving variance negative in {count} of {norm.channels} channels"


def _cause(wrong: Mapping[str, list[str]], origin: str) -> str:
    """Return the cause; `origin` names the first layer with outputs that are not finite, or ""."""
    if not wrong:
        return f"{origin} makes them: its weights, or an overflow."
    norm, what = next(iter(wrong.items()))
    name = in_words(norm)
    if all("negative" in one for one in what):
        return f"A variance cannot be below 0: {name}'s was not computed as a mean of squares."
    if origin and origin != name:
        return (
            f"They arise in {origin}, before or behind {name}: a batch that was not finite stays."
        )
    return f"{name} holds them: one batch that was not finite stays in a moving average for good."


def _gamma_off(evidence: Evidence) -> Iterator[Finding]:
    """Find channels of which nothing but beta is left."""
    off = {
        norm.name: (int((norm.gamma.abs() <= OFF).sum()), norm.channels)
        for norm in evidence.norms
        if norm.gamma is not None
    }
    found = {name: one for name, one in off.items() if one[0] and one[0] >= LEAST_SHARE * one[1]}
    if not found:
        return
    whole = [name for name, (count, channels) in found.items() if count == channels]
    yield GAMMA_OFF.finding(
        "error" if whole else "warning",
        list(found),
        evidence=_shares(found, f"|γ| ≤ {OFF:g}"),
        message="Nothing of the input passes there but β: these channels are dead or were pruned.",
        fix="remove the channels, or train with less weight decay on γ",
        channels_off=dict(found),
    )


def _variance_off(evidence: Evidence) -> Iterator[Finding]:
    """Find channels whose variance is so small that eps decides the output."""
    off = {}
    for norm in evidence.moving_norms():
        seen = norm.trained
        var = norm.moving_var if seen is None else seen.averaged.var
        if var is not None and norm.eps:
            off[norm.name] = (int((var < EPS_DECIDES * norm.eps).sum()), norm.channels)
    found = {name: one for name, one in off.items() if one[0] and one[0] >= LEAST_SHARE * one[1]}
    if not found:
        return
    whole = [name for name, (count, channels) in found.items() if count == channels]
    eps = next(norm.eps for norm in evidence.norms if norm.name in found)
    yield VARIANCE_OFF.finding(
        "error" if whole else "warning",
        list(found),
        evidence=_shares(found, f"variance < {EPS_DECIDES * (eps or 0):.0e}"),
        message=f"Their variance is far below eps ({eps:g}): they are not normalized, and hardly "
        "vary.",
        fix="look at the layer before: dead ReLUs, inputs scaled twice; or a smaller eps",
        channels_off=dict(found),
        eps=eps,
    )


def _shares(found: Mapping[str, tuple[int, int]], what: str) -> str:
    shown = [
        f"{in_words(name)}: {count} of {channels} channels"
        for name, (count, channels) in found.items()
    ]
    if len(shown) > MOST_SHOWN:
        shown[MOST_SHOWN:] = [f"{len(shown) - MOST_SHOWN} more norms"]
    return f"{what} in {'; '.join(shown)}"
