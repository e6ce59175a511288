"""Tests of a mean, adjusted p values and power, compared with scipy and with published examples."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special  # importing scipy.stats takes half of a second

from bnrun.comparison.estimate import interval, standard_error, t_quantile
from bnrun.comparison.significance import (
    detectable_difference,
    difference_p,
    equivalence_p,
    holm,
    power,
)

# Additional hours of sleep by two drugs, ten patients, paired (Student 1908, table).
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def _t(values: list[float], mean: float = 0.0) -> float:
    """Student's t for the hypothesis that the true mean is `mean`."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return (statistics.fmean(values) - mean) / error


def test_the_p_of_students_own_example() -> None:
    assert difference_p(SLEEP) == pytest.approx(0.00283289, abs=1e-8)  # R: t.test(paired)


@pytest.mark.parametrize("values", [[0.1, 0.3], [0.1, -0.2, 0.4], SLEEP, [1e-3, 2e-3, 4e-3, 3e-3]])
def test_the_p_is_scipys(values: list[float]) -> None:
    two_sided = 2 * special.stdtr(len(values) - 1, -abs(_t(values)))
    assert difference_p(values) == pytest.approx(two_sided, rel=1e-10)


def test_the_p_is_below_a_level_where_the_interval_leaves_out_0() -> None:
    for shift in (0.0, 0.3, 0.33, 0.34, 0.6):
        values = [shift + step for step in (-0.2, 0.0, 0.3, 0.1)]
        found = interval(values, 0.95)
        assert found is not None
        assert (difference_p(values) < 0.05) == (found[0] > 0 or found[1] < 0)


def test_values_without_spread_differ_from_0_or_do_not() -> None:
    assert difference_p([0.0, 0.0]) == 1.0
    assert difference_p([0.25, 0.25]) == 0.0


@pytest.mark.parametrize("margin", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_equivalence_is_two_one_sided_tests(margin: float) -> None:
    below = special.stdtr(len(SLEEP) - 1, -_t(SLEEP, -margin))
    above = special.stdtr(len(SLEEP) - 1, _t(SLEEP, margin))
    assert equivalence_p(SLEEP, margin) == pytest.approx(max(below, above), rel=1e-10)


def test_equivalence_at_5_percent_is_the_90_percent_interval_within_the_margin() -> None:
    low, high = interval(SLEEP, 0.9) or (0.0, 0.0)
    edge = max(-low, high)
    assert equivalence_p(SLEEP, 1.0001 * edge) < 0.05 < equivalence_p(SLEEP, 0.9999 * edge)


def test_values_without_spread_are_equivalent_within_any_margin_around_them() -> None:
    assert equivalence_p([0.0, 0.0], 1e-9) == 0.0
    assert equivalence_p([0.25, 0.25], 0.2) == 1.0


def test_holm_by_hand() -> None:
    """The smallest of four counts four times, the next three times, and none gets smaller."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


@given(P_VALUES)
def test_holm_never_lowers_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
    ranks = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in ranks] == sorted(adjusted)


@given(P_VALUES)
def test_holm_rejects_no_less_than_bonferroni(p_values: list[float]) -> None:
    for p, after in zip(p_values, holm(p_values), strict=True):
        assert after <= min(1.0, len(p_values) * p) * (1 + 1e-12)


@pytest.mark.parametrize("freedom", [2, 3, 4, 9, 30])
@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, 6.0])
def test_the_power_is_scipys(freedom: int, shift: float) -> None:
    critical = t_quantile(0.95, freedom)
    within = special.nctdtr(freedom, shift, critical) - special.nctdtr(freedom, shift, -critical)
    assert power(shift, critical, freedom) == pytest.approx(1 - within, abs=1e-6)


def test_the_power_at_one_degree_of_freedom_has_its_elementary_form() -> None:
    assert power(0.0, 1.0, 1) == pytest.approx(0.5, abs=1e-6)  # Cauchy's quartiles


def test_a_detectable_difference_is_found_in_four_of_five() -> None:
    """By simulation: normal differences around it, with the spread of the values."""
    values = [0.9, 1.4, 0.2, 1.1]
    n, spread = len(values), standard_error(values) * math.sqrt(len(values))
    shift = detectable_difference(values)
    samples = np.random.default_rng(0).normal(shift, spread, (20_000, n))
    t = samples.mean(1) / (samples.std(1, ddof=1) / n**0.5)
    found = 2 * special.stdtr(n - 1, -abs(t)) < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_a_stricter_level_detects_only_larger_differences() -> None:
    assert detectable_difference(SLEEP, 0.01) > detectable_difference(SLEEP, 0.05)
