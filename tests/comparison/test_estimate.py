"""Student's t, held against published tables and against scipy."""

import math

import pytest
from scipy import special

from bnrun.comparison.estimate import estimate, t_probability, t_quantile


# Two-sided 95 %, as every table of Student's distribution prints it.
@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093), (30, 2.042),
     (120, 1.980)],
)  # fmt: skip
def test_the_quantiles_are_those_of_the_tables(freedom: int, t: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(t, abs=5e-4)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 99, 100])
def test_the_quantiles_are_scipys(confidence: float, freedom: int) -> None:
    expected = special.stdtrit(freedom, (1 + confidence) / 2)
    assert t_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-12)


def test_the_probability_has_its_elementary_forms() -> None:
    for t in (0.1, 1.0, 4.0, 50.0):
        assert t_probability(t, 1) == pytest.approx(2 / math.pi * math.atan(t), rel=1e-14)
        assert t_probability(t, 2) == pytest.approx(t / math.sqrt(2 + t * t), rel=1e-14)


@pytest.mark.parametrize(("t", "freedom"), [(100, 16), (100, 18), (20, 29)])
def test_rounding_makes_no_probability_above_1(t: float, freedom: int) -> None:
    assert t_probability(t, freedom) == 1.0
    assert t_probability(-t, freedom) == -1.0


def test_many_degrees_of_freedom_approach_the_normal_distribution() -> None:
    assert t_quantile(0.95, 10_000) == pytest.approx(1.960201, abs=1e-6)  # and at last 1.959964


def test_an_interval_by_hand() -> None:
    # mean 5, s = 2 (squares 4 + 0 + 4 over 2), t = 4.302653: 4.302653 * 2 / sqrt(3) = 4.968275
    found = estimate([3.0, 5.0, 7.0])
    assert found is not None
    assert found.mean == 5.0
    assert found.n == 3
    assert found.ci95 == pytest.approx((5 - 4.968275, 5 + 4.968275), abs=1e-6)
    assert found.half_width == pytest.approx(4.968275, abs=1e-6)


def test_the_interval_of_student_himself() -> None:
    """Additional hours of sleep by two drugs, ten patients, paired (Student 1908, table)."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = estimate([b - a for a, b in zip(first, second, strict=True)])
    assert found is not None
    assert found.mean == pytest.approx(1.58)
    assert found.ci95 == pytest.approx((0.7001142, 2.4598858), abs=1e-6)  # R: t.test(paired)


def test_one_value_has_no_interval_and_no_value_no_estimate() -> None:
    one = estimate([0.8])
    assert one is not None
    assert (one.mean, one.ci95, one.half_width, one.n) == (0.8, None, None, 1)
    assert estimate([]) is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = estimate([0.25, 0.25, 0.25])
    assert found is not None
    assert found.ci95 == (0.25, 0.25)
