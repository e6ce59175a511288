"""How numbers are written: all of a cell in one notation, and none wider than a table holds."""

import math

import pytest

from bnrun.show.wording import figures, fraction, rate, ratio_range


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.26612, "0.2661"),
        (0.0, "0.0000"),
        (9_999.99994, "9999.9999"),
        (9186560439982335618494656151552.0, "9.19e+30"),
        (10_000.0, "1.00e+04"),
        (0.00005, "0.0001"),
        (0.000049, "5e-05"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (None, "-"),
    ],
)
def test_a_loss_or_an_accuracy(value: float | None, written: str) -> None:
    assert fraction(value) == written


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ((0.8647, 0.0688), ["0.8647", "0.0688"]),
        ((9.19e30, 0.5), ["9.19e+30", "5.00e-01"]),
        ((0.8647, 0.00001), ["0.8647", "0.0000"]),
        ((-0.00004, 0.00012), ["-4e-05", "1e-04"]),
        ((0.00012, math.nan), ["0.0001", "nan"]),
    ],
)
def test_the_numbers_of_one_cell_have_one_notation(
    values: tuple[float, ...], written: list[str]
) -> None:
    assert figures(*values) == written


def test_signs_and_decimals_as_asked() -> None:
    assert figures(0.0021, -0.5, 0.0, sign="+") == ["+0.0021", "-0.5000", "+0.0000"]
    assert figures(12.345, digits=1) == ["12.3"]


def test_rates_and_ratios() -> None:
    assert [rate(value) for value in (17_834.1, 12.0, 0.456, 2e9, None)] == [
        *("17,834", "12", "0.46", "2.00e+09", "-"),
    ]
    assert ratio_range(0.005, 1.5) == "0.01 to 1.50"
