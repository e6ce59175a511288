"""Findings: statistics from too few values, and one value per channel.

The number of values that a statistic is over is not only the batch size. In a convolution's norm
every position of every example counts; but the positions of one image are alike, so they count for
less than their number. How much less is measured: means over n independent values scatter with
1/n of the values' variance.
"""

import math
from collections.abc import Iterator, Sequence

import torch

from bnrun.health.evidence import Evidence, NormPlace, Seen
from bnrun.health.finding import Finding, Kind

LARGEST_ERROR = 0.5
"""Expected error of a variance, as a share of it, from which it is taken from too few values."""
MIN_CALLS = 8
"""Batches that are needed to measure how much the means of batches scatter."""
SMALL_BATCH = 8
"""Examples up to which scatter is measured: larger batches may be of data sorted by class."""

ONE_VALUE = Kind(
    "one-value-per-channel",
    "A statistic is of a single value",
    "1 value per statistic",
)
FEW_VALUES = Kind(
    "too-few-values",
    "Statistics are taken from too few values",
    f"expected error of a variance, sqrt(2 / (values - 1)), above {LARGEST_ERROR:.0%}",
    follows=(ONE_VALUE.id, "two-domains"),
)
KINDS: tuple[Kind, ...] = (ONE_VALUE, FEW_VALUES)


def find(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of this topic."""
    if not evidence.has_data:
        return
    yield from _always_one_value(evidence)
    batch_norms = [
        norm
        for norm in evidence.norms
        if norm.kind == "batch" and norm.training_after_train and norm.input_shape
    ]
    yield from _one_value(evidence, batch_norms)
    yield from _few_values(evidence, batch_norms)


def variance_error(values: float) -> float:
    """Return the expected error of a variance of so many normal values, as a share of it."""
    return math.sqrt(2 / (values - 1)) if values > 1 else math.inf


def _always_one_value(evidence: Evidence) -> Iterator[Finding]:
    """Find other norms than batch norms whose statistics are each over a single value."""
    for norm in evidence.norms:
        if norm.kind in ("instance", "group", "layer", "rms") and _own_values(norm) == 1:
            yield ONE_VALUE.finding(
                "error",
                [norm.name],
                evidence=f"its input has shape {norm.input_shape}: each mean is of 1 value",
                message="A value minus its own mean is 0: whatever goes in, β comes out.",
                fix="Move the norm before the pooling, or use fewer groups.",
                shape=list(norm.input_shape),
            )


def _own_values(norm: NormPlace) -> int:
    """Return how many values of one example a statistic is over; 0 where that is not known."""
    if not norm.is_torch_class or len(norm.input_shape) < 2:
        return 0
    positions = math.prod(norm.input_shape[2:])
    groups = norm.options.get("num_groups")
    if norm.kind == "instance":
        return positions
    if norm.kind == "group" and isinstance(groups, int):
        return positions * norm.input_shape[1] // groups
    shape = norm.options.get("normalized_shape")
    return math.prod(shape) if isinstance(shape, tuple) else 0


def _one_value(evidence: Evidence, norms: Sequence[NormPlace]) -> Iterator[Finding]:
    """Find batches from which a batch norm gets one value per channel: training raises there."""
    smallest = min(evidence.batches)
    hit = [norm.name for norm in norms if _values(evidence, norm, smallest) == 1]
    if not hit:
        return
    counts = f"{len(evidence.batches)} batches"
    if set(evidence.batches) == {smallest}:
        never = all(not norm.batches_tracked for norm in norms if norm.name in hit)
        yield ONE_VALUE.finding(
            "error" if never else "warning",
            hit,
            evidence=f"each of {counts} has {smallest} example, which has 1 position there",
            message="Training on such a batch raises: one value has no variance.",
            fix="Train with larger batches, or use nn.GroupNorm or nn.LayerNorm there.",
            batch=0,
            examples=smallest,
        )
        return
    index = evidence.batches.index(smallest)
    last = " (the last)" if index == len(evidence.batches) - 1 and evidence.ended else ""
    yield ONE_VALUE.finding(
        "warning",
        hit,
        evidence=f"batch {index + 1} of {counts}{last} has {smallest} example, which has 1 "
        "position there",
        message=f"If training uses these batches, it raises at batch {index + 1} of each epoch.",
        fix="DataLoader(..., drop_last=True)",
        batch=index,
        examples=smallest,
    )


def _values(evidence: Evidence, norm: NormPlace, examples: int) -> float:
    """Return how many values per channel a batch norm gets from so many examples."""
    counted = math.prod(norm.input_shape) / norm.channels
    return counted * examples / evidence.batches[0]


def _few_values(evidence: Evidence, norms: Sequence[NormPlace]) -> Iterator[Finding]:
    """Find batch norms whose usual batch gives too few values, by number or by their scatter."""
    usual = sorted(evidence.batches)[len(evidence.batches) // 2]
    few: dict[str, tuple[float, float]] = {}
    for norm in norms:
        counted = _values(evidence, norm, usual)
        scatter = _independent(norm.trained, norm.calls) if usual <= SMALL_BATCH else counted
        independent = min(counted, scatter)
        if counted > 1 and variance_error(independent) > LARGEST_ERROR:
            few[norm.name] = (independent, counted)
    if not few:
        return
    independent, counted = min(few.values())
    error = variance_error(independent)
    alike = (
        "" if independent == counted else f", which scatter like {independent:.1f} independent ones"
    )
    yield FEW_VALUES.finding(
        "warning",
        few,
        evidence=f"a batch of {usual} gives {counted:.0f} values per channel{alike}: the expected "
        f"error of a variance is {error:.0%} of it",
        message="Where training has such batches, it normalizes each with noise, and evaluation "
        "with an average of it.",
        fix="Train with larger batches, or use nn.GroupNorm(groups, channels), which takes its "
        "statistics from each example.",
        batch_size=usual,
        values=counted,
        independent_values=independent,
        expected_variance_error=error if math.isfinite(error) else None,
    )


def _independent(seen: Seen | None, calls: int) -> float:
    """Return how many independent values would scatter as the means of batches do.

    It is inf where there are too few batches to tell, or several calls of a norm in a pass.
    """
    if seen is None or calls != 1 or len(seen.calls) < MIN_CALLS:
        return math.inf
    means = torch.stack([call.statistics.mean for call in seen.calls])
    varies = seen.input.var > 0
    if not bool(varies.any()):
        return math.inf
    scatter = means.var(dim=0)[varies] / seen.input.var[varies]
    largest = float(scatter.median())
    return max(1.0, 1 / largest) if largest > 0 else math.inf
