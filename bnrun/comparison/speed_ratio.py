"""The ratio of two speeds that were measured in turns."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MIN_QUARTILE_ROUNDS = 4
"""Fewest rounds that have a middle half. Fewer show their range."""


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of one arm's rate over another's, and the middle half of the rounds.

    Fewer than four rounds have no middle half: `spread` is then their range.
    """

    median: float
    spread: tuple[float, float]


def ratio_within_rounds(rates: Sequence[float], others: Sequence[float]) -> Ratio:
    """Return the ratio of two arms' rates, where each pair of rates is of one round."""
    ratios = [rate / other for rate, other in zip(rates, others, strict=True)]
    if len(ratios) < MIN_QUARTILE_ROUNDS:
        return Ratio(statistics.median(ratios), (min(ratios), max(ratios)))
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return Ratio(statistics.median(ratios), (lower, upper))
