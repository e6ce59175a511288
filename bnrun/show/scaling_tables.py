"""How a training scales with its processes, as tables."""

from collections.abc import Iterator

from rich.console import Group, RenderableType

from bnrun.benchmark.process_scaling import Scaling
from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table, text
from bnrun.show.wording import data_name, figures, norm_name, percent, rate, ratio, ratio_range


def scaling_view(scaling: Scaling) -> RenderableType:
    """Show what passes between the processes in a step, and last their speed together."""
    return Group(
        Paragraph(
            f"LeNet, norm {norm_name(scaling.norm)}, {data_name(scaling.data)}, batches of "
            f"{scaling.batch_size}, shared by processes"
        ),
        *map(Paragraph, _notes(scaling)),
        *("", _sums_table(scaling), "", _speed_table(scaling)),
    )


def _sums_table(scaling: Scaling) -> Table:
    names = ("calls", "kB", "ms", "share of time")
    shown = table(label("sums a step"), *map(number, names))
    for point in scaling.points:
        if point.processes == 1:
            continue
        shown.add_row(
            str(point.processes),
            f"{point.calls:.0f}",
            f"{point.bytes / 1e3:,.0f}",
            figures(1000 * point.summing_seconds, digits=2)[0],
            percent(point.summing_share),
        )
    return shown


def _speed_table(scaling: Scaling) -> Table:
    names = ("examples/s", "ratio", "spread", "efficiency")
    shown = table(label("processes"), number("threads"), text("engine"), *map(number, names))
    for at, point in enumerate(scaling.points):
        spread = ratio_range(*point.spread) if at else ""
        shown.add_row(
            str(point.processes),
            str(point.threads),
            point.engine,
            rate(point.examples_per_second),
            ratio(point.ratio) if at else "1",
            spread,
            percent(point.efficiency),
        )
    return shown


def _notes(scaling: Scaling) -> Iterator[str]:
    noise, rounds = scaling.noise, scaling.rounds
    spread = "range" if scaling.has_ranges else "middle half"
    yield (
        f"Medians of {rounds} round{'s' if rounds > 1 else ''} of {scaling.steps} steps; ratios to "
        f"{noise.name} within a round, and their {spread}. Noise: {noise.name} against "
        f"{'itself' if scaling.points[0].processes == 1 else 'themselves'} "
        f"{ratio(noise.ratio)} ({ratio_range(*noise.spread)})."
    )
    yield (
        "Threads are those of each process. Efficiency is the ratio over the number of processes. "
        "Sums are of statistics and gradients: bytes that each process hands over, and the time of "
        "the one that waits least."
    )
    yield from scaling.remarks
    yield f"on {scaling.device}: {scaling.machine}, torch {scaling.torch}"
