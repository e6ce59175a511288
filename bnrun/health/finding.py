"""A finding: what an audit says of a layer or a network; and the kinds of findings there are."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
RECALIBRATE = "--recalibrate fixed.pt (in Python: torch.optim.swa_utils.update_bn)"
"""The fix for weights whose moving statistics are not theirs."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. An error makes a network ill; a note is no fault."""


@dataclass(frozen=True)
class Finding:
    """What was found of one or several layers.

    Attributes:
        id: its kind's.
        severity: an `error` makes predictions or training wrong here; a `warning` may; a `note`
            is worth knowing.
        layers: names of the norms, or of other layers, in the network's order; none where it is
            about the whole network.
        evidence: a sentence with numbers.
        message: the cause, in a sentence.
        fix: a line of code, or a command.
        numbers: the numbers of the evidence by name, for `--json`.
        under: id of another finding of the same audit that explains this one.
        explains: whether others may stand under it; False where its own evidence does not account
            for them.
    """

    id: str
    severity: Severity
    layers: tuple[str, ...]
    evidence: str
    message: str
    fix: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    under: str | None = None
    explains: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON."""
        return {
            "id": self.id,
            "severity": self.severity,
            "layers": list(self.layers),
            "evidence": self.evidence,
            "numbers": _for_json(self.numbers),
            "message": self.message,
            "fix": self.fix,
            "under": self.under,
        }


def _for_json(value: Any) -> Any:
    """Return numbers for JSON, which has none that are not finite: null."""
    match value:
        case Mapping():
            return {str(name): _for_json(one) for name, one in value.items()}
        case list() | tuple():
            return [_for_json(one) for one in value]
        case float():
            return value if math.isfinite(value) else None
    return value


def in_words(name: str, what: str = "norm") -> str:
    """Return a layer's name as a sentence has it: `stem.norm`, and `norm 0.1` of bare numbers."""
    is_number = name.replace(".", "").isdigit()
    return f"{what} {name}" if is_number else name or "the network"


def in_deviations(distance: float) -> str:
    """Return a distance as a sentence has it: `0.3 deviations`, and `1 deviation`."""
    number = f"{distance:.2g}"
    return f"{number} deviation{'' if number == '1' else 's'}"


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        id: such as `never-updated`.
        about: what is wrong, in a few words.
        threshold: when it is found, with the numbers.
        follows: ids of kinds that explain this one. Where one of them is found too, this finding
            stands under it, not beside it; the first of them that is found counts.
        about_under: what is wrong where it stands under another; "" where `about` says it.
    """

    id: str
    about: str
    threshold: str
    follows: tuple[str, ...] = ()
    about_under: str = ""

    def finding(
        self,
        severity: Severity,
        layers: Iterable[str],
        *,
        evidence: str,
        message: str,
        fix: str,
        **numbers: Any,
    ) -> Finding:
        """Return a finding of this kind."""
        return Finding(self.id, severity, tuple(layers), evidence, message, fix, numbers)
