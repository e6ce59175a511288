"""Runs as tables: all of them, one, or the difference of two."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.config import Config
from bnrun.config.difference import Difference, config_difference
from bnrun.config.yaml_text import inline
from bnrun.runs.run_difference import difference
from bnrun.runs.run_records import ComparisonRecord, DamagedRun, RunRecord
from bnrun.show.tables import Table, label, number, pairs, table, text
from bnrun.show.training_tables import training_table
from bnrun.show.wording import fraction, rate


def runs_table(runs: Sequence[RunRecord | DamagedRun]) -> RenderableType:
    """Show runs, a line each: name, status and result.

    A name has the start time, config, norm and seed; where a user has renamed the directory, they
    stand below it. Below the table is what is wrong with damaged runs.
    """
    # A name folds where the terminal is narrow, and is never cut: it is there to be copied.
    columns = (text("run: UTC time-config-norm-seed"), label("status"))
    shown = table(*columns, *map(number, ("loss", "train\nacc", "test\nacc")), margin=1)
    for run in runs:
        if isinstance(run, DamagedRun):
            shown.add_row(Text(run.path.name), "damaged", "-", "-", "-")
            continue
        last = run.summary.epochs[-1] if run.summary.epochs else None
        values = (last.loss, last.train_acc, last.test_acc) if last else (None, None, None)
        shown.add_row(Text(_name(run)), _status(run), *map(fraction, values))
    damaged = (run.problem for run in runs if isinstance(run, DamagedRun))
    return Group(shown, *(Text(f"damaged: {problem}") for problem in damaged))


def comparisons_table(comparisons: Iterable[ComparisonRecord]) -> Table:
    """Show comparisons, a line per arm, which leaves the width to the name."""
    shown = table(text("comparison"), label("status"), text("arms"), text("seeds"), margin=1)
    for comparison in comparisons:
        arms = "\n".join(comparison.arms)
        row = (comparison.path.name, comparison.status or "no result", arms)
        shown.add_row(*map(Text, row), ", ".join(map(str, comparison.seeds)))
    return shown


def run_view(run: RunRecord) -> RenderableType:
    """Show a run: how it was started, what its config changes, what it ran on, its epochs."""
    summary, environment = run.summary, run.environment
    reason = f": {summary.reason}" if summary.reason else ""
    head = [
        ("started", _when(run.started)),
        ("config", run.config_name or "-"),
        ("norm", summary.norm),
        ("seed", str(summary.seed)),
        ("status", _status(run).replace("\n", " ") + reason),
    ]
    if environment:
        git = environment.get("git")
        names = ("bnrun", "python", "torch", "torchvision")
        head += [
            ("command", shlex.join(environment.get("command", ()))),
            ("device", f"{summary.device}: {summary.machine}"),
            ("engine", summary.engine),
            ("platform", environment.get("platform", "-")),
            ("versions", ", ".join(f"{name} {environment.get(name, '-')}" for name in names)),
            ("git", _git(git) if git else "not in a git repository"),
        ]
    changed = config_difference(summary.config, Config().to_dict())
    parts: list[RenderableType] = [pairs(head), ""]
    if changed:
        parts.append(_differences(changed, ("config", "here", "default"), inline))
    else:
        parts.append(Text("config: the defaults"))
    parts.append("")
    if summary.epochs:
        # The status stands above, and a summary does not know `running`.
        parts.append(training_table(replace(summary, status="completed")))
    else:
        parts.append(Text("no epoch was finished"))
    return Group(*parts)


def diff_table(a: RunRecord, b: RunRecord) -> RenderableType:
    """Show what differs between two runs, and nothing else."""
    differences = difference(a, b)
    parts: list[RenderableType] = [pairs([("a", str(a.path)), ("b", str(b.path))])]
    for title, values, write in (
        ("config", differences.config, inline),
        ("result", differences.result, _value),
        ("environment", differences.environment, _value),
    ):
        parts.append("")
        if values:
            parts.append(_differences(values, (title, "a", "b"), write))
        else:
            parts.append(Text(f"Nothing differs in {title}."))
    for remark in differences.remarks:
        parts += ["", Text(remark)]
    return Group(*parts)


def _differences(
    differences: Iterable[Difference], names: tuple[str, str, str], write: Callable[[Any], str]
) -> Table:
    shown = table(label(names[0]), *map(text, names[1:]), gap=3)
    for pair in differences:
        a, b = write(pair.a), write(pair.b)
        # Values that are equal in four digits still differ: show all digits.
        shown.add_row(pair.key, *map(Text, (a, b) if a != b else (str(pair.a), str(pair.b))))
    return shown


def _value(value: Any) -> str:
    """Write a value of a run's result or environment; the only large floats are throughputs."""
    if isinstance(value, float):
        return rate(value) if value >= 1000 else fraction(value)
    return "-" if value is None else str(value)


def _name(run: RunRecord) -> str:
    if run.config_name is not None:
        return run.path.name
    return f"{run.path.name}\n  {_when(run.started)}, {run.summary.norm}, seed {run.summary.seed}"


def _status(run: RunRecord) -> str:
    """Write a run's status; where the run is incomplete, the epoch stands on a second line."""
    if run.status == "completed":
        return run.status
    return f"{run.status}\n{len(run.summary.epochs)}/{run.summary.config['training']['epochs']}"


def _when(started: datetime | None) -> str:
    return f"{started:%Y-%m-%d %H:%M:%S} UTC" if started else "-"


def _git(git: Mapping[str, Any]) -> str:
    return f"{git.get('commit', '-')}{', with changes' if git.get('changed') else ''}"
