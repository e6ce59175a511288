"""How values and names are written wherever they are shown, in tables, titles and sentences."""

import math
from datetime import datetime
from typing import TYPE_CHECKING

from bnrun.config.norm_call import norm_call, parse_norm_call
from bnrun.events import DataUsed
from bnrun.training_summary import Summary

if TYPE_CHECKING:
    from bnrun.kernels.build import Build  # loads torch

LARGEST_FIXED = 10_000
"""Numbers from here on are written in scientific notation: they would widen a table."""


def training_title(summary: Summary) -> str:
    """Return the title of a training: network, norm, data and seed."""
    return run_title(summary.norm, summary.data, summary.seed)


def run_title(norm: str, data: DataUsed, seed: int) -> str:
    """Return the title of a training with this norm, data and seed."""
    return f"LeNet, norm {norm_name(norm)}, {data_name(data)}, one seed ({seed})"


def norm_name(norm: str) -> str:
    """Return a norm's name, without the folders of a user's own file."""
    file, options = parse_norm_call(norm, "norm")
    return norm_call(file.rpartition("/")[2], options or {})


def data_name(data: DataUsed) -> str:
    """Return the data's name; only the published images are called Fashion-MNIST."""
    if data.name == "synthetic":
        return "synthetic data"
    return "Fashion-MNIST" if data.verified else "images that are not the published Fashion-MNIST"


def figures(*values: float, digits: int = 4, sign: str = "") -> list[str]:
    """Write the numbers of one cell, all in one notation.

    It is scientific where the largest number has more than four digits before its point. It is,
    with one digit, where decimals would write a small number as 0, and the others with no more
    than one digit either.

    Args:
        values: the numbers, which may be infinite or nan.
        digits: decimals where the notation is not scientific.
        sign: `+` to write the sign of positive numbers, too.
    """
    sizes = [abs(value) for value in values if math.isfinite(value) and value != 0]
    if sizes and max(sizes) >= LARGEST_FIXED:
        notation = ".2e"
    elif sizes and min(sizes) < 0.5 * 10**-digits and max(sizes) < 10 ** (1 - digits):
        notation = ".0e"
    else:
        notation = f".{digits}f"
    return [format(value, sign + notation) for value in values]


def fraction(value: float | None) -> str:
    """Write a loss, or an accuracy between 0 and 1, with four decimals where they say enough."""
    return "-" if value is None else figures(value)[0]


def rate(value: float | None) -> str:
    """Write a number of examples per second, rounded; a very small one with two decimals."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 10 <= value < 1e9 else figures(value, digits=2)[0]


def ratio(value: float) -> str:
    """Write a ratio of two speeds."""
    return figures(value, digits=2)[0]


def ratio_range(low: float, high: float) -> str:
    """Write the range of a ratio of two speeds."""
    return " to ".join(figures(low, high, digits=2))


def percent(share: float) -> str:
    """Write a share of a whole: "22.6 %"."""
    return f"{100 * share:.1f} %"


def moment(time: datetime | None) -> str:
    """Write a time, which is UTC; `-` where it is not known."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else "-"


def build_name(build: "Build") -> str:
    """Return what kernels are: "kernels compiled for AVX2 and FMA by GCC 12.2.0"."""
    return f"kernels compiled for {' and '.join(build.features)} by {build.compiler}"
