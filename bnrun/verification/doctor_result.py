"""What the doctor examines, and the result: records for the views, which need no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bnrun.verification.report import Status

SUSPECT = 32.0
"""Units of rounding above which a cell is a fault: sums over a batch make a few, a fault more."""


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
class CellResult:
    """The largest error of a cell in units of the dtype's rounding, or why it was not measured.

    It is skipped where this machine, or torch on it, does not offer the cell.
    """

    cell: Cell
    status: Status
    units: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Examination:
    """The result of the doctor: the cells, torch's version, and the devices' names for humans."""

    results: tuple[CellResult, ...]
    torch: str
    machines: Mapping[str, str]

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Return whether there were cells to run, and all that ran have rounding errors alone."""
        statuses = [one.status for one in self.results]
        return "pass" if "pass" in statuses and "fail" not in statuses else "fail"

    def to_dict(self) -> dict[str, Any]:
        """Return the examination for JSON."""
        cells = [
            asdict(one.cell) | {"status": one.status, "units": one.units, "reason": one.reason}
            for one in self.results
        ]
        return {
            "verdict": self.verdict,
            "torch": self.torch,
            "machines": dict(self.machines),
            "suspect_above": SUSPECT,
            "cells": cells,
        }
