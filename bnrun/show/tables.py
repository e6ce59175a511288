"""Records as tables: pure functions, from a record to something rich can print."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnrun.events import DataUsed
from bnrun.summary import Summary


def training_table(summary: Summary) -> RenderableType:
    """Show a training: a row per epoch, the textbook's closing lines, and where it is kept."""
    held_out = summary.data.validation_images > 0
    table = Table(title=Text(training_title(summary)), title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("epoch", "loss", "train acc"):
        table.add_column(name, justify="right")
    if held_out:
        table.add_column("val acc", justify="right")
    for name in ("test acc", "examples/s", "seconds"):
        table.add_column(name, justify="right")
    for epoch in summary.epochs:
        validation = [_fraction(epoch.validation_acc)] if held_out else []
        table.add_row(
            str(epoch.epoch),
            _fraction(epoch.loss),
            _fraction(epoch.train_acc),
            *validation,
            _fraction(epoch.test_acc),
            _rate(epoch.examples_per_second),
            f"{epoch.seconds:.1f}",
        )
    parts: list[RenderableType] = [table] if summary.epochs else [Text(training_title(summary))]
    return Group(*parts, *map(Text, closing_lines(summary)))


def training_title(summary: Summary) -> str:
    """Name a training in one line: network, norm, data, seed."""
    norm = summary.norm.rpartition("/")[2]  # of a user's own, without its folders
    return f"LeNet, norm {norm}, {data_name(summary.data)}, one seed ({summary.seed})"


def closing_lines(summary: Summary) -> list[str]:
    """Return the textbook's two lines, and what else must be said of the run."""
    lines = []
    if summary.epochs:
        last = summary.epochs[-1]
        lines.append(
            f"loss {last.loss:.3f}, train acc {last.train_acc:.3f}, test acc {last.test_acc:.3f}"
        )
    if summary.examples_per_second is not None:
        lines.append(
            f"{_rate(summary.examples_per_second)} examples/s end to end "
            f"({_rate(summary.compute_examples_per_second)} compute only) on {summary.device}"
        )
        lines.append(f"  {summary.machine}")
    match summary.status:
        case "diverged":
            lines.append(f"diverged: {summary.reason}")
        case "interrupted":
            lines.append("interrupted before its last epoch")
        case "failed":
            lines.append("failed")  # why is on stderr, with the error
    return lines


def data_name(data: DataUsed) -> str:
    """Name a run's data as titles do: never a stand-in under the real one's name."""
    if data.name == "synthetic":
        return "synthetic data"
    return "Fashion-MNIST" if data.verified else "images that are not the published Fashion-MNIST"


def config_table(rows: Iterable[tuple[str, Any, str]]) -> Table:
    """Show a resolved config: each key, its value, and where that came from."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("key")
    table.add_column("value", overflow="fold")
    table.add_column("from", overflow="fold")
    for key, value, source in rows:
        table.add_row(key, Text(_yaml(value)), Text(source))
    return table


def places_table(rows: Iterable[tuple[str, str, str]]) -> Table:
    """Show where data was looked for: (source, state, folder)."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("source", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return "null" if value is None else str(value)


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
