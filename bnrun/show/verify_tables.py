"""A verification as tables: every check, the faults that explain those that fail, the verdict."""

import math
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnrun.show.tables import label, number, pairs, table
from bnrun.show.wording import norm_name
from bnrun.verification.judge.checks import CheckKind
from bnrun.verification.known.fault import Fault
from bnrun.verification.report import GROUPS, Check, Found, Report

CONTRACTS = {"torch": "PyTorch's layer", "textbook": "the textbook's layer"}
STYLES = {"pass": "green", "dialect": "yellow", "fail": "bold red", "skip": "dim"}
FEW_CHECKS = 3  # that a fault names, before they are counted


def report_view(report: Report) -> RenderableType:
    """Show a report: the checks, then what was found, then the verdict.

    Faults are numbered 1, 2, …, and dialects a, b, …
    """
    numbers = {found.fault: str(at) for at, found in enumerate(report.faults, start=1)}
    numbers |= {found.fault: chr(ord("a") + at) for at, found in enumerate(report.dialects)}
    parts: list[RenderableType] = [Text(_title(report)), Text(), _checks(report, numbers)]
    parts += _skips(report.checks)
    for found in (*report.faults, *report.dialects):
        parts += [Text(), _found(found, numbers[found.fault])]
    parts += [Text(), *_closing(report)]
    return Group(*parts)


def _title(report: Report) -> str:
    held = CONTRACTS[report.contract]
    return f"{norm_name(report.implementation)}, held to {held}, {report.dtype} on {report.device}"


def _checks(report: Report, numbers: dict[Fault, str]) -> Table:
    columns = (label("check"), label(), number("largest error"), label("from"))
    shown = table(*columns, gap=3)
    for at, group in enumerate(GROUPS):
        if at:
            shown.add_section()
        shown.add_row(Text(group, style="bold"))
        for check in (check for check in report.checks if check.group == group):
            status = "dialect" if check.status == "pass" and check.faults else check.status
            origins = [number for fault, number in numbers.items() if fault in check.faults]
            shown.add_row(
                Text(f"  {check.name}"),
                Text(status, style=STYLES[status]),
                size(check.max_error),
                " ".join(origins),
            )
    return shown


def size(error: float | None) -> str:
    """Write an error: one digit is enough to tell rounding from a mistake."""
    if error is None:
        return ""
    if not math.isfinite(error):
        return "not finite"
    return "0" if error == 0 else f"{error:.0e}"


def _skips(checks: Iterable[Check]) -> Iterator[RenderableType]:
    """Say why checks were skipped, each reason once."""
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.status == "skip":
            reasons.setdefault(check.message, []).append(check.name)
    if reasons:
        yield Text()
    for reason, names in reasons.items():
        yield _hanging("skipped", f"{'; '.join(names)}: {reason}", width=8)


def _found(found: Found, number: str) -> RenderableType:
    fault = found.fault
    lines = [Text(found.sentence, style="bold")]
    if fault.is_dialect:
        lines.append(Text(f"A dialect, not a mistake; spoken by {fault.speakers}."))
    if found.seen:
        lines.append(Text(f"Seen: {found.seen}"))
    lines.append(Text(f"{'To change it' if fault.is_dialect else 'To mend it'}: {fault.mend}"))
    lines.append(Text(_follows(found), style="dim"))
    return _hanging(number, *lines, width=3)


def _follows(found: Found) -> str:
    names = found.checks
    listed = "; ".join(names[:FEW_CHECKS])
    more = f" and {len(names) - FEW_CHECKS} more" if len(names) > FEW_CHECKS else ""
    return f"Shows in: {listed}{more}."


def _hanging(mark: str, *lines: str | Text, width: int) -> RenderableType:
    """Show lines beside a mark, wrapped at their own left edge."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=width, no_wrap=True)
    grid.add_column(overflow="fold")
    for at, line in enumerate(lines):
        grid.add_row(mark if at == 0 else "", line if isinstance(line, Text) else Text(line))
    return grid


def _closing(report: Report) -> Iterator[RenderableType]:
    counts = {
        status: sum(check.status == status for check in report.checks)
        for status in ("pass", "fail", "skip")
    }
    found = [_count(len(report.faults), "fault"), _count(len(report.dialects), "dialect")]
    named = ", ".join(text for text in found if text)
    style = STYLES[report.verdict]
    verdict = Text(report.verdict, style=style).append(
        f"{': ' + named if named else ''} ({counts['pass']} checks passed, {counts['fail']} "
        f"failed, {counts['skip']} skipped, in {report.seconds:.1f} s)",
        style="not bold default",
    )
    yield verdict
    if report.takes and report.not_taken:
        layouts = " and ".join(report.not_taken)
        yield Text(f"That is without {layouts}, which it does not take: see above.")
    if report.printed:
        yield Text(f"It printed {_count(report.printed, 'line')} meanwhile, not shown here.")


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}" if many else ""


def catalogue_view(kinds: Sequence[CheckKind], faults: Sequence[Fault]) -> RenderableType:
    """Show what is checked, and which mistakes are known by name."""
    parts: list[RenderableType] = []
    for group in GROUPS:
        checks = pairs((kind.name, kind.about) for kind in kinds if kind.group == group)
        parts += [Text(group, style="bold"), _indented(checks), Text()]
    for title, dialects in (("known mistakes", False), ("known dialects", True)):
        chosen = [fault for fault in faults if fault.is_dialect == dialects]
        known = pairs((fault.name, fault.says) for fault in chosen)
        parts += [Text(f"{len(chosen)} {title}", style="bold"), _indented(known), Text()]
    return Group(*parts[:-1])


def _indented(view: RenderableType) -> RenderableType:
    return Padding(view, (0, 0, 0, 2))
