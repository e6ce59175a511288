"""What a handful of values proves about their mean: Student's tests, and what they could detect.

Every function takes the values themselves, at least two of them, and assumes that they are
independent and normally distributed.
"""

import functools
import math
import statistics
from collections.abc import Callable, Sequence

from bnrun.comparison.estimate import standard_error, t_probability, t_quantile

LEVEL = 0.05
"""Probability of a false verdict that a test (or a family of adjusted tests) may have."""

POWER = 0.8
"""Probability with which a detectable difference is detected: 4 times in 5."""

INTEGRATION_STEPS = 2_000
"""Even number of Simpson's steps for the power of a test; good to 1e-6."""

ACCURACY = 1e-8
"""Distance from `POWER` at which a difference is found. Each try takes 3 ms."""

MOST_STEPS = 60
"""Steps after which the search for a difference ends, where rounding hides it."""


def difference_p(values: Sequence[float]) -> float:
    """Return the two-sided p of the t test that the true mean is 0.

    Values without any spread give p = 0, or 1 where they are all 0.
    """
    error, mean = standard_error(values), statistics.fmean(values)
    if error == 0:
        return 0.0 if mean else 1.0
    return 1 - t_probability(abs(mean) / error, len(values) - 1)


def equivalence_p(values: Sequence[float], margin: float) -> float:
    """Return the p of two one-sided t tests that the true mean lies within ±`margin`.

    The larger of the two one-sided p (Schuirmann 1987, "A comparison of the two one-sided tests
    procedure and the power approach"): it is at most 5 % exactly where the 90 % interval of the
    mean lies within the margin.
    """
    error, mean = standard_error(values), statistics.fmean(values)
    distance = margin - abs(mean)  # of the mean from the nearer end, negative outside
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return (1 - t_probability(distance / error, len(values) - 1)) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for being tested together, in the order they came in.

    Rejecting where the adjusted p is at most 5 % keeps the probability of any false rejection
    at 5 % (Holm 1979, "A simple sequentially rejective multiple test procedure"). A single p
    stays as it is.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def detectable_difference(values: Sequence[float], level: float = LEVEL) -> float:
    """Return the true mean that the two-sided t test at `level` would detect 4 times in 5.

    It takes the spread of these values for the true spread, and the same n: the minimal
    detectable difference at 80 % power.
    """
    return _detectable_in_standard_errors(len(values) - 1, level) * standard_error(values)


@functools.cache
def _detectable_in_standard_errors(freedom: int, level: float) -> float:
    """Return the true mean, in standard errors, that is detected with probability `POWER`."""
    critical = t_quantile(1 - level, freedom)
    return _root(lambda shift: power(shift, critical, freedom) - POWER, 2.0 * critical + 2.0)


def _root(function: Callable[[float], float], high: float) -> float:
    """Return where a function that rises from below 0 passes 0, in some dozen calls.

    By false position, Illinois variant (Dowell and Jarratt 1971): an end of the interval that
    stays twice counts half.

    Args:
        function: of positive numbers.
        high: a first guess at a number beyond.
    """
    low, at_low, kept = 0.0, function(0.0), 0
    while (at_high := function(high)) < 0:
        low, at_low, high = high, at_high, 2 * high
    for _ in range(MOST_STEPS):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        value = function(middle)
        if abs(value) < ACCURACY:
            return middle
        if value < 0:
            low, at_low = middle, value
            at_high, kept = (at_high / 2 if kept < 0 else at_high), -1
        else:
            high, at_high = middle, value
            at_low, kept = (at_low / 2 if kept > 0 else at_low), 1
    return high


def power(shift: float, critical: float, freedom: int) -> float:
    """Return P(|T| > `critical`) where T = (Z + shift) / U: Student's t, but off center.

    Z is standard normal, and U the sample standard deviation over the true one. The integral over
    U of P(|Z + shift| > critical * U), by Simpson's rule; U has the density
    2 (f/2)^(f/2) / Gamma(f/2) u^(f-1) exp(-f u^2 / 2) for f degrees of freedom.
    """
    half = freedom / 2
    scale = math.log(2) + half * math.log(half) - math.lgamma(half)
    end = 1 + 9 / math.sqrt(freedom)  # the density beyond is below 1e-15
    width, total = end / INTEGRATION_STEPS, 0.0
    for step in range(INTEGRATION_STEPS + 1):
        u = step * width
        if u == 0 and freedom > 1:  # the density is 0 there
            continue
        density = math.exp(scale + (freedom - 1) * math.log(u or 1.0) - half * u * u)
        beyond = _normal(shift - critical * u) + _normal(-shift - critical * u)
        weight = 1 if step in (0, INTEGRATION_STEPS) else 4 if step % 2 else 2
        total += weight * density * beyond
    return total * width / 3


def _normal(x: float) -> float:
    """Return P(Z < x) under the standard normal distribution."""
    return math.erfc(-x / math.sqrt(2)) / 2
