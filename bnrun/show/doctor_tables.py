"""What torch's own norms come to on this machine: a matrix for each device and engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnrun.show.tables import label, number, table
from bnrun.verification.cells import DTYPES, SUSPECT, Examined, verdict

Place = tuple[str, str]  # device and engine


def doctor_view(
    examined: Sequence[Examined], machines: Mapping[str, str], torch: str
) -> RenderableType:
    """Show every cell: its largest error in units of rounding, or why there is none.

    Args:
        examined: the cells, in the order of the matrix.
        machines: the devices' names for humans.
        torch: its version.
    """
    places = dict.fromkeys((one.cell.device, one.cell.engine) for one in examined)
    parts: list[RenderableType] = [
        Text(f"torch {torch}, its own norms against formulas in float64"),
        Text(
            "Largest error of output, gradients and moving statistics, in units of the dtype's "
            f"rounding (its eps, times the largest value expected); over {SUSPECT:g} is a fault."
        ),
    ]
    for place in places:
        cells = [one for one in examined if (one.cell.device, one.cell.engine) == place]
        parts += [Text(), Text(f"{_where(place, machines)}:", style="bold"), _matrix(cells)]
    parts += _reasons(examined)
    parts += [Text(), *_closing(examined)]
    return Group(*parts)


def _where(place: Place, machines: Mapping[str, str]) -> str:
    device, engine = place
    return f"{device} ({machines[device]}), {engine}"


def _matrix(cells: Iterable[Examined]) -> Table:
    names = ("norm", "mode", "memory format")
    shown = table(*map(label, names), *map(number, DTYPES), gap=1)
    rows: dict[tuple[str, str, str], dict[str, Text]] = {}
    for one in cells:
        cell = one.cell
        rows.setdefault((cell.norm, cell.mode, cell.format), {})[cell.dtype] = _units(one)
    for row, by_dtype in rows.items():
        shown.add_row(*row, *(by_dtype.get(dtype, Text("-")) for dtype in DTYPES))
    return shown


def _units(one: Examined) -> Text:
    style = {"pass": "green", "fail": "bold red", "skip": "dim"}[one.status]
    return Text("-" if one.units is None else f"{one.units:.1f}", style=style)


def _reasons(examined: Iterable[Examined]) -> Iterator[Text]:
    """Say why cells have no figure, each reason once, with what it holds for."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in examined:
        if one.units is None:
            cell = one.cell
            place = f"{cell.device} {cell.engine}"
            said = f"{cell.norm} {cell.mode} {cell.format} {cell.dtype}, {place}"
            reasons.setdefault((one.status, one.reason), []).append(said)
    if reasons:
        yield Text()
    for (status, reason), cells in reasons.items():
        more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
        yield Text(f"{status}  {cells[0]}{more}: {reason}")


def _closing(examined: Sequence[Examined]) -> Iterator[Text]:
    count = {s: sum(one.status == s for one in examined) for s in ("pass", "fail", "skip")}
    ran = count["pass"] + count["fail"]
    found = verdict(examined)
    counted = f": {count['fail']} of {ran} cells are wrong" if count["fail"] else f": {ran} cells"
    rest = f", {count['skip']} are not offered here" if count["skip"] else ""
    style = "bold red" if found == "fail" else "green"
    yield Text(found, style=style).append(counted + rest, style="not bold default")
