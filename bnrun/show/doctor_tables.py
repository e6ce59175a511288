"""The errors of torch's own norms on this machine: a matrix for each device and engine."""

from collections.abc import Iterable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table
from bnrun.show.wording import figures
from bnrun.verification.doctor_result import SUSPECT, CellResult, Examination
from bnrun.verification.report import DTYPES

Place = tuple[str, str]  # device and engine


def doctor_view(examination: Examination) -> RenderableType:
    """Show every cell: its largest error in units of rounding, or why it was not measured."""
    results = examination.results
    places = dict.fromkeys((one.cell.device, one.cell.engine) for one in results)
    parts: list[RenderableType] = [
        Paragraph(f"torch {examination.torch}, its own norms against formulas in float64"),
        Paragraph(
            "Largest error of output, gradients and moving statistics, in units of the dtype's "
            f"rounding (its eps, times the largest value expected); over {SUSPECT:g} is a fault."
        ),
    ]
    for place in places:
        cells = [one for one in results if (one.cell.device, one.cell.engine) == place]
        where = _where(place, examination.machines)
        parts += ["", Paragraph(Text(f"{where}:", style="bold")), _matrix(cells)]
    parts += _reasons(results)
    parts += ["", *_closing(examination)]
    return Group(*parts)


def _where(place: Place, machines: Mapping[str, str]) -> str:
    device, engine = place
    return f"{device} ({machines[device]}), {engine}"


def _matrix(cells: Iterable[CellResult]) -> Table:
    names = ("norm", "mode", "memory format")
    shown = table(*map(label, names), *map(number, DTYPES), gap=1)
    rows: dict[tuple[str, str, str], dict[str, Text]] = {}
    for one in cells:
        cell = one.cell
        rows.setdefault((cell.norm, cell.mode, cell.format), {})[cell.dtype] = _units(one)
    for row, by_dtype in rows.items():
        shown.add_row(*row, *(by_dtype.get(dtype, Text("-")) for dtype in DTYPES))
    return shown


def _units(one: CellResult) -> Text:
    style = {"pass": "green", "fail": "bold red", "skip": "dim"}[one.status]
    return Text("-" if one.units is None else figures(one.units, digits=1)[0], style=style)


def _reasons(results: Iterable[CellResult]) -> Iterator[RenderableType]:
    """Say why cells failed or have no figure, each reason once, with what it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in results:
        if one.units is None or one.status == "fail":
            cell = one.cell
            place = f"{cell.device} {cell.engine}"
            said = f"{cell.norm} {cell.mode} {cell.format} {cell.dtype}, {place}"
            reason = one.reason if one.units is None else f"{figures(one.units, digits=1)[0]} units"
            reasons.setdefault((one.status, reason), []).append(said)
    if reasons:
        yield ""
    for (status, reason), cells in reasons.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        yield Paragraph(f"{status}  {cells[0]}{more}: {reason}")


def _closing(examination: Examination) -> Iterator[Text]:
    statuses = [one.status for one in examination.results]
    failed, skipped = statuses.count("fail"), statuses.count("skip")
    ran = len(statuses) - skipped
    counted = f": {failed} of {ran} cells are wrong" if failed else f": {ran} cells"
    rest = f", {skipped} are not offered here" if skipped else ""
    style = "bold red" if examination.verdict == "fail" else "green"
    yield Text(examination.verdict, style=style).append(counted + rest, style="not bold default")
