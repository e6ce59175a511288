"""An experiment with a norm, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from bnrun.norms.user_module import own_line
from bnrun.verification.subject import NotOffered, Subject

# Tensors in float64 on the CPU, numbers, texts, None, and lists and dicts of these.
Values = dict[str, Any]
Experiment = Callable[[Subject], Values]
LONGEST = 300  # of an error's words
Trouble = Literal["not offered", "raised", "hung", "exited", "not run"]


@dataclass(frozen=True)
class Observation:
    """What an experiment came to: its values, or the trouble there was, in words."""

    values: Values = field(default_factory=dict)
    trouble: Trouble | None = None
    message: str = ""


def attempt(experiment: Experiment, subject: Subject) -> Observation:
    """Run an experiment, whatever it raises, from one and the same state of torch."""
    torch.manual_seed(0)
    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    try:
        return Observation(experiment(subject))
    except NotOffered as error:
        return Observation(trouble="not offered", message=str(error))
    except BaseException as error:  # SystemExit too; nothing of it is ours
        return Observation(trouble="raised", message=describe(error))


def describe(error: BaseException) -> str:
    """Return an error in words, with the user's own line where it came from one."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # somebody else's error, too
        lines = []
    said = f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
    line = own_line(error).strip()
    shown = f"{said[:LONGEST]} ({line})" if line else said[:LONGEST]
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
