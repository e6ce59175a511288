"""`bnrun runs`: the runs that are there: a list, one of them, or the difference of two."""

import dataclasses
import itertools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.help import Command, Group
from bnrun.cli.options import RUNS, AnyRunArgument, JsonOption, OutOption
from bnrun.errors import RunError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bnrun.runs.lookup import DirectoryKind
    from bnrun.runs.run_filter import Filter
    from bnrun.runs.run_records import Record

LISTED = (
    "run", "started", "config_name", "norm", "seed", "status", "reason", "epochs", "loss",
    "train_acc", "test_acc", "test_acc_population",
)  # fmt: skip
"""What `bnrun runs --json` has of each run."""

SHOWN = 8
"""How many runs and comparisons the list has: with a line below each, they fit on 24 lines."""


class RunsCommand(Group):
    """A group of commands that takes filters, KEY=VALUE, where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the filters out of the command line, which typer would read as commands."""
        with_value = {
            name
            for option in self.params
            if option.param_type_name == "option" and not getattr(option, "is_flag", False)
            for name in option.opts
        }
        filters: list[str] = []
        others: list[str] = []
        for at, word in enumerate(args):
            if word.startswith("-") or (others and at > 0 and args[at - 1] in with_value):
                others.append(word)
            elif word in self.commands or ctx.resilient_parsing:
                others += args[at:]
                break
            elif "=" in word:
                filters.append(word)
            else:
                raise RunError(
                    f"received '{word}'.{did_you_mean(word, self.commands)} It must be "
                    f"{' or '.join(self.commands)}, or KEY=VALUE, as in norm=scratch."
                )
        ctx.obj = filters
        rest: list[str] = super().parse_args(ctx, others)
        return rest

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete a command, an option or a filter."""
        (command, *_) = super().shell_complete(ctx, "")
        item = type(command)  # where its class can be imported from depends on the release of typer
        filters = completion.filters(incomplete)
        return [
            *super().shell_complete(ctx, incomplete),
            *(item(value, help=meaning) for value, meaning in filters),
        ]


app = typer.Typer(
    cls=RunsCommand, rich_markup_mode=None, subcommand_metavar="[KEY=VALUE]... | COMMAND"
)


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    out: OutOption = RUNS,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Only the newest N.  [default: {SHOWN}]")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    json: JsonOption = False,
) -> None:
    """List runs and comparisons; show one, or what differs between two.

    The newest is last. KEY=VALUE lists only the runs that have this value, as in
    bnrun runs norm=scratch status=completed. KEY is a config key, in full or its last part, or
    status or config. With --json, everything is listed, unless there is a --limit, and the newest
    is first.
    """
    if context.invoked_subcommand is not None:
        if out != RUNS or limit is not None or all_ or json or context.obj:
            raise typer.BadParameter(
                f"write the options of `bnrun runs {context.invoked_subcommand}` after it."
            )
        return
    if out.exists() and not out.is_dir():
        raise RunError(f"received {out}; it must be the folder that runs are in.", key="--out")
    if all_ and limit is not None:
        raise RunError("give one of --all and --limit.", key="--all")
    from bnrun.runs.lookup import COMPARISON, RUN, STUDY
    from bnrun.runs.run_filter import parse_filter

    filters = [parse_filter(text) for text in context.obj]
    if json:
        kinds = {"runs": RUN, "comparisons": COMPARISON, "studies": STUDY}
        _show_json({name: _listed(out, filters, limit, kind)[0] for name, kind in kinds.items()})
    else:
        most = None if all_ else limit or SHOWN
        _show_table(out, *_listed(out, filters, most, RUN, COMPARISON, STUDY), context.obj)


def _listed(
    out: Path, filters: "Sequence[Filter]", limit: int | None, *kinds: "DirectoryKind"
) -> "tuple[list[Record], bool]":
    """Return the newest records that all filters accept, and whether there may be more."""
    from bnrun.runs.run_records import records

    wanted = (
        record for record in records(out, *kinds) if all(one.accepts(record) for one in filters)
    )
    found = list(itertools.islice(wanted, limit))
    return found, limit is not None and next(wanted, None) is not None


def _show_json(records: "Mapping[str, Sequence[Record]]") -> None:
    from bnrun.show.console import show_json

    show_json({name: list(map(_entry, found)) for name, found in records.items()})


def _show_table(
    out: Path, found: "Sequence[Record]", has_more: bool, filters: "Sequence[str]"
) -> None:
    from bnrun.runs.lookup import COMPARISON, RUN, STUDY, newest_first
    from bnrun.show.console import show_line, show_view
    from bnrun.show.runs_tables import runs_table

    there = len(newest_first(out, RUN, COMPARISON, STUDY))
    if found:
        show_view(runs_table(list(reversed(found))))
    elif there:
        show_line(f"None of {there} below {out}/ has {' and '.join(filters)}.")
    else:
        show_line(f"No run below {out}/ yet: `bnrun train` makes one.")
    if has_more:
        of = "that have " + " and ".join(filters) if filters else f"of {there}"
        folder = [] if out == RUNS else ["--out", str(out)]
        command = shlex.join(["bnrun", "runs", *filters, *folder, "--all"])
        show_line(f"The newest {len(found)} {of}. All of them: {command}")


@app.command(cls=Command)
def show(run: AnyRunArgument = "latest", out: OutOption = RUNS, json: JsonOption = False) -> None:
    """Show one run: its config, what it ran on, its epochs; or a comparison."""
    from bnrun.runs.lookup import COMPARISON, find_either
    from bnrun.runs.probe_records import read_probes
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.runs_tables import run_view

    path = find_either(run, out)
    if path in COMPARISON:
        from bnrun.cli.compare import show_comparison
        from bnrun.runs.comparison_directory import read_comparison

        show_comparison(read_comparison(path), json)
        return
    record, looks = read_run(path), read_probes(path)
    if json:
        show_json(record.to_dict() | {"probes": [dataclasses.asdict(look) for look in looks]})
    else:
        show_view(run_view(record, looks))
        show_line(f"kept in {record.path}")


@app.command(cls=Command)
def diff(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help="A run, as for `bnrun runs show`.", autocompletion=completion.runs
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="Another run.", autocompletion=completion.runs)
    ],
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show what differs between two runs, in config and in result, and nothing else."""
    from bnrun.runs.lookup import find
    from bnrun.runs.run_difference import difference
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, show_notice, show_view
    from bnrun.show.runs_tables import diff_table

    first, second = (read_run(find(run, out, on_notice=show_notice)) for run in (a, b))
    if json:
        paths = {"a": str(first.path), "b": str(second.path)}
        show_json(paths | dataclasses.asdict(difference(first, second)))
    else:
        show_view(diff_table(first, second))


def _entry(record: "Record") -> dict[str, Any]:
    """Return an entry of the list; of a damaged run, what is wrong."""
    from bnrun.runs.run_records import ComparisonRecord, DamagedRun, StudyRecord

    match record:
        case ComparisonRecord() | StudyRecord():
            return record.to_dict()
        case DamagedRun():
            values = {"run": str(record.path), "status": "damaged", "reason": record.problem}
        case _:
            values = record.to_dict() | {"epochs": len(record.summary.epochs)}
    return {key: values.get(key) for key in LISTED}
