"""Records as tables: pure functions, from a record to something rich can print."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnrun.events import DataUsed, EpochEnded
from bnrun.summary import Summary

MANY_COLUMNS = 6
POINTS_WORTH_SAYING = 2.0  # of test accuracy, between two kinds of statistics


def training_table(summary: Summary) -> RenderableType:
    """Show a training: a row per epoch, the textbook's closing lines, and where it is kept."""
    held_out = summary.data.validation_images > 0
    others = [name for name in ("population", "batch") if _evaluated(summary, name)]
    table = Table(title=Text(training_title(summary)), title_justify="left", box=box.SIMPLE_HEAD)
    if others:  # headings of two lines, to fit a terminal of 80 columns
        table.pad_edge = False
        test = [f"test\n{name}" for name in ("moving", *others)]
        names = ["epoch", "loss", "train\nacc", *(["val\nacc"] if held_out else []), *test]
        if len(names) > MANY_COLUMNS:
            table.padding = (0, 1, 0, 0)
    else:
        names = ["epoch", "loss", "train acc", *(["val acc"] if held_out else []), "test acc"]
    for name in (*names, "examples/s", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for epoch in summary.epochs:
        validation = [fraction(epoch.validation_acc)] if held_out else []
        table.add_row(
            str(epoch.epoch),
            fraction(epoch.loss),
            fraction(epoch.train_acc),
            *validation,
            fraction(epoch.test_acc),
            *(fraction(getattr(epoch, f"test_acc_{name}")) for name in others),
            rate(epoch.examples_per_second),
            f"{epoch.seconds:.1f}",
        )
    parts: list[RenderableType] = [table] if summary.epochs else [Text(training_title(summary))]
    return Group(*parts, *map(Text, closing_lines(summary)))


def training_title(summary: Summary) -> str:
    """Name a training in one line: network, norm, data, seed."""
    return run_title(summary.norm, summary.data, summary.seed)


def run_title(norm: str, data: DataUsed, seed: int) -> str:
    """Name a training by what it is of."""
    return f"LeNet, norm {norm_name(norm)}, {data_name(data)}, one seed ({seed})"


def norm_name(norm: str) -> str:
    """Name a norm: one of the user's own without its folders."""
    return norm.rpartition("/")[2]


def closing_lines(summary: Summary) -> list[str]:
    """Return the textbook's two lines, and what else must be said of the run."""
    lines = []
    if summary.epochs:
        last = summary.epochs[-1]
        lines.append(
            f"loss {last.loss:.3f}, train acc {last.train_acc:.3f}, test acc {last.test_acc:.3f}"
        )
        lines += stale_statistics(last)
    if summary.examples_per_second is not None:
        lines.append(
            f"{rate(summary.examples_per_second)} examples/s end to end "
            f"({rate(summary.compute_examples_per_second)} compute only) on {summary.device}"
        )
        lines.append(f"  {summary.machine}, engine {summary.engine}")
    match summary.status:
        case "diverged":
            lines.append(f"diverged: {summary.reason}")
        case "interrupted":
            lines.append("interrupted before its last epoch")
        case "failed":
            lines.append("failed")  # why is on stderr, with the error
    return lines


def stale_statistics(epoch: EpochEnded) -> list[str]:
    """Say in one sentence that moving and population accuracy differ, where they do, and why."""
    if epoch.test_acc_population is None:
        return []
    points = 100 * (epoch.test_acc_population - epoch.test_acc)
    if abs(points) <= POINTS_WORTH_SAYING:
        return []
    return [
        f"The same weights reach {epoch.test_acc:.3f} with moving and "
        f"{epoch.test_acc_population:.3f} with population statistics: the moving average holds "
        "what batches were under earlier weights, the population what images are under these."
    ]


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
        table.add_row(key, Text(as_yaml(value)), Text(source))
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


def _evaluated(summary: Summary, statistics: str) -> bool:
    return any(getattr(epoch, f"test_acc_{statistics}") is not None for epoch in summary.epochs)


def as_yaml(value: Any) -> str:
    """Write a config's value as its YAML file would."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    return "null" if value is None else str(value)


def fraction(value: float | None) -> str:
    """Write a loss, or an accuracy between 0 and 1."""
    return "-" if value is None else f"{value:.4f}"


def rate(value: float | None) -> str:
    """Write a number of examples a second."""
    return "-" if value is None else f"{value:,.0f}"
