"""Verifications and audits as sections, from the documents that their commands print with --json.

A key that a document lacks is left out: it may be of an older version.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnrun.report.sections import Fold, Overview, Row, Section, outcome
from bnrun.runs.kept_results import Document
from bnrun.show.page_blocks import Block, blocks
from bnrun.show.tables import Column, label, number, table, text
from bnrun.show.wording import norm_name

Facts = Mapping[str, Any]


def verification_section(document: Document, id_: str) -> Section:
    """Return a verification as a section: its faults, then its checks."""
    facts = document.facts
    name = str(facts["implementation"])
    counts = ", ".join(f"{many} {status}" for status, many in _counts(facts).items())
    return Section(
        id=id_,
        heading=f"Verification of {norm_name(name)}",
        outcome=outcome(str(facts["verdict"])),
        facts=[
            (
                "Judged",
                [
                    f"as {facts['family']} normalization, by the contract {facts['contract']}, on "
                    f"{facts['device']}; checks: {counts}; {facts['seconds']:.1f} s"
                ],
            ),
            *_findings("Fault", facts["faults"]),
            *_findings("Dialect, not a mistake", facts["dialects"]),
            *([("Remarks", [*map(str, facts["remarks"])])] if facts.get("remarks") else []),
        ],
        folds=[Fold("The checks", list(_checks(facts)))],
        command=shlex.join(["bnrun", "verify", name]),
    )


def verifications_overview(sections: Sequence[tuple[Section, Document]]) -> Overview:
    """Return a line for each verification."""
    rows = []
    for section, document in sections:
        names = ", ".join(str(one.get("name", "")) for one in document.facts["faults"])
        implementation = norm_name(str(document.facts["implementation"]))
        rows.append(Row(section.id, implementation, (section.outcome, names or "none")))
    return Overview("Verifications", ("layer", "verdict", "faults"), (False,) * 3, rows)


def audit_section(document: Document, id_: str) -> Section:
    """Return an audit as a section: its findings, then the norms of the network."""
    facts = document.facts
    name = str(facts["network"])
    return Section(
        id=id_,
        heading=f"Audit of {norm_name(name)}",
        outcome=outcome(str(facts["verdict"])),
        facts=[
            (f"{_capital(str(one.get('severity', 'finding')))}: {one.get('id', '')}", list(lines))
            for one in facts["findings"]
            if (lines := [*_lines(one)])
        ]
        or [("Findings", ["none"])],
        folds=[Fold("The norms", list(_norms(facts))), *_outputs(facts)],
        command=shlex.join(["bnrun", "audit", name, *_weights(facts)]) + _data(facts),
    )


def audits_overview(sections: Sequence[tuple[Section, Document]]) -> Overview:
    """Return a line for each audit."""
    rows = []
    for section, document in sections:
        facts = document.facts
        names = ", ".join(str(one.get("id", "")) for one in facts["findings"])
        cells = (section.outcome, str(len(facts["norms"])), names or "none")
        rows.append(Row(section.id, norm_name(str(facts["network"])), cells))
    headings = ("network", "verdict", "norms", "findings")
    return Overview("Audits", headings, (False, False, True, False), rows)


def _counts(facts: Facts) -> dict[str, int]:
    counts: dict[str, int] = {}
    for check in facts["checks"]:
        status = str(check.get("status", "-"))
        counts[status] = counts.get(status, 0) + 1
    return counts


def _findings(heading: str, found: Sequence[Facts]) -> Iterator[tuple[str, list[str]]]:
    """Yield each fault: the sentence, what was seen, and how to fix it."""
    for one in found:
        lines = [str(one.get("fault", "")), *(
            f"{name}: {one[key]}" for name, key in (("Evidence", "seen"), ("Fix", "fix"))
            if one.get(key)
        )]  # fmt: skip
        yield f"{heading}: {one.get('name', '')}", lines


def _checks(facts: Facts) -> Iterator[Block]:
    shown = table(
        label("check"), label("group"), label("engine"), label("status"), number("largest error")
    )
    for check in facts["checks"]:
        error = check.get("max_error")
        cells = (str(check.get(key, "")) for key in ("name", "group", "engine", "status"))
        shown.add_row(*cells, "" if error is None else f"{error:.0e}" if error else "0")
    yield from blocks(shown, "Checks")


def _lines(finding: Facts) -> Iterator[str]:
    """Yield what an audit says of a finding."""
    if finding.get("message"):
        yield str(finding["message"])
    if finding.get("layers"):
        yield f"Layers: {', '.join(map(str, finding['layers']))}"
    if finding.get("evidence"):
        yield f"Evidence: {_written(finding['evidence'])}"
    if finding.get("fix"):
        yield f"Fix: {finding['fix']}"
    if finding.get("under"):
        yield f"It follows from: {finding['under']}"


def _data(facts: Facts) -> str:
    """Return the option for data, where there was any; the document does not say which."""
    outputs = facts.get("outputs")
    return " --data DATA" if isinstance(outputs, Mapping) and _is_measured(outputs) else ""


def _weights(facts: Facts) -> list[str]:
    """Return the option that names the weights."""
    weights = facts.get("weights")
    file = weights.get("file") if isinstance(weights, Mapping) else None
    return ["--weights", str(file)] if file else []


def _norms(facts: Facts) -> Iterator[Block]:
    keys = list(dict.fromkeys(key for norm in facts["norms"] for key in norm))
    shown = table(*(_column(key, facts["norms"]) for key in keys))
    for norm in facts["norms"]:
        shown.add_row(*(_written(norm.get(key)) for key in keys))
    yield from blocks(shown, "Norms")


def _column(key: str, norms: Sequence[Facts]) -> Column:
    """Return the column of a key: of numbers, where every norm has one or nothing."""
    kind = number if all(isinstance(norm.get(key), float | int | None) for norm in norms) else text
    return kind(key.replace("_", " "))


def _outputs(facts: Facts) -> Iterator[Fold]:
    """Yield how far predictions lie apart, where the audit measured it."""
    outputs = facts.get("outputs")
    if isinstance(outputs, Mapping) and _is_measured(outputs):
        shown = table(label("predictions"), text("how far apart"))
        for key, value in outputs.items():
            if value not in (None, {}, []):
                shown.add_row(str(key).replace("_", " "), _written(value))
        yield Fold("The outputs", list(blocks(shown, "Outputs by kind of statistics")))


def _is_measured(outputs: Mapping[str, Any]) -> bool:
    """Return whether the network predicted anything: it needs data."""
    return bool(outputs) and outputs.get("examples") != 0


def _written(value: Any) -> str:
    """Write a value of a document: numbers short, lists and mappings in a line."""
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.4g}"
        case dict():
            return ", ".join(f"{key}: {_written(one)}" for key, one in value.items())
        case list() | tuple():
            return ", ".join(map(_written, value))
    return str(value)


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
