"""A training as a table; a config and the places of the data, as tables."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.config.yaml_text import inline
from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table, text
from bnrun.show.wording import figures, fraction, rate, training_title
from bnrun.training_summary import Summary


def training_table(summary: Summary) -> RenderableType:
    """Show a training: a row per epoch, then the textbook's closing lines."""
    if not summary.epochs:
        return Group(*map(Paragraph, (training_title(summary), *closing_lines(summary))))
    held_out = summary.data.validation_images > 0
    others = [name for name in ("population", "batch") if _evaluated(summary, name)]
    if others:  # headings of two lines, to fit a terminal of 80 columns
        tests = [f"test\n{name}" for name in ("moving", *others)]
        names = ["epoch", "loss", "train\nacc", *(["val\nacc"] if held_out else []), *tests]
    else:
        names = ["epoch", "loss", "train acc", *(["val acc"] if held_out else []), "test acc"]
    shown = table(
        *map(number, (*names, "examples/s", "seconds")),
        gap=3,
        margin=1 if others else 2,
        title=training_title(summary),
        split=True,
    )
    for epoch in summary.epochs:
        validation = [fraction(epoch.validation_acc)] if held_out else []
        shown.add_row(
            str(epoch.epoch),
            fraction(epoch.loss),
            fraction(epoch.train_acc),
            *validation,
            fraction(epoch.test_acc),
            *(fraction(getattr(epoch, f"test_acc_{name}")) for name in others),
            rate(epoch.examples_per_second),
            f"{epoch.seconds:.1f}",
        )
    return Group(shown, *map(Paragraph, closing_lines(summary)))


def closing_lines(summary: Summary) -> list[str]:
    """Return the textbook's two lines of loss and speed, the remarks, and a bad ending."""
    lines = []
    if summary.epochs:
        last = summary.epochs[-1]
        loss, train, test = (
            figures(value, digits=3)[0] for value in (last.loss, last.train_acc, last.test_acc)
        )
        lines.append(f"loss {loss}, train acc {train}, test acc {test}")
        lines += summary.remarks
    if summary.examples_per_second is not None:
        lines.append(
            f"{rate(summary.examples_per_second)} examples/s end to end "
            f"({rate(summary.compute_examples_per_second)} compute only) on {summary.device}"
        )
        lines.append(f"  {summary.machine}, engine {summary.engine}")
        lines += processes_lines(summary)
    match summary.status:
        case "diverged":
            lines.append(f"diverged: {summary.reason}")
        case "interrupted":
            lines.append("interrupted before its last epoch")
        case "failed":
            lines.append("failed")  # the reason is on stderr, as the error
    return lines


def processes_lines(summary: Summary) -> list[str]:
    """Return how many processes trained together, where, and what their norms normalized by."""
    if summary.processes == 1:
        return []
    places = [
        f"{count} on {host}" if len(set(summary.hosts)) > 1 else f"on {host}"
        for host, count in Counter(summary.hosts).items()
    ]
    statistics = {
        "synced": "; norms over whole batches",
        "local": "; norms over each process's share",
        "": "",
    }[summary.norm_statistics]
    return [f"  {summary.processes} processes together, {', '.join(places)}{statistics}"]


def config_table(rows: Iterable[tuple[str, Any, str]]) -> Table:
    """Show a resolved config: each key, its value, and where the value came from."""
    shown = table(label("key"), text("value"), text("from"), gap=3, margin=2)
    for key, value, source in rows:
        shown.add_row(key, Text(inline(value)), Text(source))
    return shown


def places_table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """Show the places that may hold the images: (source, state, folder)."""
    shown = table(label("source"), label("state"), text("folder"), gap=3, margin=2)
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def _evaluated(summary: Summary, statistics: str) -> bool:
    return any(getattr(epoch, f"test_acc_{statistics}") is not None for epoch in summary.epochs)
