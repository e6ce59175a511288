"""The result of a verification: a row for each check, and the faults that explain failures."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bnrun.errors import ConfigError, one_of
from bnrun.verification.fault import Family, Fault

Contract = Literal["torch", "textbook"]
CONTRACTS: tuple[Contract, ...] = ("torch", "textbook")
SHAPES = ("2d", "3d", "4d", "5d")
"""How inputs are named by their number of dimensions: 2d for (N, C), 4d for (N, C, H, W)."""
TIME_LIMIT = 10.0
"""Default time limit of an experiment, in seconds."""
DTYPES = ("float64", "float32", "bfloat16", "float16")
Engine = Literal["eager", "compiled"]
ENGINES: tuple[Engine, ...] = ("eager", "compiled")
Status = Literal["pass", "fail", "skip"]
Group = Literal["mathematics", "moving statistics", "module contract"]
GROUPS: tuple[Group, ...] = ("mathematics", "moving statistics", "module contract")

NO_MOVING_STATISTICS = (
    "no moving statistics under the usual names (running_mean, running_var; moving_mean, "
    "moving_var), and predictions show none"
)


def ranks_in(shapes: str) -> tuple[int, ...]:
    """Return the numbers of dimensions in a text such as `2d,4d`.

    Raises:
        ConfigError: one of them is none.
    """
    words = [word.strip() for word in shapes.split(",")]
    for word in words:
        if word not in SHAPES:
            raise ConfigError(
                f"received '{shapes}'; it must be one or several of {one_of(SHAPES)}, with commas: "
                "2d is (N, C), 3d (N, C, L), 4d (N, C, H, W), 5d (N, C, D, H, W).",
                "shapes",
            )
    return tuple(dict.fromkeys(int(word[0]) for word in words))


def base_name(check: str) -> str:
    """Return the name of a check without the layout of its input, if it has one."""
    return check.partition(", (")[0]


@dataclass(frozen=True)
class Row:
    """A number of an example, by the name of its quantity and its index.

    `differs` says whether it is wrong by more than rounding.
    """

    name: str
    observed: float
    expected: float
    differs: bool = False


@dataclass(frozen=True)
class Example:
    """A small input, with what a norm gives for it beside what is expected.

    Attributes:
        training: whether it is given in training, or when predicting.
        given: x, the state and eps, as nested lists and numbers by name; g is the gradient of y.
        rows: what is computed from these.
        left_out: rows that are not listed.
    """

    training: bool
    given: Mapping[str, Any]
    rows: tuple[Row, ...]
    left_out: int = 0

    @property
    def differs(self) -> bool:
        """Return whether any number is wrong."""
        return any(row.differs for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the example for JSON."""
        return {
            "training": self.training,
            "given": dict(self.given),
            "rows": [
                {
                    "name": row.name,
                    "observed": _number(row.observed),
                    "expected": _number(row.expected),
                }
                for row in self.rows
            ],
        }


@dataclass(frozen=True)
class CheckResult:
    """One check under one engine.

    `max_error` is the largest distance from what is right, in units of the largest expected value
    or of 1; None where nothing is measured. `faults` are those that it fails from, or the dialects
    that it passes in, and `seen` says of each what was seen of it, or "". `example` is the smallest
    input that shows how it came out, if one can.
    """

    name: str
    group: Group
    status: Status
    max_error: float | None = None
    message: str = ""
    faults: tuple[Fault, ...] = ()
    engine: Engine = "eager"
    dtype: str = "float64"
    seen: tuple[str, ...] = ()
    example: Example | None = None

    @property
    def base(self) -> str:
        """Return the name without the layout of the input, if it has one."""
        return base_name(self.name)

    @property
    def layout(self) -> str:
        """Return the layout of the input, as `(N, C)`; "" where the check is for any."""
        return self.name.removeprefix(self.base).removeprefix(", ")

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {
            "name": self.name,
            "group": self.group,
            "engine": self.engine,
            "dtype": self.dtype,
            "status": self.status,
            "max_error": _number(self.max_error),
            "message": self.message,
            "faults": [fault.name for fault in self.faults],
        }


@dataclass(frozen=True)
class Finding:
    """A fault that was found.

    Attributes:
        fault: what is wrong.
        where: the only place where it is found; "" where it is found wherever it could be.
        checks: the names of the checks that fail from it.
        seen: what was seen of it, and `seen_in`, the check that saw it.
        example: the smallest input that shows it, if one does.
    """

    fault: Fault
    where: str
    checks: tuple[str, ...]
    seen: str = ""
    seen_in: str = ""
    example: Example | None = None

    @property
    def sentence(self) -> str:
        """Return the fault in one sentence, with where it is found."""
        if not self.where:
            return self.fault.sentence
        return f"{self.fault.sentence.removesuffix('.')} ({self.where})."

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON. `mend` is the older name of `fix`, which scripts read."""
        facts = {
            "name": self.fault.name,
            "fault": self.sentence,
            "seen": self.seen,
            "smallest_input": None if self.example is None else self.example.to_dict(),
            "fix": self.fault.fix,
            "mend": self.fault.fix,
            "checks": list(self.checks),
        }
        return facts | ({"speakers": self.fault.speakers} if self.fault.is_dialect else {})


@dataclass(frozen=True)
class Measurement:
    """An engine and a dtype in which the norm was observed.

    `kernel_calls` counts the calls of compiled kernels: the evidence that they computed.
    """

    engine: Engine
    dtype: str
    kernel_calls: int = 0


@dataclass(frozen=True)
class Report:
    """The result of verifying an implementation against a contract.

    Attributes:
        implementation: as it was named.
        contract: what counts as right.
        family: of norms, by whose formula it was judged.
        recognized: how that was found out: a sentence, or "" where it was named.
        device: torch's name of it.
        measurements: the engines and dtypes that were measured, at least one.
        checks: the results, engine by engine, each in the order of the groups.
        findings: the faults and dialects that were found.
        printed: how many lines the norm printed meanwhile; they are not shown.
        seconds: what the verification took.
        takes: the layouts of input that it accepts.
        expected: those that a norm of its family is for.
        not_measured: why the compiled engine was left out, where it could have been measured.
        remarks: sentences on how the class was built.
    """

    implementation: str
    contract: Contract
    device: str
    measurements: tuple[Measurement, ...]
    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    printed: int
    seconds: float
    takes: tuple[str, ...] = ()
    expected: tuple[str, ...] = ("(N, C)", "(N, C, H, W)")
    not_measured: str = ""
    remarks: tuple[str, ...] = ()
    family: Family = "batch"
    recognized: str = ""

    @property
    def dtype(self) -> str:
        """Return the dtype of the first measurement."""
        return self.measurements[0].dtype

    @property
    def not_taken(self) -> list[str]:
        """Return which of the expected layouts the class does not accept."""
        return [layout for layout in self.expected if layout not in self.takes]

    @property
    def not_judged(self) -> list[str]:
        """Return what the verdict is not about: inputs, or moving statistics that are not found."""
        untold = any(check.message == NO_MOVING_STATISTICS for check in self.checks)
        inputs = self.not_taken if self.takes else []
        return [*inputs, *(["moving statistics"] if untold else [])]

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        """Return whether all checks that could be made passed; dialects pass."""
        return "fail" if any(check.status == "fail" for check in self.checks) else "pass"

    @property
    def faults(self) -> list[Finding]:
        """Return the mistakes that were found."""
        return [finding for finding in self.findings if not finding.fault.is_dialect]

    @property
    def dialects(self) -> list[Finding]:
        """Return the dialects that were found."""
        return [finding for finding in self.findings if finding.fault.is_dialect]

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "implementation": self.implementation,
            "family": self.family,
            "recognized": self.recognized,
            "verdict": self.verdict,
            "contract": self.contract,
            "dtype": self.dtype,
            "device": self.device,
            "measurements": [
                {"engine": one.engine, "dtype": one.dtype, "kernel_calls": one.kernel_calls}
                for one in self.measurements
            ],
            "not_measured": self.not_measured,
            "takes": list(self.takes),
            "not_judged": self.not_judged,
            "faults": [finding.to_dict() for finding in self.faults],
            "dialects": [finding.to_dict() for finding in self.dialects],
            "checks": [check.to_dict() for check in self.checks],
            "remarks": list(self.remarks),
            "printed_lines": self.printed,
            "seconds": round(self.seconds, 3),
        }


def _number(value: float | None) -> float | None:
    """Return a number for JSON, which has no infinity: that becomes null."""
    return value if value is not None and math.isfinite(value) else None
