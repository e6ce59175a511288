"""What the doctor examines, and what came of it: records, known to the views."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bnrun.verification.report import DTYPES, Status

__all__ = ["DTYPES", "ENGINES", "SUSPECT", "Cell", "Examined", "verdict"]

ENGINES = ("eager", "compiled")
SUSPECT = 32.0  # units of rounding: sums over a batch make a few, a fault far more


@dataclass(frozen=True)
class Cell:
    """One thing to examine."""

    norm: str
    mode: str
    format: str
    dtype: str
    device: str
    engine: str


@dataclass(frozen=True)
class Examined:
    """What came of it: the largest error, in units of the dtype's rounding, or why there is none.

    It is skipped where this machine, or torch on it, offers no such thing.
    """

    cell: Cell
    status: Status
    units: float | None = None
    reason: str = ""


def verdict(examined: Iterable[Examined]) -> Literal["pass", "fail"]:
    """Return whether there were cells to run, and all that ran hold rounding errors alone."""
    statuses = [one.status for one in examined]
    return "pass" if "pass" in statuses and "fail" not in statuses else "fail"
