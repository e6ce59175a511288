"""How a check came out, and the faults that any check may fail from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bnrun.verification.fault import OF_BATCH, Fault
from bnrun.verification.report import Status

# ---- faults that any check may fail from

IDENTITY = Fault(
    "identity",
    "It returns its input unchanged: nothing is normalized.",
    "Return gamma * (x - mean) / sqrt(var + eps) + beta.",
)
UNEXPLAINED = Fault(
    "unexplained",
    "No known mistake gives these numbers, and no combination of mistakes that was tried.",
    "Work the small input out by hand, part by part, and compare: mean, variance, "
    "(x - mean) / sqrt(var + eps), gamma * x_hat + beta. `--explain CHECK` has the formula.",
    of_values=True,
)

MISALIGNED = Fault(
    "moving-statistics-not-reshaped",
    "When predicting on images, the moving statistics are not reshaped to (1, C, 1, 1): of shape "
    "(C,), they line up with the columns, not with the channels.",
    "Reshape both in that line: self.running_mean.view(1, -1, 1, 1), and so on; or, for any rank "
    "of input, .view(1, -1, *[1] * (x.dim() - 2)).",
    families=OF_BATCH,
)


def trouble(kind: str, message: str) -> Fault:
    """Return the fault of code that raises, hangs or exits."""
    if kind == "hung":
        fix = "Look for a loop that does not end; or, if it is only slow, raise --time-limit."
        return Fault(kind, f"It {message}.", fix)
    if kind == "exited":
        return Fault(kind, f"It {message}.", "Raise an error instead of ending the process.")
    if kind == "misaligned":
        return MISALIGNED
    if "forward returned" in message:
        fix = "Return one tensor, of the input's shape, and nothing else."
        return Fault(kind, f"{message}.", fix)
    fix = "Fix that line, or what leads to it."
    if any(words in message for words in ("size of tensor", "shape", "dimension", "size mis")):
        fix = (
            "Run that line by hand on an input of each shape that the layer is for, and print the "
            "shapes."
        )
    return Fault(kind, f"It raises {message}.", fix)


# ---- outcomes


@dataclass(frozen=True)
class Outcome:
    """How a check came out.

    `faults` are those it fails from, or the dialects that it passes in, each with a note of what
    was seen; `shares` says how large an error each of them makes, where that is known; `reason`
    says why it was skipped.
    """

    status: Status
    error: float | None = None
    faults: Mapping[Fault, str] = field(default_factory=dict)
    reason: str = ""
    shares: Mapping[Fault, float] = field(default_factory=dict)

    @property
    def unexplained(self) -> bool:
        """Return whether it failed, and no known mistake says why."""
        return UNEXPLAINED in self.faults


def passed(error: float | None = None) -> Outcome:
    """Return the outcome of a check that passed."""
    return Outcome("pass", error)


def failed(*faults: Fault, error: float | None = None, note: str = "") -> Outcome:
    """Return the outcome of a check that fails from faults; with dialects alone, it passes."""
    return explained(dict.fromkeys(faults, note), error)


def explained(
    faults: Mapping[Fault, str],
    error: float | None = None,
    shares: Mapping[Fault, float] = MappingProxyType({}),
) -> Outcome:
    """Return the outcome of a check that fails from faults, each with what was seen of it."""
    dialect = bool(faults) and all(fault.is_dialect for fault in faults)
    return Outcome("pass" if dialect else "fail", error, faults, shares=shares)


def skipped(reason: str) -> Outcome:
    """Return the outcome of a check that was not made."""
    return Outcome("skip", reason=reason)


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """Return several outcomes as one: failed if any is, with the faults of all."""
    made = list(outcomes)
    if not made:
        return skipped("no pass of this kind works")
    if all(outcome.status == "skip" for outcome in made):
        return made[0]
    errors = [outcome.error for outcome in made if outcome.error is not None]
    faults: dict[Fault, str] = {}
    shares: dict[Fault, float] = {}
    for outcome in made:
        for fault, note in outcome.faults.items():
            share = outcome.shares.get(fault, 0.0)
            if not faults.get(fault) or share > shares.get(fault, 0.0):
                faults[fault], shares[fault] = note, share
    status: Status = "fail" if any(outcome.status == "fail" for outcome in made) else "pass"
    return Outcome(status, max(errors, default=None), faults, shares=shares)
