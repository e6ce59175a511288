"""What a verification ends with: a check per line, and the faults that explain those that fail."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from bnrun.verification.known.fault import Fault

Contract = Literal["torch", "textbook"]
CONTRACTS: tuple[Contract, ...] = ("torch", "textbook")
TIME_LIMIT = 10.0  # seconds, for each experiment
DTYPES = ("float64", "float32", "bfloat16", "float16")
Status = Literal["pass", "fail", "skip"]
Group = Literal["mathematics", "moving statistics", "module contract"]
GROUPS: tuple[Group, ...] = ("mathematics", "moving statistics", "module contract")


@dataclass(frozen=True)
class Check:
    """One check: `faults` are those it fails from, or the dialects that it passes in.

    `max_error` is the largest distance from what is right, in units of the largest value expected
    or of 1; None where nothing is measured.
    """

    name: str
    group: Group
    status: Status
    max_error: float | None = None
    message: str = ""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Found:
    """A fault that was found.

    `where` restricts it, `checks` name what follows from it, `seen` is what else is to be seen.
    """

    fault: Fault
    where: str
    checks: tuple[str, ...]
    seen: str = ""

    @property
    def sentence(self) -> str:
        """Return the fault in one sentence, with where it is found."""
        return (
            f"{self.fault.says.removesuffix('.')} ({self.where})."
            if self.where
            else self.fault.says
        )


@dataclass(frozen=True)
class Report:
    """What came of verifying an implementation, held to a contract.

    `printed` counts the lines that it printed meanwhile, which are not shown; `takes` names the
    layouts of input that it takes.
    """

    implementation: str
    contract: Contract
    dtype: str
    device: str
    checks: tuple[Check, ...]
    found: tuple[Found, ...]
    printed: int
    seconds: float
    takes: tuple[str, ...] = ()

    @property
    def not_taken(self) -> list[str]:
        """Return which of rows and images the class does not take, if it takes the other."""
        return [layout for layout in ("(N, C)", "(N, C, H, W)") if layout not in self.takes]

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Return whether all checks that could be made passed, dialects apart."""
        return "fail" if any(check.status == "fail" for check in self.checks) else "pass"

    @property
    def faults(self) -> list[Found]:
        """Return the mistakes that were found."""
        return [found for found in self.found if not found.fault.is_dialect]

    @property
    def dialects(self) -> list[Found]:
        """Return the dialects that were found."""
        return [found for found in self.found if found.fault.is_dialect]

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "implementation": self.implementation,
            "verdict": self.verdict,
            "contract": self.contract,
            "dtype": self.dtype,
            "device": self.device,
            "takes": list(self.takes),
            "faults": [_found(found) for found in self.faults],
            "dialects": [
                _found(found) | {"speakers": found.fault.speakers} for found in self.dialects
            ],
            "checks": [
                {
                    "name": check.name,
                    "group": check.group,
                    "status": check.status,
                    "max_error": _number(check.max_error),
                    "message": check.message,
                    "faults": [fault.name for fault in check.faults],
                }
                for check in self.checks
            ],
            "printed_lines": self.printed,
            "seconds": round(self.seconds, 3),
        }


def _found(found: Found) -> dict[str, Any]:
    return {
        "name": found.fault.name,
        "fault": found.sentence,
        "seen": found.seen,
        "mend": found.fault.mend,
        "checks": list(found.checks),
    }


def _number(value: float | None) -> float | None:
    """Return a number for JSON, which has no word for what is not finite: null."""
    return value if value is not None and math.isfinite(value) else None
