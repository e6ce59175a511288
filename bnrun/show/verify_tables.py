"""A verification as tables: every check, the faults that explain failures, and the verdict."""

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.folding import Indented, Items, Paragraph
from bnrun.show.tables import Table, label, number, pairs, table
from bnrun.show.wording import norm_name
from bnrun.verification.check import Check
from bnrun.verification.fault import Fault
from bnrun.verification.report import GROUPS, CheckResult, Finding, Report

CONTRACTS = {"torch": "PyTorch's layer", "textbook": "the textbook's layer"}
STYLES = {"pass": "green", "dialect": "yellow", "fail": "bold red", "skip": "dim"}
FEW_CHECKS = 3
"""Checks that a fault lists by name; the others are counted."""


def report_view(report: Report) -> RenderableType:
    """Show a report: the checks, then the faults and dialects, then the verdict.

    Faults are numbered 1, 2, …, and dialects a, b, … The verdict names them all once more, since
    their sentences may fill more than a screen.
    """
    numbers = {finding.fault: str(at) for at, finding in enumerate(report.faults, start=1)}
    numbers |= {one.fault: chr(ord("a") + at) for at, one in enumerate(report.dialects)}
    parts: list[RenderableType] = [Paragraph(_title(report)), Text(), _checks(report, numbers)]
    parts += _skips(report.checks)
    for finding in (*report.faults, *report.dialects):
        parts += [Text(), _finding(finding, numbers[finding.fault])]
    parts += [Text(), *_closing(report, numbers)]
    return Group(*parts)


def _title(report: Report) -> str:
    name, contract = norm_name(report.implementation), CONTRACTS[report.contract]
    measured = "; ".join(f"{one.engine}, {one.dtype}" for one in report.measurements)
    return f"{name} against {contract}: {measured}; on {report.device}"


def _checks(report: Report, numbers: dict[Fault, str]) -> Table:
    """Show the checks in sections: the groups, under each engine where there are several."""
    columns = (label("check"), label(), number("largest error"), label("cause"))
    shown = table(*columns, gap=3)
    several = len(report.measurements) > 1
    for measured in report.measurements:
        for group in GROUPS:
            checks = [c for c in report.checks if c.group == group and c.engine == measured.engine]
            if not checks:
                continue
            engine = f": {measured.engine}, {measured.dtype}" if several else ""
            shown.add_section(Text(f"{group}{engine}", style="bold"))
            for check in checks:
                shown.add_row(*_row(check, numbers))
    return shown


def _row(check: CheckResult, numbers: dict[Fault, str]) -> Iterator[str | Text]:
    status = "dialect" if check.status == "pass" and check.faults else check.status
    yield Text(f"  {check.name}")
    yield Text(status, style=STYLES[status])
    yield size(check.max_error)
    yield " ".join(number for fault, number in numbers.items() if fault in check.faults)


def size(error: float | None) -> str:
    """Write an error: one digit is enough to tell rounding from a mistake."""
    if error is None:
        return ""
    if not math.isfinite(error):
        return "not finite"
    return "0" if error == 0 else f"{error:.0e}"


def _skips(checks: Iterable[CheckResult]) -> Iterator[RenderableType]:
    """Show why checks were skipped, each reason once."""
    reasons: dict[str, dict[str, None]] = {}
    for check in checks:
        if check.status == "skip":
            reasons.setdefault(check.message, {})[check.name] = None
    if reasons:
        yield Text()
    for reason, names in reasons.items():
        yield pairs([("skipped", f"{'; '.join(names)}: {reason}")])


def _finding(finding: Finding, number: str) -> RenderableType:
    fault = finding.fault
    lines = [Text(finding.sentence, style="bold")]
    if fault.is_dialect:
        lines.append(Text(f"A dialect, not a mistake; used by {fault.speakers}."))
    if finding.seen:
        lines.append(Text(f"Seen: {finding.seen}"))
    lines.append(Text(f"{'To change it' if fault.is_dialect else 'Fix'}: {fault.fix}"))
    names = finding.checks
    more = f" and {len(names) - FEW_CHECKS} more" if len(names) > FEW_CHECKS else ""
    lines.append(Text(f"Shows in: {'; '.join(names[:FEW_CHECKS])}{more}.", style="dim"))
    return pairs([(number, lines[0]), *(("", line) for line in lines[1:])])


def _closing(report: Report, numbers: dict[Fault, str]) -> Iterator[RenderableType]:
    counts = {
        status: sum(check.status == status for check in report.checks)
        for status in ("pass", "fail", "skip")
    }
    found = [_count(len(report.faults), "fault"), _count(len(report.dialects), "dialect")]
    named = ", ".join(text for text in found if text)
    in_part = " in part" if report.verdict == "pass" and report.not_judged else ""
    verdict = Text(f"{report.verdict}{in_part}", style=STYLES[report.verdict]).append(
        f"{': ' + named if named else ''} ({counts['pass']} checks passed, {counts['fail']} "
        f"failed, {counts['skip']} skipped, in {report.seconds:.1f} s)",
        style="not bold default",
    )
    yield Paragraph(verdict)
    if numbers:
        yield Items([f"{number} {fault.name}" for fault, number in numbers.items()])
    for one in report.measurements:
        if one.engine == "compiled":
            count = sum(check.engine == "compiled" for check in report.checks)
            checks = _count(count, "check")
            calls = _count(one.kernel_calls, "kernel call")
            yield Paragraph(f"compiled: {checks} ({calls})")
    if report.not_measured:
        yield Paragraph(f"compiled: not checked. {report.not_measured}")
    if report.takes and report.not_taken:
        layouts = " and ".join(report.not_taken)
        yield Paragraph(f"Not covered: {layouts}, which the class does not accept (see above).")
    if "moving statistics" in report.not_judged:
        yield Paragraph("Not judged: its moving statistics, which are not found (see above).")
    yield from map(Paragraph, report.remarks)
    if report.printed:
        yield Paragraph(f"The norm printed {_count(report.printed, 'line')}, not shown here.")


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}" if many else ""


def catalogue_view(checks: Sequence[Check], faults: Sequence[Fault]) -> RenderableType:
    """Show what is checked, and which mistakes are known by name."""
    parts: list[RenderableType] = []
    for group in GROUPS:
        of_group = ((check.name, check.about) for check in checks if check.group == group)
        parts += [Text(group, style="bold"), Indented(pairs(of_group), 2), Text()]
    for title, dialects in (("known mistakes", False), ("known dialects", True)):
        chosen = [fault for fault in faults if fault.is_dialect == dialects]
        known = Indented(pairs((fault.name, fault.sentence) for fault in chosen), 2)
        parts += [Text(f"{len(chosen)} {title}", style="bold"), known, Text()]
    return Group(*parts[:-1])
