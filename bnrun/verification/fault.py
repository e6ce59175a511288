"""A known mistake: a name, two sentences and, where it is one of the formula, the mistaken code."""

import dataclasses
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Family = Literal["batch", "layer", "group", "instance", "rms"]
FAMILIES: tuple[Family, ...] = ("batch", "layer", "group", "instance", "rms")
OF_BATCH: tuple[Family, ...] = ("batch",)
OF_OTHERS: tuple[Family, ...] = FAMILIES[1:]

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """A known mistake: one sentence names it, another says how to fix it.

    A *dialect* is a choice that others make too, not a mistake: `speakers` names them.

    `of_values` marks what is concluded from output values alone. Where those are NaN or random,
    that is the better explanation. `families` are those of norms that can have it; () means all.
    """

    name: str
    sentence: str
    fix: str
    speakers: str = ""
    of_values: bool = False
    families: tuple[Family, ...] = ()

    @property
    def is_dialect(self) -> bool:
        """Return whether this is a choice and not a mistake."""
        return bool(self.speakers)

    def to_dict(self) -> dict[str, str]:
        """Return the fault for JSON. `mend` is the older name of `fix`, which scripts read."""
        facts = {"name": self.name, "says": self.sentence, "fix": self.fix, "mend": self.fix}
        return facts | {"speakers": self.speakers}


@dataclass(frozen=True, eq=False)
class Choice(Generic[T]):
    """One way to compute one part of a norm: `value` is the code of that part, or a number.

    `fault` says what is wrong with it; None where it is never wrong. A contract decides what is
    right, so the right choice of one contract may carry the fault that it is under another.
    A rare one is not looked for together with others.
    """

    value: T
    fault: Fault | None = None
    rare: bool = False


def wrong(name: str, value: T, sentence: str, fix: str = "", speakers: str = "") -> Choice[T]:
    """Return a mistaken way to compute a part; without a fix, it is that of all its `choices`."""
    return Choice(value, Fault(name, sentence, fix, speakers))


def choices(right: Choice[T] | T, *others: Choice[T], fix: str = "") -> tuple[Choice[T], ...]:
    """Return the ways to compute a part, the right one first; `fix` is for those without one."""
    first = right if isinstance(right, Choice) else Choice(right)
    return (first, *(_with_fix(other, fix) for other in others))


def _with_fix(choice: Choice[T], fix: str) -> Choice[T]:
    if choice.fault is None or choice.fault.fix:
        return choice
    return dataclasses.replace(choice, fault=dataclasses.replace(choice.fault, fix=fix))
