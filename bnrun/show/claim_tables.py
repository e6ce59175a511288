"""The catalogue of claims as tables: all of them, or one, with the last verdict here."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.runs.study_file import StudyFile
from bnrun.show.folding import Indented, Paragraph
from bnrun.show.study_tables import STYLES, claim_facts, parts_table
from bnrun.show.tables import label, pairs, table, text
from bnrun.show.wording import moment
from bnrun.studies.claim import Claim, ClaimResult
from bnrun.studies.study import Study

LastVerdicts = Mapping[str, tuple[StudyFile, ClaimResult]]
"""By the claim's id: the newest study that decided it here, and what came out."""


def catalogue_view(studies: Iterable[Study], last: LastVerdicts) -> RenderableType:
    """Show every claim: who says it, and the last verdict here; a section for each study."""
    studies = list(studies)
    shown = table(label("claim"), text("says, and who says so"), label("last verdict here"))
    for study in studies:
        shown.add_section(Text(f"{study.name}: {study.question}", style="bold"))
        for claim in study.claims:
            says = Text(f"{claim.sentence}\n").append(claim.source, style="dim")
            shown.add_row(claim.id, says, _verdict(last, claim))
    return Group(shown, Text(), *_where_from(studies, last))


def _verdict(last: LastVerdicts, claim: Claim) -> Text:
    if claim.id not in last:
        return Text("-")
    _, result = last[claim.id]
    verdict = Text(result.verdict, style=STYLES[result.verdict])
    surprise = f"\n({result.surprise})" if result.surprise else ""
    return verdict.append(surprise, style="not bold default")


def _where_from(studies: Iterable[Study], last: LastVerdicts) -> Iterator[RenderableType]:
    """Yield which runs the verdicts are from, and which studies have none."""
    runs = {str(kept.result.run): kept for kept, _ in last.values()}
    if runs:
        shown = table(label("verdicts from"), label("budget"), label("started"))
        for run, kept in sorted(runs.items()):
            shown.add_row(Path(run).name, kept.result.budget, moment(kept.started))
        yield shown
    decided = {kept.result.study.name for kept in runs.values()}
    if missing := [study.name for study in studies if study.name not in decided]:
        names = ", ".join(missing)
        yield Paragraph(f"No verdict here yet: {names}. `bnrun study NAME` gives one.")


def claim_view(claim: Claim, study: Study, last: LastVerdicts) -> RenderableType:
    """Show one claim whole: what is claimed, how it is decided, and what came out here."""
    facts = [
        *claim_facts(claim),
        ("expected", f"{_expected(claim)}; confidence {claim.confidence}"),
        ("study", f"{study.name}: {study.question}"),
    ]
    parts: list[RenderableType] = [
        Paragraph(Text(f"{claim.id} {claim.name}  {claim.sentence}", style="bold")),
        Indented(pairs(facts), 4),
        Text(),
    ]
    if claim.id in last:
        kept, result = last[claim.id]
        ran = f"{kept.result.run}, budget {kept.result.budget}, {kept.result.machine}"
        parts += [Paragraph(f"last run here: {ran}, {moment(kept.started)}")]
        parts += [Indented(parts_table(result), 4)]
        parts += [Indented(Paragraph(result.remark), 4)] if result.remark else []
    else:
        parts += [Paragraph(f"not decided here yet; `bnrun study {study.name}` does it")]
    return Group(*parts)


def _expected(claim: Claim) -> str:
    """Write what is expected of a claim: of each part, where the parts differ."""
    if len({part.expected for part in claim.parts}) == 1:
        return claim.expected
    return "; ".join(f"{part.name}: {part.expected}" for part in claim.parts)
