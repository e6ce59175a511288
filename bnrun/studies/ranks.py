"""Rank correlation."""

import statistics
from collections.abc import Sequence


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation of paired values; 0 where all of one are equal.

    Equal values share the mean of their ranks.
    """
    try:
        return statistics.correlation(_ranks(a), _ranks(b))
    except statistics.StatisticsError:  # all of one are equal
        return 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
