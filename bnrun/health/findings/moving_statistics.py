"""Findings: moving statistics that were never updated, lag behind, or remember too little."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from torch import ones_like, stack

from bnrun.health.evidence import Evidence, NormPlace
from bnrun.health.finding import RECALIBRATE, Finding, Kind, Severity, in_deviations, in_words
from bnrun.health.harm import Harm, find_harm
from bnrun.health.report import distance_of

LAGS = 0.1
"""Distance of a norm's moving statistics from population ones from which it is listed."""
FAR = 0.5
"""Distance from which on it is a warning, though predictions do not suffer."""
REVERSED = 0.5
"""Momentum from which on it seems to be meant as the weight of the old average."""
USUAL_MOMENTUM = 0.1
"""PyTorch's default, for where the other way round makes no sense: of 1 that is 0."""
START_WEIGHT = 0.05
"""Weight of the starting values, 0 and 1, in a moving average from which on they count."""
FORGOTTEN = 0.01
"""Weight of the starting values at which they no longer count."""
NOISE = 0.1
"""Expected error of a moving mean, in deviations, from which on its memory is too short."""
QUIET = 0.03
"""Expected error that the momentum of a fix leads to."""
BY_CHANCE = 2.0
"""Standard errors of the audited values' own mean from which on a distance says something."""
ALIKE = 2.0
"""A distance within this factor of the expected noise is explained by it."""

UNTRAINED = Kind(
    "untrained",
    "The network is as it was built",
    "all moving means 0, moving variances 1, γ 1 and β 0, and no weights were given",
)
NEVER_UPDATED = Kind(
    "never-updated",
    "Moving statistics were never updated",
    "moving mean 0 and moving variance 1 in every channel",
    ("statistics-missing", "weights-missing", "not-finite", "zero-momentum"),
)
REVERSED_MOMENTUM = Kind(
    "momentum-reversed",
    "Momentum is meant the other way round",
    f"momentum of {REVERSED} or more; an error where predictions suffer, and the expected error of "
    f"a moving mean is {NOISE} deviations or more, and the distance within a factor of "
    f"{ALIKE:.0f} of it",
)
UNFINISHED = Kind(
    "average-unfinished",
    "The starting values 0 and 1 are still in the moving statistics",
    f"(1 - momentum)^(batches tracked) is {START_WEIGHT} or more",
    ("never-updated", "two-domains", "inputs-changed", "not-finite"),
)
SHORT_MEMORY = Kind(
    "memory-too-short",
    "Moving statistics remember too few noisy batches",
    f"the expected error of a moving mean is {NOISE} deviations or more, the distance is within a "
    f"factor of {ALIKE:.0f} of it, and predictions suffer",
    (
        "never-updated",
        "momentum-reversed",
        "average-unfinished",
        "two-domains",
        "inputs-changed",
        "too-few-values",
    ),
)
STALE = Kind(
    "stale",
    "Moving statistics lag behind the weights",
    f"distance {LAGS} or more in a norm, and population statistics predict better; or a distance "
    f"of {FAR} or more",
    (
        "not-finite",
        "never-updated",
        "statistics-missing",
        "weights-missing",
        "two-domains",
        "inputs-changed",
        "zero-momentum",
        "momentum-reversed",
        "average-unfinished",
        "memory-too-short",
        "statistics-frozen",
        "one-value-per-channel",
        "too-few-values",
    ),
    about_under="Moving statistics do not fit these inputs",
)
KINDS: tuple[Kind, ...] = (
    UNTRAINED,
    NEVER_UPDATED,
    REVERSED_MOMENTUM,
    UNFINISHED,
    SHORT_MEMORY,
    STALE,
)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    norms = list(evidence.moving_norms())
    if not norms:
        return
    if is_untrained(evidence):
        yield UNTRAINED.finding(
            "note",
            [norm.name for norm in norms],
            evidence="moving mean 0, moving variance 1, γ 1 and β 0 in every norm",
            message="No weights were trained or loaded: its layers and options are judged, and not "
            "its moving statistics.",
            fix="bnrun audit NETWORK --weights FILE",
        )
        yield from _reversed(norms, None)
        return
    harm = find_harm(evidence)
    yield from _never_updated(norms, evidence)
    yield from _reversed(norms, harm)
    yield from _unfinished(norms, harm, evidence)
    yield from _lagging(norms, harm)


def is_untrained(evidence: Evidence) -> bool:
    """Return whether a network is as it was built: nothing in its norms has moved."""
    if evidence.loading.file or evidence.steps:
        return False
    return all(
        _is_start(norm)
        and not norm.batches_tracked
        and (norm.gamma is None or bool(((norm.gamma == 1) | (norm.gamma == 0)).all()))
        and (norm.beta is None or not bool(norm.beta.any()))
        for norm in evidence.moving_norms()
    )


def _is_start(norm: NormPlace) -> bool:
    """Return whether moving statistics are still those of a new norm."""
    assert norm.moving_mean is not None
    assert norm.moving_var is not None
    return not norm.moving_mean.any() and bool((norm.moving_var == 1).all())


def _never_updated(norms: Sequence[NormPlace], evidence: Evidence) -> Iterator[Finding]:
    """Find norms whose moving statistics are those of a new norm: 0 and 1."""
    found = [norm for norm in norms if _is_start(norm) and norm.is_called]
    if not found:
        return
    tracked = max(norm.batches_tracked or 0 for norm in found)
    homes = {norm.statistics_home for norm in found}
    message = "They were in eval() whenever the network was trained, or momentum is 0."
    fix = f"model.train() before training; for these weights, {RECALIBRATE}"
    if homes == {"attribute"}:
        message = "They are plain attributes: state_dict() leaves them out, and loading them, too."
        fix = 'self.register_buffer("running_mean", torch.zeros(num_features))'
    elif tracked and all(norm.momentum == 0 for norm in found):
        message = "Momentum is 0: a new batch has no weight."
        fix = "momentum=0.1"
    elif tracked:
        message = f"{tracked} batches were counted, yet nothing has moved: they were reset."
    yield NEVER_UPDATED.finding(
        "error",
        [norm.name for norm in found],
        evidence=f"moving mean 0 and moving variance 1 in every channel of {len(found)} of "
        f"{len(norms)} norms; batches tracked: {tracked}",
        message=message,
        fix=fix,
        norms=len(found),
        batches_tracked=tracked,
    )


def _reversed(norms: Sequence[NormPlace], harm: Harm | None) -> Iterator[Finding]:
    """Find momentum that looks like the weight of the old average."""
    found = [norm for norm in norms if (norm.momentum or 0) >= REVERSED]
    if not found:
        return
    explains = any(_is_noise(norm) for norm in found)
    shown_harm = harm if explains else None
    momenta = sorted({norm.momentum or 0.0 for norm in found}, reverse=True)
    momentum = momenta[0]
    finding = REVERSED_MOMENTUM.finding(
        "error" if shown_harm else "warning",
        [norm.name for norm in found],
        evidence=f"momentum {momentum:g}: the last batch alone weighs {momentum:.0%} of the moving "
        f"average{_also(shown_harm)}",
        message="PyTorch's momentum is the weight of the new batch; elsewhere it is that of the "
        "old average.",
        fix=", ".join(
            f"momentum={_turned(one):.4g}{f' in place of {one:g}' if len(momenta) > 1 else ''}"
            for one in momenta
        ),
        momentum=momentum,
        **_numbers(shown_harm),
    )
    yield dataclasses.replace(finding, explains=explains or harm is None)


def _is_noise(norm: NormPlace) -> bool:
    """Return whether the noise of single batches explains how far moving statistics lie off."""
    noise = expected_noise(norm)
    return noise >= NOISE and (distance_of(norm) or 0.0) <= ALIKE * noise


def _turned(momentum: float) -> float:
    """Return a momentum the other way round, or the usual one where neither is usable."""
    return 1 - momentum if REVERSED < momentum < 1 else USUAL_MOMENTUM


def _unfinished(
    norms: Sequence[NormPlace], harm: Harm | None, evidence: Evidence
) -> Iterator[Finding]:
    """Find moving averages in which the starting values still count."""
    found = [
        (norm, weight)
        for norm in norms
        if not _is_start(norm) and (weight := start_weight(norm)) >= START_WEIGHT
    ]
    if not found or (evidence.has_data and harm is None):
        return
    norm, weight = max(found, key=lambda one: one[1])
    tracked, momentum = norm.batches_tracked or 0, norm.momentum or 0.0
    steps = math.ceil(math.log(FORGOTTEN) / math.log1p(-momentum))
    enough = 1 - FORGOTTEN ** (1 / tracked)
    counted = f"{tracked} batch{'' if tracked == 1 else 'es'}"
    more = f"{steps} batches with momentum {momentum:g}"
    fix = more if enough >= REVERSED else f"momentum={enough:.2g} for {counted}, or {more}"
    severity: Severity = "error" if harm else "warning"
    yield UNFINISHED.finding(
        severity,
        [one.name for one, _ in found],
        evidence=f"{weight:.0%} of {in_words(norm.name)}'s moving statistics are the starting "
        f"values: {counted}, momentum {momentum:g}{_also(harm)}",
        message="Too few batches for this momentum.",
        fix=f"{fix}; for these weights, {RECALIBRATE}",
        start_weight=weight,
        batches_tracked=tracked,
        momentum=momentum,
        momentum_that_would_do=enough,
        batches_that_would_do=steps,
        **_numbers(harm),
    )


def start_weight(norm: NormPlace) -> float:
    """Return the weight of the starting values in a norm's moving statistics; 0 if unknown."""
    if not norm.batches_tracked or not norm.momentum or not norm.momentum < 1:
        return 0.0
    return float((1 - norm.momentum) ** norm.batches_tracked)


def _lagging(norms: Sequence[NormPlace], harm: Harm | None) -> Iterator[Finding]:
    """Find statistics that are not those of the weights, and say whether noise explains it."""
    distances = {norm.name: distance_of(norm) for norm in norms}
    far = [norm for norm in norms if (distances[norm.name] or 0.0) >= max(LAGS, _chance(norm))]
    worst = max(far, key=lambda norm: distances[norm.name] or 0.0, default=None)
    largest = 0.0 if worst is None else distances[worst.name] or 0.0
    if worst is None or (harm is None and largest < FAR):
        return
    noise = {norm.name: expected_noise(norm) for norm in far}
    noisy = [norm for norm in far if _is_noise(norm)]
    if harm is not None and len(noisy) > len(far) / 2:
        yield _short_memory(noisy, noise, distances, harm)
        return
    where = (
        f"{in_words(worst.name)}'s moving statistics lie {in_deviations(largest)} from those of "
        "its input"
    )
    yield STALE.finding(
        "error" if harm else "warning",
        [norm.name for norm in far],
        evidence=f"{where}{_also(harm)}",
        message="They are averages over batches that earlier weights have produced.",
        fix=_fix_of_stale(far),
        distance=largest,
        **_numbers(harm),
    )


def _chance(norm: NormPlace) -> float:
    """Return the distance that few values have from what they were drawn from, by chance."""
    seen = norm.trained
    return 0.0 if seen is None else BY_CHANCE / math.sqrt(seen.input.count)


def _short_memory(
    noisy: Sequence[NormPlace],
    noise: dict[str, float],
    distances: dict[str, float | None],
    harm: Harm,
) -> Finding:
    worst = max(noisy, key=lambda norm: noise[norm.name])
    momentum = worst.momentum or 0.0
    single = noise[worst.name] / math.sqrt(momentum / (2 - momentum))
    ratio = (QUIET / single) ** 2
    enough = 2 * ratio / (1 + ratio)
    return SHORT_MEMORY.finding(
        "error",
        [norm.name for norm in noisy],
        evidence=f"momentum {momentum:g} averages some {(2 - momentum) / momentum:.0f} batches: an "
        f"expected error of {noise[worst.name]:.2g} deviations in {in_words(worst.name)}, and "
        f"{distances[worst.name]:.2g} was found{_also(harm)}",
        message="Small batches are noisy, and the average is over too few of them.",
        fix=f"momentum={enough:.2g}; for these weights, {RECALIBRATE}",
        expected_error=noise[worst.name],
        momentum=momentum,
        momentum_that_would_do=enough,
        **_numbers(harm),
    )


def expected_noise(norm: NormPlace) -> float:
    """Return the error to expect of a moving mean, in units of the population's deviation.

    It is the spread of the batches' means, times sqrt(m / (2 - m)) for momentum m: batches are
    taken to be like those of training. It is 0 where it is not known.
    """
    seen = norm.trained
    if seen is None or not norm.momentum or len(seen.calls) < 2:
        return 0.0
    means = stack([one.statistics.mean for one in seen.calls])
    deviation = (seen.input.var + (norm.eps or 0.0)).sqrt()
    spread = means.std(0) / deviation.clamp_min(1e-12 * float(ones_like(deviation).sum()))
    single = float(spread.square().mean().sqrt())
    return single * math.sqrt(norm.momentum / (2 - norm.momentum))


def _fix_of_stale(norms: Sequence[NormPlace]) -> str:
    """Return what to do: new statistics now, and what keeps them fresh in training."""
    momentum = max((norm.momentum or 0.0 for norm in norms), default=0.0)
    tracked = max((norm.batches_tracked or 0 for norm in norms), default=0)
    if momentum and momentum < 0.1:
        steps = math.ceil(math.log(FORGOTTEN) / math.log1p(-momentum))
        return (
            f"{RECALIBRATE}; in training, momentum=0.1, or {steps} more steps at a rate near 0"
            f"{f' ({tracked} were counted)' if tracked else ''}"
        )
    return f"{RECALIBRATE}; in training, a lower learning rate for the last steps"


def _also(harm: Harm | None) -> str:
    return f"; {harm.sentence}" if harm else ""


def _numbers(harm: Harm | None) -> dict[str, float]:
    return dict(harm.numbers) if harm else {}
