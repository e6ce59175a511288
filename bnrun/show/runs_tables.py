"""Runs as tables: all of them, one, or the difference of two."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.comparison.trial_metrics import METRIC_NAMES
from bnrun.config import Config
from bnrun.config.difference import RECORDING_KEYS, Difference, config_difference
from bnrun.config.short_text import changes
from bnrun.config.yaml_text import inline
from bnrun.events import Probed
from bnrun.runs.run_difference import difference
from bnrun.runs.run_records import (
    ComparisonRecord,
    DamagedRun,
    Record,
    RunRecord,
    StudyRecord,
)
from bnrun.show.folding import Paragraph
from bnrun.show.probe_tables import probes_table
from bnrun.show.tables import Table, label, number, pairs, table, text
from bnrun.show.training_tables import training_table
from bnrun.show.wording import fraction, moment, norm_name, rate
from bnrun.training_summary import METRICS

SHOWN_ELSEWHERE = ("model.norm", "training.seed", "training.epochs")
"""Config keys that a run's name or a column of the list shows."""
NOT_LISTED = ("training.device", *RECORDING_KEYS)
"""Config keys that change nothing in what is trained: the list leaves them out."""
RESULT_NAMES = METRIC_NAMES | {"examples_per_second": "examples/s"}
"""What tables call the results in which two runs may differ."""

MAX_NAME = 40
"""Longest name of a comparison or a study beside its status, which stands below a longer one: as
wide as that, the column of names would leave too little of 80 columns to the figures of runs."""

MOST_DIGITS = 8
"""Digits of a figure that are written to tell it from another one."""


def runs_table(records: Sequence[Record]) -> RenderableType:
    """Show runs and comparisons, one below the other: name, epochs, result and status.

    A run's name has the start time, config, norm and seed; where a user has renamed the directory,
    they stand below it. So does what its config changes of the defaults. Below the table is what
    is wrong with damaged runs.
    """
    figures = map(number, ("epochs", "loss", "test acc"))
    shown = table(label("run or comparison"), *figures, label("status"), margin=1)
    for record in records:
        name, (cells, line) = record.path.name, _cells_and_line(record)
        if len(name) > MAX_NAME and not isinstance(record, RunRecord):
            shown.add_line(Text(f" {name}"))
            line = "; ".join(part for part in (cells[-1], line) if part)
        else:
            shown.add_row(Text(name), *cells)
        if line:
            shown.add_line(Text(f"   {line}"))
    damaged = (record.problem for record in records if isinstance(record, DamagedRun))
    return Group(shown, *(Paragraph(f"damaged: {problem}") for problem in damaged))


def _cells_and_line(record: Record) -> tuple[tuple[str, ...], str]:
    """Return what the list shows beside a record's name, and below it."""
    match record:
        case RunRecord():
            return (*_figures(record), record.status), ", ".join(_differs(record))
        case ComparisonRecord():
            return ("", "", "", record.status or "no result"), _arms(record)
        case StudyRecord():
            return ("", "", "", record.status), _verdicts(record)
        case _:
            return ("", "", "", "damaged"), ""


def run_view(run: RunRecord, looks: Sequence[Probed] = ()) -> RenderableType:
    """Show a run: how it was started, what its config changes, what it ran on, its epochs.

    Args:
        run: the run.
        looks: what its probes saw, which is summed up below.
    """
    summary, environment = run.summary, run.environment
    reason = f": {summary.reason}" if summary.reason else ""
    head = [
        ("started", moment(run.started)),
        ("config", run.config_name or "-"),
        ("norm", summary.norm),
        ("seed", str(summary.seed)),
        ("status", _status(run) + reason),
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
        parts.append(_differences(changed, ("config", "here", "default")))
    else:
        parts.append(Text("config: the defaults"))
    parts.append("")
    if summary.epochs:
        # The status stands above, and a summary does not know `running`.
        parts.append(training_table(replace(summary, status="completed")))
    else:
        parts.append(Text("no epoch was finished"))
    if looks:
        parts += ["", probes_table(looks)]
    return Group(*parts)


def diff_table(a: RunRecord, b: RunRecord) -> RenderableType:
    """Show what differs between two runs, and nothing else."""
    differences = difference(a, b)
    parts: list[RenderableType] = [pairs([("a", str(a.path)), ("b", str(b.path))])]
    for title, values in (
        ("config", differences.config),
        ("result", differences.result),
        ("environment", differences.environment),
    ):
        parts.append("")
        if values:
            parts.append(_differences(values, (title, "a", "b")))
        else:
            parts.append(Text(f"Nothing differs in {title}."))
    for remark in differences.remarks:
        parts += ["", Paragraph(remark)]
    return Group(*parts)


def _differences(differences: Iterable[Difference], names: tuple[str, str, str]) -> Table:
    shown = table(label(names[0]), *map(text, names[1:]), gap=3)
    for pair in differences:
        shown.add_row(RESULT_NAMES.get(pair.key, pair.key), *map(Text, _distinct(pair)))
    return shown


def _distinct(pair: Difference) -> tuple[str, str]:
    """Write two values that differ so that they do: figures with as many digits as that takes."""
    a, b = _value(pair.key, pair.a), _value(pair.key, pair.b)
    if a != b or not (isinstance(pair.a, float) and isinstance(pair.b, float)):
        return a, b
    for digits in range(5, MOST_DIGITS + 1):
        longer = f"{pair.a:.{digits}g}", f"{pair.b:.{digits}g}"
        if longer[0] != longer[1]:
            return longer
    return a, f"{b} ({pair.b - pair.a:+.0e})"


def _value(key: str, value: Any) -> str:
    """Write a config value as the config has it, a result as tables of results do."""
    if key == "examples_per_second":
        return rate(value)
    if key in METRICS:
        return fraction(value)
    return "-" if value is None and "." not in key else inline(value)


def _differs(run: RunRecord) -> Iterator[str]:
    """Yield what the name of a run does not say: what its config changes of the defaults."""
    if run.config_name is None:
        yield from (moment(run.started), f"norm {norm_name(run.summary.norm)}")
        yield f"seed {run.summary.seed}"
    yield from changes(run.summary.config, without=(*SHOWN_ELSEWHERE, *NOT_LISTED))
    if run.summary.shortcoming:
        yield run.summary.shortcoming


def _verdicts(study: StudyRecord) -> str:
    counts = (f"{count} {verdict}" for verdict, count in study.verdicts.items())
    return f"budget {study.budget}; {', '.join(counts) or 'no verdict yet'}" if study.budget else ""


def _arms(comparison: ComparisonRecord) -> str:
    count = len(comparison.seeds)
    seeds = f"{count} seed{'s' if count != 1 else ''}"
    return f"{', '.join(comparison.arms)}; {seeds}" if comparison.arms else ""


def _figures(run: RunRecord) -> tuple[str, ...]:
    """Write how many epochs a run has, of how many, and the last one's result."""
    last = run.summary.epochs[-1] if run.summary.epochs else None
    done, planned = len(run.summary.epochs), run.summary.config["training"]["epochs"]
    epochs = str(done) if done == planned else f"{done}/{planned}"
    result = map(fraction, (last.loss, last.test_acc)) if last else ("-", "-")
    return (epochs, *result)


def _status(run: RunRecord) -> str:
    """Write a run's status; where the run is incomplete, with the epoch."""
    if run.status == "completed":
        return run.status
    return f"{run.status} {len(run.summary.epochs)}/{run.summary.config['training']['epochs']}"


def _git(git: Mapping[str, Any]) -> str:
    return f"{git.get('commit', '-')}{', with changes' if git.get('changed') else ''}"
