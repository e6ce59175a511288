"""Studies as tables: the list of them, and the claims of one with their verdicts."""

import math
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.folding import Indented, Paragraph
from bnrun.show.tables import Table, label, number, pairs, table, text
from bnrun.studies.claim import Claim, ClaimResult, Part, Source, is_surprise
from bnrun.studies.rules import Definition, Exact, Judgment, Rule, Verdict
from bnrun.studies.study import Study, StudyResult

STYLES: dict[Verdict, str] = {
    "supported": "green",
    "contradicted": "bold red",
    "not decided": "yellow",
}


def studies_table(studies: Iterable[Study]) -> RenderableType:
    """Show the studies: what each asks, how many claims it decides, and how long it takes."""
    shown = table(label("study"), text("question"), number("claims"), number("seconds"))
    studies = list(studies)
    for study in studies:
        seconds = f"{study.seconds:.0f}"
        shown.add_row(study.name, study.question, str(len(study.claims)), seconds)
    minutes = math.ceil(sum(study.seconds for study in studies) / 60)
    note = (
        f"Seconds: of budget standard, on two cores without other work; together {minutes} minutes."
    )
    example = f"Run one: bnrun study {studies[0].name}"
    return Group(shown, Text(), Paragraph(note), Paragraph(example))


def study_view(
    result: StudyResult, pictures: Mapping[str, str] = MappingProxyType({})
) -> RenderableType:
    """Show a study: each claim with its evidence, then the verdicts in a table.

    Args:
        result: of the study.
        pictures: the file name of each claim's picture, by the claim's id, where it has one.
    """
    claims = result.claims
    parts: list[RenderableType] = [Paragraph(_title(result))]
    for one in claims:
        parts += [Text(), *_claim(one, pictures.get(one.claim.id))]
    if claims:
        parts += [Text(), _verdicts(claims)]
    parts += [Text(), *map(Paragraph, _closing(result))]
    return Group(*parts)


def _title(result: StudyResult) -> str:
    seeds = result.study.seeds[result.budget]
    n = "" if not seeds else ", one seed" if seeds == 1 else f", {seeds} seeds"
    return f"study {result.study.name}, budget {result.budget}{n}: {result.study.question}"


def _claim(result: ClaimResult, picture: str | None) -> Iterator[RenderableType]:
    claim = result.claim
    yield Paragraph(Text(f"{claim.id}  {claim.sentence}", style="bold"))
    rows = [
        *claim_facts(claim),
        *([("also", result.remark)] if result.remark else []),
        *([("picture", picture)] if picture else []),
    ]
    yield Indented(pairs(rows), 4)
    yield Indented(parts_table(result), 4)
    for part, (seeds, seconds) in result.needs.items():
        yield Indented(Paragraph(need_words(part, seeds, seconds)), 4)


def parts_table(result: ClaimResult) -> Table:
    """Show the parts of a claim: what was measured, the verdict, and what was expected."""
    shown = table(label("part"), number("measured"), label("verdict"), label("expected"))
    for one in result.claim.parts:
        shown.add_row(*_part(one, result.judgments[one.name]))
    return shown


def claim_facts(claim: Claim) -> list[tuple[str, str]]:
    """Return what is known of a claim before it is tested, each fact with its heading."""
    return [
        ("says", "; ".join(map(source_words, claim.sources))),
        ("here", claim.differs),
        ("number", claim.statistic),
        ("supported", f"where {rules_words(claim)}"),
        *([("limits", claim.limits)] if claim.limits else []),
    ]


def rules_words(claim: Claim) -> str:
    """Write the rules of a claim; where they differ, each with the names of its parts."""
    names: dict[str, list[str]] = {}
    for part in claim.parts:
        names.setdefault(part.rule.text(), []).append(part.name)
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{text} ({'; '.join(parts)})" for text, parts in names.items())


def source_words(source: Source) -> str:
    """Write who says a claim, where, and with which numbers."""
    numbers = f" ({source.numbers})" if source.numbers else ""
    return f"{source.text}, {source.place}{numbers}"


def need_words(part: str, seeds: int, seconds: float) -> str:
    """Write how many seeds would decide an open part, and how long they take."""
    minutes = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
    return (
        f"{part}: {seeds} seeds with this mean and spread would decide; the study takes about "
        f"{minutes} for so many."
    )


def _part(part: Part, judgment: Judgment) -> Iterator[str | Text]:
    yield Text(part.name)
    yield measured(part.rule, judgment)
    yield Text(judgment.verdict, style=STYLES[judgment.verdict])
    surprise = "  (a surprise)" if is_surprise(part, judgment) else ""
    yield Text(part.expected + surprise)


def measured(rule: Rule, judgment: Judgment) -> str:
    """Write what was measured: a mean with its interval, or the error or check that decides."""
    value = judgment.estimate
    if value is None:
        return "-"
    if isinstance(rule, Exact):
        return "0" if value == 0 else f"{value:.0e}"
    if isinstance(rule, Definition):
        return f"{value:g}"
    interval = "" if judgment.ci95 is None else " ({:.3g} to {:.3g})".format(*judgment.ci95)
    return f"{value:.3g}{interval}, n = {judgment.n}"


def _verdicts(claims: Iterable[ClaimResult]) -> RenderableType:
    shown = table(label("claim"), label(), label("verdict"), label("expected"))
    for one in claims:
        surprise = f"  ({one.surprise})" if one.surprise else ""
        verdict = Text(one.verdict, style=STYLES[one.verdict])
        shown.add_row(one.claim.id, one.claim.name, verdict, one.claim.expected + surprise)
    return shown


def _closing(result: StudyResult) -> Iterator[str]:
    yield f"{result.seconds:.1f} s on {result.machine}"
    if result.unfinished:
        yield f"not measured yet: {', '.join(result.unfinished)}"
