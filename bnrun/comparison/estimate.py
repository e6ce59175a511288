"""A mean and its 95 % interval, from a handful of seeds (Student 1908, "The Probable Error of a
Mean").
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of n values, and the interval that holds the true mean with 95 % confidence.

    `ci95` is (low, high), and None where n is 1: one value says nothing about its spread.
    """

    mean: float
    ci95: tuple[float, float] | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Return what stands behind the ± in `mean ± half-width`."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2


def estimate(values: Sequence[float]) -> Estimate | None:
    """Estimate the mean that values were drawn around, normally distributed; None without values.

    The interval is mean ± t * s / sqrt(n), with s the sample standard deviation (which divides
    by n - 1) and t the quantile of Student's distribution with n - 1 degrees of freedom.
    """
    n = len(values)
    if n == 0:
        return None
    mean = statistics.fmean(values)
    if n == 1:
        return Estimate(mean, None, 1)
    half = t_quantile(CONFIDENCE, n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(mean, (mean - half, mean + half), n)


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t with P(-t < T < t) = `confidence` under Student's distribution.

    Found by bisection, to the last bits that its closed form gives.
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
    """
    theta = math.atan2(t, math.sqrt(freedom))
    sin, cos = math.sin(theta), math.cos(theta)
    odd = freedom % 2
    term, total = (cos if odd else 1.0), 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cos * cos
    return 2 / math.pi * (theta + sin * total) if odd else sin * total
