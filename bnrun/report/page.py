"""The page: all sections, written by the templates. The same results give the same bytes.

It needs nothing from outside, which its Content-Security-Policy says to the browser: no script,
no font, no request. Every text is escaped, names of users' classes too.
"""

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bnrun import __version__
from bnrun.events import Stage
from bnrun.report.claims import claims_overview, study_chapter, study_data
from bnrun.report.documents import (
    audit_section,
    audits_overview,
    verification_section,
    verifications_overview,
)
from bnrun.report.records import (
    comparison_section,
    comparisons_overview,
    run_section,
    runs_overview,
)
from bnrun.report.sections import Chapter, Outcome, Overview, Page, Section, outcome
from bnrun.runs.kept_results import KeptResults
from bnrun.runs.study_file import StudyFile
from bnrun.show.inline_svg import COLOURS
from bnrun.studies.rules import Definition, Exact

TEMPLATES = Path(__file__).with_name("templates")
GENERATOR = '<meta name="generator" content="bnrun '
"""How a report is known again: it may be written over."""
OUTCOMES = ("supported", "contradicted", "not decided", "pass", "fail", "skip")
"""Words that come with their shape wherever a cell of a table is one of them."""
LEVEL = 0.05
"""How often a statistical verdict may be wrong by chance."""

Marked = Sequence[tuple[StudyFile, str]]
"""Studies, each with what stands behind the ids of its sections."""
Result = TypeVar("Result")
_Part = tuple[Sequence[Overview], Sequence[Chapter]]


def build_page(results: KeptResults) -> Generator[Stage, None, str]:
    """Draw and write a report; yield what is drawn, and return the HTML.

    Args:
        results: what it is about.
    """
    overviews: list[Overview] = []
    chapters: list[Chapter] = []
    for part in (_studies(results), _records(results), _documents(results)):
        more_overviews, more_chapters = yield from part
        overviews += more_overviews
        chapters += more_chapters
    page = Page(_contents(results), list(_lead(results)), overviews, chapters, _data(results))
    return _written(page)


def _studies(results: KeptResults) -> Generator[Stage, None, _Part]:
    marked = list(_marked(results.studies))
    total = sum(len(kept.result.claims) for kept, _ in marked)
    chapters: list[Chapter] = []
    drawn = 0
    for kept, mark in marked:
        for part in study_chapter(kept, mark):
            if isinstance(part, Chapter):
                chapters.append(part)
            else:
                yield Stage(f"claim {part}", drawn, total)
                drawn += 1
    return [claims_overview(marked)] if total else [], chapters


def _records(results: KeptResults) -> Generator[Stage, None, _Part]:
    parts = []
    if results.comparisons:
        parts.append((yield from _chapter(
            "Comparisons", results.comparisons, comparison_section, comparisons_overview
        )))  # fmt: skip
    if results.runs:
        parts.append((yield from _chapter("Runs", results.runs, run_section, runs_overview)))
    return [overview for overview, _ in parts], [chapter for _, chapter in parts]


def _documents(results: KeptResults) -> Generator[Stage, None, _Part]:
    parts = []
    if results.verifications:
        parts.append((yield from _chapter(
            "Verifications", results.verifications, verification_section, verifications_overview
        )))  # fmt: skip
    if results.audits:
        parts.append(
            (yield from _chapter("Audits", results.audits, audit_section, audits_overview))
        )
    return [overview for overview, _ in parts], [chapter for _, chapter in parts]


def _chapter(
    title: str,
    found: Sequence[Result],
    section: Callable[[Result, str], Section],
    overview: Callable[[Sequence[tuple[Section, Result]]], Overview],
) -> Generator[Stage, None, tuple[Overview, Chapter]]:
    """Return the overview and the chapter of all results of a kind."""
    name = title.lower().removesuffix("s")
    sections = []
    for number, one in enumerate(found, start=1):
        yield Stage(f"{name} {number}", number - 1, len(found))
        sections.append((section(one, f"{name}-{number}"), one))
    return overview(sections), Chapter(f"{name}s", title, [one for one, _ in sections])


def _marked(studies: Sequence[StudyFile]) -> Iterator[tuple[StudyFile, str]]:
    """Yield studies with what makes their ids unique, where one study is there twice."""
    seen: Counter[str] = Counter()
    for kept in studies:
        name = kept.result.study.name
        seen[name] += 1
        yield kept, "" if seen[name] == 1 else f"-{seen[name]}"


def _contents(results: KeptResults) -> str:
    """Write how many results of each kind there are."""
    named = {"study": "studies"}
    return ", ".join(
        f"{many} {named.get(name, name + 's') if many > 1 else name}"
        for name, many in results.counts.items()
    )


def _lead(results: KeptResults) -> Iterator[str]:
    """Yield what a reader must know first: how it came out, and how sure that is."""
    claims = [one for kept in results.studies for one in kept.result.claims]
    if not claims:
        return
    counts = Counter(one.verdict for one in claims)
    verdicts = ", ".join(f"{many} {verdict}" for verdict, many in counts.most_common())
    surprises = sum(one.is_surprise for one in claims)
    yield (
        f"{len(claims)} claims: {verdicts}. {surprises} came out other than expected before the "
        "first run."
    )
    yield (
        "“Contradicted” means contradicted here, by this network, these images and this machine; "
        "never that a paper is wrong."
    )
    statistical = sum(
        not isinstance(part.rule, Exact | Definition) for one in claims for part in one.claim.parts
    )
    by_chance = round(LEVEL * statistical)
    if by_chance:
        yield (
            f"{statistical} parts are decided by a 95 % interval over the seeds: of so many, about "
            f"{by_chance} may be decided wrongly by chance."
        )


def _data(results: KeptResults) -> dict[str, Any]:
    """Return the raw results, for the data block."""
    comparisons = [kept.comparison.to_dict() for kept in results.comparisons]
    runs = [
        kept.record.to_dict() | {"probes": [dataclasses.asdict(look) for look in kept.looks]}
        for kept in results.runs
    ]
    return {
        "bnrun": __version__,
        "studies": list(map(study_data, results.studies)),
        "comparisons": comparisons,
        "runs": runs,
        "verifications": [one.facts for one in results.verifications],
        "audits": [one.facts for one in results.audits],
    }


def _written(page: Page) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        page=page,
        version=__version__,
        css=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        colours=COLOURS,
        outcomes={word: outcome(word) for word in OUTCOMES},
        data=_data_block(page.data),
        safe=Markup,  # of drawings, which are escaped as they are made
        is_outcome=lambda cell: isinstance(cell, Outcome),
        is_text=lambda block: isinstance(block, str),
    )


def _data_block(data: Mapping[str, Any]) -> Markup:
    """Return a JSON document that no text in it can end: `<` is written as an escape."""
    text = json.dumps(_finite(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for one in "<>&":
        text = text.replace(one, f"\\u{ord(one):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    """Return a document with texts in place of numbers that JSON lacks."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Mapping():
            return {str(key): _finite(one) for key, one in value.items()}
        case list() | tuple():
            return list(map(_finite, value))
    return value
