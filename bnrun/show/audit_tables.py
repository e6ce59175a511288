"""An audit on the screen: the verdict, then the findings, then norms and predictions."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.health.evidence import Mode, NormPlace
from bnrun.health.finding import SEVERITIES, Finding, Severity, in_deviations, in_words
from bnrun.health.findings import KINDS
from bnrun.health.report import PARTS, Audit, distance_of, nearly_off
from bnrun.show.folding import Indented, Paragraph
from bnrun.show.tables import Table, label, number, pairs, table
from bnrun.show.verdict import EndingWithVerdict
from bnrun.show.wording import norm_name

STYLES = {"healthy": "green", "ill": "bold red"}
MARKS: Mapping[Severity, str] = {"error": "red", "warning": "yellow", "note": "dim"}
MODE_WORDS: Mapping[Mode, str] = {
    "moving": "moving",
    "population": "population",
    "batch": "batch",
    "training": "in train() mode",
}
"""The modes in the order of their rows."""
MODE_WORDS_WITHOUT_MOVING: Mapping[Mode, str] = {
    "moving": "in eval() mode",
    "training": "in train() mode",
}
"""The same where no norm keeps moving statistics: other modes predict alike."""
MOST_NORMS = 24
"""Norms in the table; of more, those that findings name and those that are furthest off."""
FEW_LAYERS = 4
"""Layers that a finding lists by name; more are counted."""
UNDER = 3
"""Indentation of what belongs to a finding."""


def audit_view(audit: Audit) -> RenderableType:
    """Show an audit. Findings are numbered; what follows from one stands under it."""
    parts: list[RenderableType] = [_title(audit), *map(Paragraph, _facts(audit))]
    roots = [one for one in audit.findings if one.under is None]
    norms = {norm.name for norm in audit.evidence.norms}
    for place, finding in enumerate(roots, start=1):
        parts += [Text(), _finding(finding, str(place), norms)]
        under = _under(finding, audit.findings)
        parts += [Indented(_consequence(one, norms), UNDER) for one in under]
    if audit.evidence.norms:
        parts += [Text(), _norms(audit)]
    if _has_moving(audit) and audit.evidence.outputs.distances:
        parts += [Text(), _predictions(audit, "statistics", MODE_WORDS), Paragraph(_parting(audit))]
    elif audit.evidence.outputs.accuracies:
        parts += [Text(), _predictions(audit, "predictions", MODE_WORDS_WITHOUT_MOVING)]
    parts += [Paragraph(one) for one in audit.remarks]
    return EndingWithVerdict(Group(*parts), _title(audit))


def _title(audit: Audit) -> Paragraph:
    """Return the network, the verdict, and how much was found."""
    roots = [one for one in audit.findings if one.under is None]
    counts = {what: sum(one.severity == what for one in roots) for what in SEVERITIES}
    found = "".join(f", {_count(many, what)}" for what, many in counts.items() if many)
    following = len(audit.findings) - len(roots)
    if following:
        what = "thing that follows" if following == 1 else "things that follow"
        found += f" and {following} {what} from {'it' if len(roots) == 1 else 'them'}"
    title = Text(f"{norm_name(audit.evidence.network)}: ", style="bold")
    title.append(audit.headline, style=STYLES.get(audit.headline, "yellow"))
    return Paragraph(title.append(found, style="not bold default"))


def _facts(audit: Audit) -> Iterator[str]:
    """Yield what was audited, and what it took."""
    evidence = audit.evidence
    yield f"{_count(len(evidence.norms), 'norm')}, {evidence.parameters:,} parameters."
    loading = evidence.loading
    if loading.file:
        wrapped = f"; wrappers taken off: {_quoted(loading.unwrapped)}" if loading.unwrapped else ""
        others = f"; not taken: {_quoted(loading.others)}" if loading.others else ""
        yield f"Weights: {loading.file}{wrapped}{others}."
    if evidence.batches:
        yield (
            f"Statistics over {_count(sum(evidence.batches), 'example')} in "
            f"{_count(len(evidence.batches), 'batch')}, predictions over "
            f"{evidence.outputs.examples:,}; {evidence.passes} passes."
        )
    if audit.printed:
        yield f"The code printed {_count(audit.printed, 'line')}, not shown here."


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _count(many: int, what: str) -> str:
    plural = "es" if what.endswith("ch") else "s"
    return f"{many:,} {what}{'' if many == 1 else plural}"


# ---- findings


def _finding(finding: Finding, place: str, norms: Collection[str]) -> Table:
    title = Text(f"{finding.severity}: ", style=MARKS[finding.severity])
    title.append(KINDS[finding.id].about, style="bold default")
    lines = [title, Text(finding.message), Text(f"Evidence: {finding.evidence}")]
    lines.append(Text(f"Fix: {finding.fix}"))
    where = f", in {_layers(finding.layers, norms)}" if finding.layers else ""
    lines.append(Text(f"{finding.id}{where}", style="dim"))
    return pairs([(place, lines[0]), *(("", line) for line in lines[1:])])


def _has_moving(audit: Audit) -> bool:
    return any(audit.evidence.moving_norms())


def _layers(names: Sequence[str], norms: Collection[str]) -> str:
    shown = ", ".join(
        in_words(name, "norm" if name in norms else "layer") for name in names[:FEW_LAYERS]
    )
    more = len(names) - FEW_LAYERS
    return shown + (f" and {more} more" if more > 0 else "")


def _under(cause: Finding, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what follows from a finding, at any depth."""
    at = findings.index(cause)
    for one in findings[at + 1 :]:
        if one.under is None:
            return
        yield one


def _consequence(finding: Finding, norms: Collection[str]) -> Paragraph:
    """Return what follows from a finding, in a line."""
    text = Text("from this follows: ", style="dim")
    kind = KINDS[finding.id]
    text.append(f"{kind.about_under or kind.about}: {finding.evidence}", style="default not dim")
    text.append(f" ({finding.id}, in {_layers(finding.layers, norms)})")
    return Paragraph(text)


# ---- norms and predictions


def _norms(audit: Audit) -> Table:
    """Return the table of norms; of many, those that findings name and the furthest off."""
    norms = audit.evidence.norms
    named = {name for one in audit.findings for name in one.layers}
    ranked = sorted(norms, key=lambda one: (one.name not in named, -(distance_of(one) or 0.0)))
    chosen = {one.name for one in ranked[:MOST_NORMS]}
    shown = table(
        label("norm"),
        label("kind"),
        number("channels"),
        number("momentum"),
        number("eps"),
        number("batches\ntracked"),
        number("off by"),
        number("nearly\noff"),
    )
    for norm in norms:
        if norm.name in chosen:
            shown.add_row(*_row(norm))
    left_out = len(norms) - len(chosen)
    if left_out > 0:
        shown.add_line(
            f"and {left_out} more; norms that findings name come first, then the furthest off"
        )
    if audit.evidence.has_data and _has_moving(audit):
        shown.add_line(
            "off by: distance of moving statistics from population ones, in deviations of the "
            "latter"
        )
    return shown


def _row(norm: NormPlace) -> tuple[str, ...]:
    tracked, off, nearly = norm.batches_tracked, distance_of(norm), nearly_off(norm)
    momentum = "average" if norm.has_momentum else ""
    return (
        norm.name or "the network",
        norm.kind,
        str(norm.channels or ""),
        momentum if norm.momentum is None else f"{norm.momentum:g}",
        "" if norm.eps is None else f"{norm.eps:g}",
        "" if tracked is None else f"{tracked:,}",
        "" if off is None else f"{off:.2g}" if off >= 0.005 else "0",
        "" if nearly is None else str(nearly),
    )


def _predictions(audit: Audit, title: str, modes: Mapping[Mode, str]) -> Table:
    """Return a row per mode: accuracy, and how far outputs lie from those of mode `moving`."""
    outputs = audit.evidence.outputs
    columns = [label(title)]
    if outputs.accuracies:
        first = modes["moving"].removeprefix("in ").removesuffix(" mode")
        columns += [number("accuracy"), number(f"against {first}")]
    shown = table(*columns, number("outputs apart"), gap=3)
    moving = outputs.accuracies.get("moving")
    for mode, words in modes.items():
        accuracy, apart = outputs.accuracies.get(mode), outputs.distances.get(mode)
        if accuracy is None and apart is None and mode != "moving":
            continue
        cells = [words]
        if outputs.accuracies:
            known = accuracy is not None and moving is not None and mode != "moving"
            points = f"{100 * (accuracy - moving):+.2f} points" if known else ""  # type: ignore[operator]
            cells += ["-" if accuracy is None else f"{accuracy:.4f}", points]
        shown.add_row(*cells, "" if apart is None else _apart(apart))
    return shown


def _apart(value: float) -> str:
    return f"{value:.2g}" if math.isfinite(value) else "not finite"


def _parting(audit: Audit) -> str:
    """Say where outputs with moving and with population statistics part first."""
    if audit.parts_at is None:
        return (
            f"No norm's output is {PARTS} deviations apart with moving and population statistics."
        )
    apart = audit.evidence.outputs.drift[audit.parts_at]
    far = in_deviations(apart) if math.isfinite(apart) else "values that are not finite"
    return (
        f"With moving and population statistics, outputs part at {in_words(audit.parts_at)} first: "
        f"{far}."
    )
