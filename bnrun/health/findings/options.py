"""Findings: eps and momentum that differ or are out of range, and half precision."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import Finding, Kind, in_words

EPS_EFFECT = 0.05
"""Change of a layer's scale by another eps, as a share, from which the difference is a warning."""
LARGE_EPS = 0.01
"""The least eps that counts as large."""
EPS_SHARE = 0.1
"""Share of a layer's median variance from which a large eps is one."""
LOST = 0.05
"""Error of a moving statistic by rounding, in deviations, from which it counts as lost."""
KERAS = (1e-3, 0.01)
"""eps and PyTorch's momentum that Keras has by default (its own momentum is 0.99)."""

LARGE = Kind(
    "large-eps",
    "eps is as large as the variance",
    f"eps of at least {LARGE_EPS:g} that is more than {EPS_SHARE:.0%} of the median variance",
)
ZERO_MOMENTUM = Kind("zero-momentum", "With momentum 0 the statistics never move", "momentum is 0")
LOST_STATISTICS = Kind(
    "half-precision-statistics",
    "Half precision loses the moving statistics",
    f"rounding can move a mean by more than {LOST:g} deviations, or a variance is 0 or infinite",
)
EPS_DIFFERS = Kind(
    "eps-differs", "eps differs between layers", "two values of eps among norms of one kind"
)
MOMENTUM_DIFFERS = Kind(
    "momentum-differs",
    "momentum differs between layers",
    "two values of momentum among norms of one kind",
    follows=("zero-momentum", "momentum-reversed"),
)
KINDS: tuple[Kind, ...] = (LARGE, ZERO_MOMENTUM, LOST_STATISTICS, EPS_DIFFERS, MOMENTUM_DIFFERS)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    large = dict(_large_eps(evidence))
    if large:
        yield _large(large)
    yield from _zero_momentum(evidence)
    yield from _half_precision(evidence)
    rest = [norm for norm in evidence.norms if norm.name not in large]
    yield from _eps_differs(rest)
    yield from _momentum_differs(rest)


def _large_eps(evidence: Evidence) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield norms with a large eps: the eps, and the layer's median variance."""
    for norm in evidence.moving_norms():
        assert norm.moving_var is not None
        variance = float(norm.moving_var.median())
        if norm.eps is not None and norm.eps >= max(LARGE_EPS, EPS_SHARE * variance):
            yield norm.name, (norm.eps, variance)


def _large(large: dict[str, tuple[float, float]]) -> Finding:
    name = max(large, key=lambda one: large[one][0])
    eps, variance = large[name]
    return LARGE.finding(
        "error" if eps > variance else "warning",
        large,
        evidence=f"eps of {in_words(name)} is {eps:g}; its median variance is {variance:.3g}",
        message="eps decides the scale in place of the variance: the layer does not normalize. "
        "The second argument of nn.BatchNorm2d is eps, not a number of channels.",
        fix="nn.BatchNorm2d(channels)  # eps=1e-5",
        eps=eps,
        median_variance=variance,
    )


def _zero_momentum(evidence: Evidence) -> Iterator[Finding]:
    norms = list(evidence.moving_norms())
    hit = [norm.name for norm in norms if norm.momentum == 0]
    if hit:
        yield ZERO_MOMENTUM.finding(
            "warning",
            hit,
            evidence=f"momentum is 0 in {len(hit)} of {len(norms)} norms",
            message="In PyTorch momentum is the weight of the new batch: with 0 the moving "
            "statistics never move, while training uses those of each batch.",
            fix="momentum=0.1, or momentum=None for an average over all batches",
            norms=len(hit),
        )


def _half_precision(evidence: Evidence) -> Iterator[Finding]:
    losses = {
        norm.name: loss
        for norm in evidence.moving_norms()
        if (loss := _rounding(norm)) is not None and loss > LOST
    }
    if losses:
        worst = max(losses, key=lambda name: losses[name])
        norm = next(one for one in evidence.norms if one.name == worst)
        dtype = norm.dtypes["moving_mean"]
        yield LOST_STATISTICS.finding(
            "warning",
            losses,
            evidence=f"moving statistics are {dtype}; in {in_words(worst)} rounding can move "
            f"them by {losses[worst]:.2g} deviations",
            message="Updates smaller than the spacing of numbers are lost: the average stops "
            "before it arrives.",
            fix="norm.float()  # after model.half(); torch.autocast keeps them in float32",
            dtype=dtype,
            error=losses[worst] if math.isfinite(losses[worst]) else None,
        )


def _rounding(norm: NormPlace) -> float | None:
    """Return how far rounding can keep moving statistics from the truth, in deviations.

    An average stops where its next update, momentum times the distance, is below half of the
    spacing of numbers. None where the statistics are not in half precision.
    """
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(
        norm.dtypes.get("moving_mean", "")
    )
    if dtype is None or norm.moving_mean is None or norm.moving_var is None:
        return None
    if not bool(norm.moving_var.isfinite().all()) or bool((norm.moving_var <= 0).any()):
        return math.inf
    spacing = norm.moving_mean.abs() * torch.finfo(dtype).eps
    momentum = norm.momentum or 1.0
    return float((spacing / (2 * momentum) / norm.moving_var.sqrt()).max())


def _groups(
    norms: Sequence[NormPlace], value: Callable[[NormPlace], float | None]
) -> Iterator[tuple[float, dict[float, list[NormPlace]]]]:
    """Yield, for each kind of norm with several values of an option, the usual one and the rest."""
    for kind in dict.fromkeys(norm.kind for norm in norms):
        values = {
            norm.name: one
            for norm in norms
            if norm.kind == kind and (one := value(norm)) is not None
        }
        usual, *others = [one for one, _ in Counter(values.values()).most_common()] or [0.0]
        if others:
            yield (
                usual,
                {
                    other: [norm for norm in norms if values.get(norm.name) == other]
                    for other in others
                },
            )


def _eps_differs(norms: Sequence[NormPlace]) -> Iterator[Finding]:
    for usual, others in _groups(norms, lambda norm: norm.eps):
        odd = [norm for group in others.values() for norm in group]
        effect = max(_effect(norm, usual) for norm in odd)
        words = ", ".join(f"{eps:g} in {len(group)}" for eps, group in others.items())
        yield EPS_DIFFERS.finding(
            "warning" if effect > EPS_EFFECT else "note",
            (norm.name for norm in odd),
            evidence=f"eps is {usual:g} in most norms, and {words}; with {usual:g} the scale of a "
            f"layer would change by {effect:.1%}",
            message=f"This is often a sign of ported weights{_keras(usual, *others, place=0)}: the "
            "layer must keep the eps that it was trained with.",
            fix=f"eps={usual:g} in all norms, or the eps of the code that trained them",
            usual=usual,
            others=sorted(others),
            effect=effect,
        )


def _effect(norm: NormPlace, eps: float) -> float:
    """Return by what share another eps would change the median channel's scale."""
    if norm.moving_var is None or norm.eps is None:
        return 0.0
    variance = norm.moving_var.clamp(min=0)
    ratio = ((variance + norm.eps) / (variance + eps).clamp(min=1e-30)).sqrt()
    return float((ratio - 1).abs().median())


def _momentum_differs(norms: Sequence[NormPlace]) -> Iterator[Finding]:
    trained = [norm for norm in norms if norm.training_after_train and norm.momentum != 0]
    for usual, others in _groups(trained, lambda norm: norm.momentum):
        odd = [norm.name for group in others.values() for norm in group]
        words = ", ".join(f"{value:g} in {len(group)}" for value, group in others.items())
        yield MOMENTUM_DIFFERS.finding(
            "note",
            odd,
            evidence=f"momentum is {usual:g} in most norms, and {words}",
            message="Statistics of some layers follow the weights faster than those of others"
            f"{_keras(usual, *others, place=1)}.",
            fix=f"momentum={usual:g} in all norms",
            usual=usual,
            others=sorted(others),
        )


def _keras(*values: float, place: int) -> str:
    """Return a remark where a value is the default of Keras."""
    own = ("1e-3", "0.99, which is 0.01 in PyTorch")[place]
    return f" (Keras has {own})" if KERAS[place] in values else ""
