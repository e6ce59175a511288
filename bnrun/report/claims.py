"""Studies as chapters: each claim a section, with its verdict, picture and numbers."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnrun.report.sections import Chapter, Fold, Overview, Picture, Row, Section, outcome
from bnrun.runs.study_file import StudyFile, study_document
from bnrun.show import pictures
from bnrun.show.inline_svg import drawings
from bnrun.show.page_blocks import Block, blocks
from bnrun.show.study_pictures import MEANS, PANELS, marks_words, shown_panels
from bnrun.show.study_tables import measured, need_words, rules_words, source_words
from bnrun.show.tables import label, number, table, text
from bnrun.show.wording import moment
from bnrun.studies.claim import Claim, ClaimResult, Evidence, Part, Points, is_surprise
from bnrun.studies.rules import Definition, Exact, Judgment

CURVE_ROWS = 13
"""Most rows of a table of curves; of more, every so manyth is listed, and the end of each curve."""

READINGS = {"read": "", "summary": "known from a summary", "memory": "from memory"}
"""How a source is known, where it was not read."""


def study_chapter(kept: StudyFile, mark: str) -> Iterator[str | Chapter]:
    """Yield the name of each claim before it is drawn, then the chapter of the study.

    Args:
        kept: the study.
        mark: stands behind the ids of the chapter and its sections; "" for the first of a study.
    """
    result = kept.result
    sections = []
    for one in result.claims:
        yield one.claim.id
        sections.append(_section(one, kept, mark))
    yield Chapter(
        id=f"study-{result.study.name}{mark}",
        heading=f"Study {result.study.name}: {result.study.question}",
        sections=sections,
        facts=list(_conditions(kept)),
    )


def claims_overview(studies: Sequence[tuple[StudyFile, str]]) -> Overview:
    """Return the verdicts on all claims; each study comes with the mark of its ids."""
    rows = [_row(one, mark) for kept, mark in studies for one in kept.result.claims]
    return Overview(
        caption="Claims and their verdicts",
        headings=("claim", "verdict", "says", "measured (95 % interval)", "n", "expected"),
        are_numbers=(False, False, False, False, True, False),
        rows=rows,
    )


def study_data(kept: StudyFile) -> dict[str, Any]:
    """Return the raw results of a study: the verdicts, and the evidence that they are made of."""
    return {
        "result": kept.result.to_dict(),
        "file": study_document(kept.result, kept.environment),
    }


def _row(result: ClaimResult, mark: str) -> Row:
    part, judgment = result.deciding
    value = _value(part, judgment)
    several = f"{part.name}: " if len(result.claim.parts) > 1 else ""
    return Row(
        section=f"{result.claim.id}{mark}",
        name=f"{result.claim.id} {result.claim.name}",
        cells=(
            outcome(result.verdict),
            result.claim.sentence,
            f"{several}{value}",
            _n(part, judgment),
            result.claim.expected,
        ),
        surprise=result.surprise,
    )


def _value(part: Part, judgment: Judgment) -> str:
    """Write what was measured of a part, without its n."""
    return measured(part.rule, judgment).partition(", n =")[0]


def _section(result: ClaimResult, kept: StudyFile, mark: str) -> Section:
    claim, study = result.claim, kept.result
    evidence = study.evidence[claim.id]
    id_ = f"{claim.id}{mark}"
    return Section(
        id=id_,
        heading=f"{claim.id}  {claim.sentence}",
        outcome=outcome(result.verdict),
        expected=f"{claim.expected}, with {claim.confidence} confidence",
        surprise=result.surprise,
        facts=[
            ("Who says it", [*map(_source, claim.sources)]),
            ("What was done", list(_done(result, kept))),
        ],
        pictures=list(_pictures(result, kept, id_)),
        caption=marks_words(claim),
        is_beside=shown_panels(claim, evidence.curves)[0] is None,
        folds=[Fold("The numbers", list(_numbers(result, evidence)))],
        closing=list(_closing(result)),
        command=shlex.join(["bnrun", "study", study.study.name, "--budget", study.budget]),
    )


def _source(source: Any) -> str:
    note = READINGS[source.reading]
    words = source_words(source)
    is_said = note in words or "summar" in words
    return words if is_said else f"{words} ({note})"


def _done(result: ClaimResult, kept: StudyFile) -> Iterator[str]:
    """Yield what was measured, how often, and what decides: a line each."""
    counts = sorted({judgment.n for judgment in result.judgments.values()})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    seeds = f"once for each seed, n = {n}"
    if all(isinstance(part.rule, Exact | Definition) for part in result.claim.parts):
        seeds += ": all must agree"
        if counts[-1] <= 1:
            seeds = "once: one value decides"
    yield f"Measured: {result.claim.statistic}."
    yield f"How often: {seeds}; budget {kept.result.budget}, on {kept.result.machine}."
    yield f"Supported where {rules_words(result.claim)}."


def _closing(result: ClaimResult) -> Iterator[tuple[str, list[str]]]:
    yield "Here, other than in the source", [result.claim.differs]
    if result.claim.limits:
        yield "Limits", [result.claim.limits]
    if result.remark:
        yield "Also seen", [result.remark]
    needs = [need_words(part, seeds, seconds) for part, (seeds, seconds) in result.needs.items()]
    if needs:
        yield "What would decide", needs


def _pictures(result: ClaimResult, kept: StudyFile, id_: str) -> Iterator[Picture]:
    """Yield the panels of the claim's picture, each with its own description."""
    claim = result.claim
    curves = kept.result.evidence[claim.id].curves
    drawn = drawings(pictures.claim_picture(result, kept.result), id_)
    panels = shown_panels(claim, curves)
    for number_, (drawing, panel) in enumerate(zip(drawn, panels, strict=True), start=1):
        if panel is None:
            title, words = f"{claim.id}: seeds and rule of each part", _rows_words(result)
        else:
            title = f"{claim.id}: {panel.title}"
            words = _curves_words(panel.x, panel.chosen(curves))
        yield Picture(f"{id_}-picture-{number_}", drawing, title, words)


def _rows_words(result: ClaimResult) -> str:
    parts = [(part, result.judgments[part.name]) for part in result.claim.parts]
    return " ".join(f"{p.name}: {measured(p.rule, j)}, {j.verdict}." for p, j in parts)


def _curves_words(x: str, curves: Mapping[str, Points]) -> str:
    """Write where each curve of a panel begins and ends."""
    ends = [
        f"{name}: from {points[0][1]:.3g} at {points[0][0]:.6g} to {points[-1][1]:.3g} at "
        f"{points[-1][0]:.6g}"
        for name, points in curves.items()
    ]
    return f"Curves over: {x}. {'; '.join(ends)}."


def _numbers(result: ClaimResult, evidence: Evidence) -> Iterator[Block]:
    """Yield the tables of a claim's parts, with the values of all seeds, and of its curves."""
    several = any(len(values) > 1 for values in evidence.values.values())
    values_of_seeds = [text("values, one a seed")] if several else []
    parts = table(
        label("part"), label("verdict"), text("measured"), number("n"), label("expected"),
        *values_of_seeds,
    )  # fmt: skip
    for part in result.claim.parts:
        judgment = result.judgments[part.name]
        values = ", ".join(f"{value:.4g}" for value in evidence.values.get(part.name, ()))
        expected = part.expected + (" (a surprise)" if is_surprise(part, judgment) else "")
        parts.add_row(
            part.name, judgment.verdict, _value(part, judgment), _n(part, judgment), expected,
            *([values] if several else []),
        )  # fmt: skip
    has_intervals = any(one.ci95 is not None for one in result.judgments.values())
    yield from blocks(parts, "Parts, with 95 % intervals" if has_intervals else "Parts")
    yield from _curves_table(result.claim, evidence.curves)


def _n(part: Part, judgment: Judgment) -> str:
    """Write the number of seeds; of what is not random, nothing."""
    return "" if isinstance(part.rule, Exact | Definition) else str(judgment.n)


def _curves_table(claim: Claim, curves: Mapping[str, Points]) -> Iterator[Block]:
    """Yield a table of the curves: a row for each x, or for every so manyth and for each end."""
    values = {name: dict(points) for name, points in curves.items() if points}
    xs = sorted({x for points in values.values() for x in points})
    if not xs:
        return
    step = -(-len(xs) // CURVE_ROWS)
    panel = PANELS.get(claim.id)
    shown = table(number(panel.x if panel else "x"), *map(number, values))
    ends = {max(points) for points in values.values()}
    for x in sorted({*xs[::step], *ends}):
        cells = (points.get(x) for points in values.values())
        shown.add_row(f"{x:.6g}", *("" if one is None else f"{one:.4g}" for one in cells))
    every = "" if step == 1 else f", one of {step} points"
    yield from blocks(shown, f"Curves, {panel.seeds if panel else MEANS}{every}")


def _conditions(kept: StudyFile) -> Iterator[tuple[str, list[str]]]:
    """Yield what a study ran on, and when."""
    result, environment = kept.result, kept.environment
    seeds = result.study.seeds[result.budget]
    many = "" if not seeds else ", one seed" if seeds == 1 else f", {seeds} seeds"
    yield "Budget", [f"{result.budget}{many}; {result.seconds:.0f} s on {result.machine}"]
    yield from provenance(environment, moment(kept.started))
    if result.unfinished:
        yield "Not measured yet", [", ".join(result.unfinished)]


def provenance(environment: Mapping[str, Any], started: str) -> Iterator[tuple[str, list[str]]]:
    """Yield when something started, with which versions, and at which state of the code."""
    yield "Started", [started]
    names = ("bnrun", "python", "torch", "torchvision", "platform")
    versions = [f"{name} {environment[name]}" for name in names if environment.get(name)]
    if versions:
        yield "Versions", [", ".join(versions)]
    git = environment.get("git")
    if git:
        changed = ", with changes" if git.get("changed") else ""
        yield "Code", [f"commit {str(git.get('commit', '-'))[:12]}{changed}"]
