"""A mean and its 95 % interval, from a handful of seeds, with Student's t distribution.

Source: Student 1908, "The Probable Error of a Mean".
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of n values, and the interval that holds the true mean with 95 % confidence.

    `ci95` is (low, high). It is None where n is 1: one value has no spread.
    """

    mean: float
    ci95: tuple[float, float] | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Return half the width of the interval, None where there is no interval."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2


def estimate(values: Sequence[float]) -> Estimate | None:
    """Return the mean of normally distributed values with its 95 % interval; None without values.

    The interval is mean ± t * s / sqrt(n), with s the sample standard deviation (which divides
    by n - 1) and t the quantile of Student's distribution with n - 1 degrees of freedom.
    """
    if not values:
        return None
    return Estimate(statistics.fmean(values), interval(values, CONFIDENCE), len(values))


def interval(values: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return the interval that holds the true mean with this confidence; None for one value."""
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile(confidence, len(values) - 1) * standard_error(values)
    return mean - half, mean + half


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean of two values or more: s / sqrt(n)."""
    return statistics.stdev(values) / math.sqrt(len(values))


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t with P(-t < T < t) = `confidence` under Student's distribution.

    Bisection narrows it down to the last bits that the closed form of the probability gives.
    """
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < confidence:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        if t_probability(middle, freedom) < confidence:
            low = middle
        else:
            high = middle
    return high


def t_probability(t: float, freedom: int) -> float:
    """Return P(-t < T < t) under Student's distribution with `freedom` degrees of freedom.

    In closed form (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4): with theta = atan(t / sqrt(f))
    and c = cos(theta),

        f odd:   2/pi * (theta + sin(theta) * (c + 2/3 c^3 + 2*4/(3*5) c^5 + ... to c^(f-2)))
        f even:  sin(theta) * (1 + 1/2 c^2 + 1*3/(2*4) c^4 + ... to c^(f-2))

    It is odd in t: -P for -t.
    """
    theta = math.atan2(t, math.sqrt(freedom))
    sin, cos = math.sin(theta), math.cos(theta)
    odd = freedom % 2
    term, total = (cos if odd else 1.0), 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cos * cos
    probability = 2 / math.pi * (theta + sin * total) if odd else sin * total
    return max(-1.0, min(probability, 1.0))  # rounding may carry it beyond: then p < 0
