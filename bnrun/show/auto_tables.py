"""Starts with `training.engine: auto` and with each engine, as a table and what follows from it."""

from collections.abc import Iterator

from rich.console import Group, RenderableType

from bnrun.benchmark.auto_starts import AutoBenchmark
from bnrun.show.folding import Paragraph
from bnrun.show.tables import label, number, table, text
from bnrun.show.wording import data_name, ratio, ratio_range


def auto_view(benchmark: AutoBenchmark) -> RenderableType:
    """Show the starts of a config with auto and with each engine, and what follows."""
    epochs, count = benchmark.config["training"]["epochs"], len(benchmark.starts)
    names = ("auto", "compiled", "eager", "choosing")
    shown = table(label("start"), *map(number, names), text("chosen"), text("why"))
    for at, start in enumerate(benchmark.starts, start=1):
        seconds = (start.auto, start.compiled, start.eager, start.choosing)
        why = start.why.removeprefix("a step takes ")
        shown.add_row(str(at), *map("{:.2f}".format, seconds), start.chosen, why)
    return Group(
        Paragraph(
            f"LeNet, {data_name(benchmark.data)}, {epochs} {'epoch' if epochs == 1 else 'epochs'}, "
            f"{count} {'start' if count == 1 else 'starts'}: seconds of whole trainings"
        ),
        *("", shown, ""),
        *map(Paragraph, _auto_findings(benchmark)),
        Paragraph(f"on {benchmark.device}: {benchmark.machine}, torch {benchmark.torch}"),
    )


def _auto_findings(benchmark: AutoBenchmark) -> Iterator[str]:
    count, lead = len(benchmark.starts), benchmark.compiled_lead
    times = f"eager takes {ratio(lead.median)} times as long ({ratio_range(*lead.spread)})"
    if benchmark.faster is None:
        yield f"Neither engine is the faster one here: {times}."
    else:
        yield (
            f"auto chose the slower engine in {benchmark.wrong_choices} of {count} starts. "
            f"The faster one here is {benchmark.faster}: {times}."
        )
    verb = "saved" if benchmark.saved >= 0 else "cost"
    yield (
        f"Choosing took {benchmark.choosing:.2f} s, and {verb} {abs(benchmark.saved):.2f} s of a "
        f"training against eager (medians). auto took longer than eager in {benchmark.losses} of "
        f"{count} starts."
    )
    if benchmark.compiling is not None:
        yield (
            f"Compiling the kernels, once on a machine, takes {benchmark.compiling:.1f} s here; "
            f"auto assumes {benchmark.assumed_compiling:.1f} s, and that it saves "
            f"{100 * benchmark.assumed_saving:.0f} % of a step or more."
        )
