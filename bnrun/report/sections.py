"""What a page is made of: records of texts, tables and drawings, for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnrun.show.inline_svg import Drawing
from bnrun.show.page_blocks import Block


@dataclass(frozen=True)
class Outcome:
    """How something came out: a word, with a shape and a colour that say the same.

    Attributes:
        word: such as `supported`.
        kind: `good`, `bad` or `open`.
    """

    word: str
    kind: str

    @property
    def shape(self) -> str:
        """Return the shape beside the word, for those who cannot tell the colours."""
        return {"good": "●", "bad": "▲", "open": "○"}[self.kind]


GOOD = ("supported", "pass", "completed", "healthy", "note")
BAD = ("contradicted", "fail", "failed", "diverged", "ill", "error")


def outcome(word: str) -> Outcome:
    """Return how a word of bnrun came out."""
    return Outcome(word, "good" if word in GOOD else "bad" if word in BAD else "open")


@dataclass(frozen=True)
class Picture:
    """A drawing with what a screen reader says of it."""

    id: str
    drawing: Drawing
    title: str
    description: str


@dataclass(frozen=True)
class Fold:
    """What is folded away on a screen and open in print: its summary and its blocks."""

    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """One result: a claim, a comparison, a run, a verification or an audit.

    Attributes:
        id: the anchor, unique on the page.
        heading: what it is about.
        outcome: how it came out.
        expected: what was expected, in a few words, or "".
        surprise: whether that differs, in words, or "".
        facts: lines by their heading.
        pictures, caption: what is drawn, and what the marks are.
        is_beside: whether the pictures but the first stand in one column beside it.
        folds: the numbers.
        closing: lines by their heading, below the numbers.
        command: what repeats it.
    """

    id: str
    heading: str
    outcome: Outcome
    expected: str = ""
    surprise: str = ""
    facts: Sequence[tuple[str, Sequence[str]]] = ()
    pictures: Sequence[Picture] = ()
    caption: str = ""
    is_beside: bool = False
    folds: Sequence[Fold] = ()
    closing: Sequence[tuple[str, Sequence[str]]] = ()
    command: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the overview: the section that it leads to, its name, and its cells.

    A cell is a text, or how something came out.
    """

    section: str
    name: str
    cells: Sequence[str | Outcome]
    surprise: str = ""


@dataclass(frozen=True)
class Overview:
    """A table at the top of the page: one line for each section of one or several chapters."""

    caption: str
    headings: Sequence[str]
    are_numbers: Sequence[bool]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Chapter:
    """A study with its claims, or all comparisons, runs, verifications or audits.

    Attributes:
        id, heading: of the chapter.
        facts: what it was measured with, by its heading.
        sections: one for each result.
    """

    id: str
    heading: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, Sequence[str]]] = ()


@dataclass(frozen=True)
class Page:
    """A whole report.

    Attributes:
        contents: how many results of each kind it has.
        lead: sentences at its top.
        overviews, chapters: see there.
        data: the raw results, for JSON.
    """

    contents: str
    lead: Sequence[str]
    overviews: Sequence[Overview]
    chapters: Sequence[Chapter]
    data: Mapping[str, Any]
