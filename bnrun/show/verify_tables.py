"""A verification on the screen: the verdict, then the faults, then the checks."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from bnrun.show.folding import Indented, Items, Paragraph
from bnrun.show.tables import Table, label, number, pairs, table
from bnrun.show.verdict import EndingWithVerdict
from bnrun.show.wording import norm_name
from bnrun.verification.check import Check
from bnrun.verification.check_descriptions import slug
from bnrun.verification.explanations import Explanation
from bnrun.verification.fault import Family, Fault
from bnrun.verification.outcome import UNEXPLAINED
from bnrun.verification.report import (
    GROUPS,
    CheckResult,
    Example,
    Finding,
    Group,
    Report,
    Row,
    base_name,
)

CONTRACTS = {"torch": "PyTorch's", "textbook": "the textbook's"}
FAMILIES: Mapping[Family, str] = {
    "batch": "batch normalization",
    "layer": "layer normalization",
    "group": "group normalization",
    "instance": "instance normalization",
    "rms": "RMS normalization",
}
STYLES = {"pass": "green", "dialect": "yellow", "fail": "bold red", "skip": "dim"}
OF_GROUP: Mapping[Group, str] = {
    "mathematics": "mathematics",
    "moving statistics": "moving statistics",
    "module contract": "the module contract",
}
NO_OPTION = "the class takes no "
"""How the reason begins for which the check of an option is skipped."""
FEW_CHECKS = 3
"""Checks that a fault lists by name; the others are counted."""
MOST_SKIPPED = 8
"""Checks that are skipped for one reason and listed by name; more are counted."""
FINDING_INDENT = 3
DIGITS = (5, 9, 17)
"""Significant digits of two numbers side by side: the fewest of these that tell them apart."""


def report_view(report: Report) -> RenderableType:
    """Show a report: the verdict, then the faults and dialects, then the checks.

    Faults are numbered 1, 2, …, and dialects a, b, … The checks that failed are listed, each with
    the numbers of its causes; those that passed are summed up.
    """
    numbers = _numbers(report.faults, report.dialects)
    parts: list[RenderableType] = [*_verdict(report)]
    for finding in (*report.faults, *report.dialects):
        parts += [Text(), _finding(finding, numbers[finding.fault])]
        if finding.example is not None and finding.fault == UNEXPLAINED:
            parts.append(Indented(_example(finding.example), FINDING_INDENT))
    parts += [Text(), *_checks(report, numbers)]
    return EndingWithVerdict(Stack(*parts), _title(report))


def _numbers(faults: Iterable[Finding], dialects: Iterable[Finding]) -> dict[Fault, str]:
    numbers = {finding.fault: str(at) for at, finding in enumerate(faults, start=1)}
    return numbers | {one.fault: chr(ord("a") + at) for at, one in enumerate(dialects)}


# ---- the verdict


def _title(report: Report) -> Paragraph:
    """Return the name, the verdict, and how much was found."""
    in_part = " in part" if report.verdict == "pass" and report.not_judged else ""
    found = [_count(len(report.faults), "fault"), _count(len(report.dialects), "dialect")]
    counted = "".join(f", {one}" for one in found if one)
    title = Text(f"{norm_name(report.implementation)}: ", style="bold")
    title.append(f"{report.verdict}{in_part}", style=STYLES[report.verdict])
    return Paragraph(title.append(counted, style="not bold default"))


def _verdict(report: Report) -> Iterator[RenderableType]:
    """Yield the verdict, what it is about, and what it does not cover."""
    yield _title(report)
    measured = "; ".join(f"{one.engine}, {one.dtype}" for one in report.measurements)
    counts = {
        status: sum(check.status == status for check in report.checks)
        for status in ("pass", "fail", "skip")
    }
    yield Paragraph(
        f"By {CONTRACTS[report.contract]} {FAMILIES[report.family]}: {measured}; on "
        f"{report.device}."
    )
    yield Paragraph(
        f"{counts['pass']} checks passed, {counts['fail']} failed, {counts['skip']} skipped, in "
        f"{report.seconds:.1f} s."
    )
    yield from map(Paragraph, _notes(report))


def _notes(report: Report) -> Iterator[str]:
    """Yield what qualifies the verdict."""
    if report.recognized:
        yield report.recognized
    if report.takes and report.not_taken:
        yield f"Not covered: {' and '.join(report.not_taken)}, which the class does not accept."
    if "moving statistics" in report.not_judged:
        yield "Not judged: its moving statistics, which are not found."
    if report.not_measured:
        yield f"compiled: not checked. {report.not_measured}"
    for one in report.measurements:
        if one.engine == "compiled":
            count = sum(check.engine == "compiled" for check in report.checks)
            yield (
                f"compiled: {_count(count, 'check')} ({_count(one.kernel_calls, 'kernel call')})."
            )
    yield from report.remarks
    if report.printed:
        yield f"The norm printed {_count(report.printed, 'line')}, not shown here."


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}" if many else ""


# ---- faults and dialects


def _finding(finding: Finding, number: str) -> Table:
    fault = finding.fault
    lines = [Text(finding.sentence, style="bold")]
    if fault.is_dialect:
        lines.append(Text(f"A dialect, not a mistake; used by {fault.speakers}."))
    if finding.seen:
        where = f" ({base_name(finding.seen_in)})" if finding.seen_in else ""
        lines.append(Text(f"Evidence: {finding.seen}{where}"))
    lines.append(Text(f"{'To change it' if fault.is_dialect else 'Fix'}: {fault.fix}"))
    lines.append(Text(f"{fault.name}, in {_shows_in(finding.checks)}", style="dim"))
    return pairs([(number, lines[0]), *(("", line) for line in lines[1:])])


def _shows_in(checks: Iterable[str]) -> str:
    names = list(dict.fromkeys(map(base_name, checks)))
    more = len(names) - FEW_CHECKS
    return "; ".join(names[:FEW_CHECKS]) + (f" and {more} more" if more > 0 else "")


def _example(example: Example) -> RenderableType:
    """Show a small input, with what was observed beside what is expected."""
    how = "in training" if example.training else "when predicting"
    given = [f"{name} = {values}" for name, values in example.given.items()]
    shown = table(label(), number("observed"), number("expected"))
    for row in example.rows:
        style = "bold" if row.differs else ""
        shown.add_row(row.name, *(Text(one, style=style) for one in _side_by_side(row)))
    if example.left_out:
        shown.add_line(f"and {example.left_out} more")
    return Stack(Paragraph(f"Smallest input, {how}:"), Items(given), shown)


def _side_by_side(row: Row) -> tuple[str, str]:
    """Write the numbers of a row: where they differ, with as few digits as tell them apart."""
    one, other = row.observed + 0.0, row.expected + 0.0  # adding 0 turns -0 into 0
    texts = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in DIGITS]
    apart = (pair for pair in texts if row.differs and pair[0] != pair[1])
    return next(apart, texts[0])


# ---- the checks


def _checks(report: Report, numbers: Mapping[Fault, str]) -> Iterator[RenderableType]:
    """Yield the checks that failed, those that passed in a dialect, and a sum of all others."""
    failed = [check for check in report.checks if check.status == "fail"]
    dialect = [check for check in report.checks if check.status == "pass" and check.faults]
    for title, checks in (("failed", failed), ("passed in a dialect", dialect)):
        if checks:
            yield from (_listed(title, checks, report, numbers), Text())
    rows = [*_passes(report), *_skips(report.checks)]
    if failed:
        first = next((one for one in failed if one.example is not None), failed[0])
        what = "its formula, a small input" if first.example is not None else "what was seen"
        rows.append(("more", f"--explain {slug(first.base)}: what it does, {what}"))
    yield pairs(rows)


def _listed(
    title: str, checks: Iterable[CheckResult], report: Report, numbers: Mapping[Fault, str]
) -> Table:
    """Show checks, those that differ in their layouts alone in one row."""
    checks = list(checks)
    inputs = [label("inputs")] if any(check.layout for check in checks) else []
    shown = table(label(title), *inputs, number("largest error"), label("cause"))
    rows: dict[tuple[str, str, tuple[Fault, ...]], list[CheckResult]] = {}
    for check in checks:
        rows.setdefault((check.engine, check.base, check.faults), []).append(check)
    engine = ""
    for (of_engine, base, faults), alike in rows.items():
        if len(report.measurements) > 1 and of_engine != engine:
            engine = of_engine
            shown.add_section(Text(f"{engine}, {alike[0].dtype}", style="bold"))
        made = sum(
            (one.engine, one.base) == (of_engine, base) and one.status != "skip"
            for one in report.checks
        )
        layouts = ", ".join(one.layout for one in alike if one.layout)
        errors = [one.max_error for one in alike if one.max_error is not None]
        shown.add_row(
            base,
            *(["all" if len(alike) == made > 1 else layouts] if inputs else []),
            size(max(errors, default=None)),
            " ".join(mark for fault, mark in numbers.items() if fault in faults),
        )
    return shown


def size(error: float | None) -> str:
    """Write an error: one digit is enough to tell rounding from a mistake."""
    if error is None:
        return ""
    if not math.isfinite(error):
        return "not finite"
    return "0" if error == 0 else f"{error:.0e}"


def _passes(report: Report) -> Iterator[tuple[str, str]]:
    """Yield how many checks passed in each group, and the largest error, under each engine."""
    for measured in report.measurements:
        passed = [
            check
            for check in report.checks
            if check.status == "pass" and not check.faults and check.engine == measured.engine
        ]
        if not passed:
            continue
        several = len(report.measurements) > 1
        counts = Counter(check.group for check in passed)
        groups = ", ".join(f"{counts[group]} of {OF_GROUP[group]}" for group in counts)
        worst = max(passed, key=lambda check: check.max_error or 0.0)
        error = f"; largest error {size(worst.max_error)}, {worst.base}" if worst.max_error else ""
        engine = f"{measured.engine}, {measured.dtype}: " if several else ""
        yield "passed", f"{engine}{groups}{error}"


def _skips(checks: Iterable[CheckResult]) -> Iterator[tuple[str, str]]:
    """Yield why checks were skipped, each reason once; those for a layout are counted."""
    reasons: dict[str, list[CheckResult]] = {}
    for check in checks:
        if check.status == "skip":
            is_option = check.message.startswith(NO_OPTION)
            reason = "the class has no such option" if is_option else check.message
            reasons.setdefault(reason, []).append(check)
    for reason, skipped in reasons.items():
        layouts = Counter(check.layout for check in skipped if check.layout)
        names = [f"{_count(many, 'check')} for {layout}" for layout, many in layouts.items()]
        others = list(dict.fromkeys(check.base for check in skipped if not check.layout))
        names += others if len(others) <= MOST_SKIPPED else [_count(len(others), "check")]
        yield "skipped", f"{'; '.join(names)}: {reason}"


# ---- one check explained


def explanation_view(explanation: Explanation) -> RenderableType:
    """Show a check: what it does, by which formula, what came of it, and the smallest input."""
    findings = explanation.findings
    numbers = _numbers(
        *([one for one in findings if one.fault.is_dialect == dialect] for dialect in (False, True))
    )
    rows = [("Does", explanation.does)]
    rows += [("Formula" if at == 0 else "", line) for at, line in enumerate(explanation.formula)]
    rows += [("Result" if at == 0 else "", one) for at, one in enumerate(_results(explanation))]
    parts: list[RenderableType] = [
        Paragraph(Text(explanation.name, style="bold")),
        Paragraph(f"{explanation.group}: {explanation.about}"),
        Text(),
        pairs(rows),
    ]
    for finding in findings:
        parts += [Text(), _finding(finding, numbers[finding.fault])]
    if explanation.example is not None:
        parts += [Text(), _example(explanation.example)]
        wrong = any(result.status == "fail" for result in explanation.results)
        if wrong and not explanation.example.differs:
            parts.append(Paragraph("None of the small inputs that were tried shows the fault."))
    return Stack(*parts)


def _results(explanation: Explanation) -> Iterator[str]:
    for result in explanation.results:
        error = "" if result.max_error is None else f", largest error {size(result.max_error)}"
        where = " for " + result.layout if result.layout else ""
        engine = f", {result.engine}" if result.engine != "eager" else ""
        why = f": {result.message}" if result.status == "skip" else ""
        yield f"{result.status}{where}{engine}{error}{why}"


# ---- the list


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
    return Stack(*parts[:-1])
