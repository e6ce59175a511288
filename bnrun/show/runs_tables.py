"""Kept runs as tables: all of them, one, or the difference of two."""

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnrun.config import Config
from bnrun.config.difference import Difference, config_difference
from bnrun.runs.run_difference import difference
from bnrun.runs.run_records import ComparisonRecord, DamagedRun, RunRecord
from bnrun.show.tables import label, number, pairs, table, text
from bnrun.show.training_tables import training_table
from bnrun.show.wording import as_yaml, fraction, rate


def runs_table(runs: Sequence[RunRecord | DamagedRun]) -> RenderableType:
    """Show runs, a line each: the name tells when, config, norm and seed; then what came of it.

    A name that does not tell them, the user's own, has them below it. Damaged runs say why below
    the table.
    """
    columns = (text("run: UTC time-config-norm-seed"), label("status"))  # a name is for copying
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
    """Show comparisons, a line for each arm: the name needs the width."""
    shown = table(text("comparison"), label("status"), text("arms"), text("seeds"), margin=1)
    for found in comparisons:
        row = (found.path.name, found.status or "no result", "\n".join(found.arms))
        shown.add_row(*map(Text, row), ", ".join(map(str, found.seeds)))
    return shown


def run_view(run: RunRecord) -> RenderableType:
    """Show a run: where from, how it differs from the defaults, what it ran on, its epochs."""
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
        parts.append(_differences(changed, ("config", "here", "default"), as_yaml))
    else:
        parts.append(Text("config: the defaults"))
    parts.append("")
    if summary.epochs:
        # How it stands is said above, and `running` is no word of the summary's.
        parts.append(training_table(replace(summary, status="completed")))
    else:
        parts.append(Text("no epoch was finished"))
    return Group(*parts)


def diff_table(a: RunRecord, b: RunRecord) -> RenderableType:
    """Show all in which two runs differ, and nothing else."""
    found = difference(a, b)
    parts: list[RenderableType] = [pairs([("a", str(a.path)), ("b", str(b.path))])]
    for title, differences, write in (
        ("config", found.config, as_yaml),
        ("result", found.result, _value),
        ("environment", found.environment, _value),
    ):
        parts.append("")
        if differences:
            parts.append(_differences(differences, (title, "a", "b"), write))
        else:
            parts.append(Text(f"Nothing differs in {title}."))
    for remark in found.remarks:
        parts += ["", Text(remark)]
    return Group(*parts)


def _differences(
    differences: Iterable[Difference], names: tuple[str, str, str], write: Callable[[Any], str]
) -> Table:
    shown = table(label(names[0]), *map(text, names[1:]), gap=3)
    for pair in differences:
        a, b = write(pair.a), write(pair.b)
        # Equal in four digits, and yet listed as a difference: show all of them.
        shown.add_row(pair.key, *map(Text, (a, b) if a != b else (str(pair.a), str(pair.b))))
    return shown


def _value(value: Any) -> str:
    """Write what a run came to, or what it ran on; the only large floats are throughputs."""
    if isinstance(value, float):
        return rate(value) if value >= 1000 else fraction(value)
    return "-" if value is None else str(value)


def _name(run: RunRecord) -> str:
    if run.config_name is not None:
        return run.path.name
    return f"{run.path.name}\n  {_when(run.started)}, {run.summary.norm}, seed {run.summary.seed}"


def _status(run: RunRecord) -> str:
    """Say how a run stands; where it has not come to its end, on a second line: at which epoch."""
    if run.status == "completed":
        return run.status
    return f"{run.status}\n{len(run.summary.epochs)}/{run.summary.config['training']['epochs']}"


def _when(started: datetime | None) -> str:
    return f"{started:%Y-%m-%d %H:%M:%S} UTC" if started else "-"


def _git(git: Mapping[str, Any]) -> str:
    return f"{git.get('commit', '-')}{', with changes' if git.get('changed') else ''}"
