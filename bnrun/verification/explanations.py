"""What each check does, in words, the formula that it compares with, and what came of it.

The checks are defined in `topics/`; `check_descriptions.py` has a paragraph on each.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnrun.errors import ConfigError, did_you_mean
from bnrun.verification.check import Check
from bnrun.verification.check_descriptions import DOES, slug
from bnrun.verification.fault import Family, Fault
from bnrun.verification.report import CheckResult, Example, Finding, Report
from bnrun.verification.situations import LAST_LAYOUTS, LAYOUTS

# ---- formulas

_CENTRED = "y = gamma * x_hat + beta, x_hat = (x - mean) / sqrt(var + eps)"
_OVER: Mapping[Family, str] = {
    "batch": "mean and var of each channel: over batch and positions, (0, 2, 3) of (N, C, H, W)",
    "layer": "mean and var of each example, or of each position: over the normalized dimensions",
    "group": "mean and var of each group of neighbouring channels, in each example",
    "instance": "mean and var of each channel in each example: over (2, 3) of (N, C, H, W)",
    "rms": "the mean of x² at each position: over the features",
}
_VAR = "var = sum((x - mean)²) / n: biased, not divided by n - 1"
_MOVED = (
    "moving_mean <- (1 - momentum) * moving_mean + momentum * mean",
    "moving_var <- (1 - momentum) * moving_var + momentum * var * n / (n - 1)",
    "momentum = 0.1; n values per channel",
)


def _output(family: Family, predicting: bool) -> tuple[str, ...]:
    if family == "rms":
        return ("y = gamma * x / sqrt(mean(x²) + eps)", _OVER[family])
    if family == "batch" and predicting:
        return ("y = gamma * (x - moving_mean) / sqrt(moving_var + eps) + beta",)
    return (_CENTRED, _OVER[family], _VAR)


def _gradients(family: Family, predicting: bool) -> tuple[str, ...]:
    learned = ("d_gamma = sum(g * x_hat)", *(() if family == "rms" else ("d_beta = sum(g)",)))
    if family == "rms":
        return (
            "d_x = (h - x_hat * mean(h * x_hat)) / sqrt(mean(x²) + eps), h = gamma * g",
            *learned,
        )
    if family == "batch" and predicting:
        return ("d_x = gamma * g / sqrt(moving_var + eps)", *learned)
    terms = "d_x = (h - mean(h) - x_hat * mean(h * x_hat)) / sqrt(var + eps), h = gamma * g"
    return (terms, *learned)


_DIFFERENCES = ("d_x = (f(x + h) - f(x - h)) / (2 * h), f = sum(g * y)",)
_FORMULAS: Mapping[str, tuple[str, bool]] = {
    "forward in training": ("output", False),
    "forward when predicting": ("output", True),
    "variance far below eps": ("output", False),
    "large mean, small spread": ("output", False),
    "channels of one value": ("output", False),
    "tiny and odd shapes": ("output", False),
    "gradients in training": ("gradients", False),
    "gradients when predicting": ("gradients", True),
    "finite differences in training": ("differences", False),
    "finite differences when predicting": ("differences", True),
    "first update": ("moved", False),
    "updates in order": ("moved", False),
}
"""By check: its formula, and whether it is for predicting."""


def formula_of(check: str, family: Family) -> tuple[str, ...]:
    """Return the formula that a check, by its name without a layout, compares with, in lines."""
    kind, predicting = _FORMULAS.get(check, ("", False))
    match kind:
        case "output":
            return _output(family, predicting)
        case "gradients":
            return _gradients(family, predicting)
        case "differences":
            return _DIFFERENCES
        case "moved":
            return _MOVED
    return ()


# ---- an explanation


@dataclass(frozen=True)
class Explanation:
    """A check explained: in words, by its formula, and by what came of it for a class.

    Attributes:
        name: of the check, without a layout.
        group, about: see Check.
        does, formula: what it does, and what it compares with, in lines.
        results: how it came out, for each layout and engine; none without a class.
        findings: the faults and dialects that it shows.
        example: the smallest input that shows how it came out, if one can.
    """

    name: str
    group: str
    about: str
    does: str
    formula: tuple[str, ...]
    results: tuple[CheckResult, ...] = ()
    findings: tuple[Finding, ...] = ()
    example: Example | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation for JSON."""
        return {
            "check": self.name,
            "group": self.group,
            "about": self.about,
            "does": self.does,
            "formula": list(self.formula),
            "results": [result.to_dict() for result in self.results],
            "faults": [finding.to_dict() for finding in self.findings],
            "smallest_input": None if self.example is None else self.example.to_dict(),
        }


def find_check(name: str, checks: Sequence[Check]) -> Check:
    """Return the first check of a name, with a layout or for all of them.

    Raises:
        ConfigError: there is none.
    """
    typed = slug(name)
    for one in checks:
        if typed in (
            slug(one.base),
            *(slug(one.name_in(each)) for each in (LAYOUTS, LAST_LAYOUTS)),
        ):
            return one
    known = dict.fromkeys(slug(one.base) for one in checks)
    near = did_you_mean(typed, known)
    raise ConfigError(
        f"there is no check '{name}'.{near} `bnrun verify --list` lists them.", "--explain"
    )


def explain(
    name: str, checks: Sequence[Check], family: Family, report: Report | None = None
) -> Explanation:
    """Explain a check, for all layouts or the one that is named, by what a report says of it.

    Raises:
        ConfigError: there is no such check, or not in the family of the report.
    """
    check, typed = find_check(name, checks), slug(name)
    results = tuple(
        one
        for one in (report.checks if report else ())
        if typed in (slug(one.base), slug(one.name))
    )
    if report and not results:
        raise ConfigError(f"'{name}' is no check of the family {family}.", "--explain")
    evidence: dict[Fault, str] = {}
    for result in results:
        for fault, seen in zip(result.faults, result.seen, strict=True):
            evidence[fault] = evidence.get(fault) or seen
    examples = [result.example for result in results if result.example is not None]
    return Explanation(
        check.base,
        check.group_in(family),
        check.about,
        DOES[check.base],
        formula_of(check.base, family),
        results,
        tuple(
            dataclasses.replace(one, seen=evidence[one.fault], seen_in="")
            for one in (report.findings if report else ())
            if one.fault in evidence
        ),
        next((one for one in examples if one.differs), next(iter(examples), None)),
    )
