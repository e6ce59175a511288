"""`bnrun runs`: the runs that are there: a list, one of them, or the difference of two."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli.help import Command, Group
from bnrun.cli.options import RUNS, AnyRunArgument, JsonOption, OutOption
from bnrun.errors import RunError

if TYPE_CHECKING:
    from bnrun.runs.run_records import DamagedRun, RunRecord

app = typer.Typer(cls=Group, rich_markup_mode=None)

LISTED = (
    "run", "started", "config_name", "norm", "seed", "status", "reason", "epochs", "loss",
    "train_acc", "test_acc", "test_acc_population",
)  # fmt: skip
"""What `bnrun runs --json` has of each run."""


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    out: OutOption = RUNS,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only the newest N.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the runs, newest first; show one, or what differs between two."""
    if context.invoked_subcommand is not None:
        if out != RUNS or limit is not None or json:
            raise typer.BadParameter(
                f"write the options of `bnrun runs {context.invoked_subcommand}` after it"
            )
        return
    if out.exists() and not out.is_dir():
        raise RunError(f"received {out}; it must be the folder that runs are in.", key="--out")
    from bnrun.runs.run_records import list_comparisons, list_runs
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.runs_tables import comparisons_table, runs_table

    records, comparisons = list_runs(out, limit), list_comparisons(out)[:limit]
    if json:
        documents = [comparison.to_dict() for comparison in comparisons]
        show_json({"runs": list(map(_entry, records)), "comparisons": documents})
        return
    if records:
        show_view(runs_table(records))
    if comparisons:
        show_view(comparisons_table(comparisons))
    if not records and not comparisons:
        show_line(f"No run below {out}/ yet: `bnrun train` makes one.")


@app.command(cls=Command)
def show(run: AnyRunArgument = "latest", out: OutOption = RUNS, json: JsonOption = False) -> None:
    """Show one run: its config, what it ran on, its epochs; or a comparison."""
    from bnrun.runs.lookup import COMPARISON, find_either
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.runs_tables import run_view

    path = find_either(run, out)
    if path in COMPARISON:
        from bnrun.cli.compare import show_comparison
        from bnrun.runs.comparison_directory import read_comparison

        show_comparison(read_comparison(path), json)
        return
    record = read_run(path)
    if json:
        show_json(record.to_dict())
    else:
        show_view(run_view(record))
        show_line(f"kept in {record.path}")


@app.command(cls=Command)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run, as for `bnrun runs show`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another run.")],
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show what differs between two runs, in config and in result, and nothing else."""
    from bnrun.runs.lookup import find
    from bnrun.runs.run_difference import difference
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, show_note, show_view
    from bnrun.show.runs_tables import diff_table

    first, second = (read_run(find(run, out, notify=show_note)) for run in (a, b))
    if json:
        paths = {"a": str(first.path), "b": str(second.path)}
        show_json(paths | dataclasses.asdict(difference(first, second)))
    else:
        show_view(diff_table(first, second))


def _entry(run: "RunRecord | DamagedRun") -> dict[str, Any]:
    """Return a run's entry in the list; of a damaged run, what is wrong."""
    from bnrun.runs.run_records import DamagedRun

    if isinstance(run, DamagedRun):
        values: dict[str, Any] = {"run": str(run.path), "status": "damaged", "reason": run.problem}
    else:
        values = run.to_dict() | {"epochs": len(run.summary.epochs)}
    return {key: values.get(key) for key in LISTED}
