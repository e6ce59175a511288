"""What a known mistake is: a name, two sentences, and, where it is code, the mistaken formula."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """A known mistake: one sentence that names it, one that says how to mend it.

    A *dialect* is no mistake but a choice, made by others too: `speakers` says who.
    """

    name: str
    says: str
    mend: str
    speakers: str = ""

    @property
    def is_dialect(self) -> bool:
        """Tell whether this is a choice and not a mistake."""
        return bool(self.speakers)


@dataclass(frozen=True, eq=False)
class Choice(Generic[T]):
    """One way to do one part of a norm: `does` is that part as code, or a number.

    `fault` says what is wrong with it; None where nothing ever is. What counts as right is the
    contract's to say, so a right choice may have a fault too: that of the other contract.
    """

    does: T
    fault: Fault | None = None
