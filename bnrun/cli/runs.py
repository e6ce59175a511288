"""`bnrun runs`: what was run: all of it, one run, or the difference of two."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli.options import RUNS, JsonOption, OutOption
from bnrun.errors import RunError

if TYPE_CHECKING:
    from bnrun.runs.run_records import DamagedRun, RunRecord

app = typer.Typer(rich_markup_mode=None)

LISTED = (
    "run", "started", "config_name", "norm", "seed", "status", "reason", "epochs", "loss",
    "train_acc", "test_acc", "test_acc_population",
)  # fmt: skip


@app.callback(invoke_without_command=True)
def runs(
    context: typer.Context,
    out: OutOption = RUNS,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The newest N runs alone.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the runs, newest first; show one, or in what two differ."""
    if context.invoked_subcommand is not None:
        if out != RUNS or limit is not None or json:
            raise typer.BadParameter(
                f"options of `bnrun runs {context.invoked_subcommand}` stand behind it"
            )
        return
    if out.exists() and not out.is_dir():
        raise RunError(f"--out {out}: this must be the folder that runs are in; it is a file.")
    from bnrun.runs.run_records import list_comparisons, list_runs
    from bnrun.show.console import show_json, stdout
    from bnrun.show.runs_tables import comparisons_table, runs_table

    kept, comparisons = list_runs(out, limit), list_comparisons(out)[:limit]
    if json:
        documents = [comparison.to_dict() for comparison in comparisons]
        show_json({"runs": list(map(_line, kept)), "comparisons": documents})
        return
    if kept:
        stdout().print(runs_table(kept))
    if comparisons:
        stdout().print(comparisons_table(comparisons))
    if not kept and not comparisons:
        text = f"No run below {out}/ yet: `bnrun train` makes one."
        stdout().print(text, soft_wrap=True, markup=False)


@app.command()
def show(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run, or a comparison: a path, a name, or latest."),
    ] = "latest",
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show one run: its config, what it ran on, its epochs; or a comparison."""
    from bnrun.runs.lookup import COMPARISON, find_either
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, stdout
    from bnrun.show.runs_tables import run_view

    path = find_either(run, out)
    if path in COMPARISON:
        from bnrun.cli.compare import show_comparison
        from bnrun.runs.comparison_directory import read_comparison

        show_comparison(read_comparison(path), json)
        return
    kept = read_run(path)
    if json:
        show_json(kept.to_dict())
    else:
        stdout().print(run_view(kept))
        stdout().print(f"kept in {kept.path}", soft_wrap=True, markup=False)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A run, as for `bnrun runs show`.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show in what two runs differ, in config and in result, and nothing else."""
    from bnrun.runs.lookup import find
    from bnrun.runs.run_difference import difference
    from bnrun.runs.run_records import read_run
    from bnrun.show.console import show_json, stdout
    from bnrun.show.runs_tables import diff_table

    first, second = (read_run(find(run, out)) for run in (a, b))
    if json:
        paths = {"a": str(first.path), "b": str(second.path)}
        show_json(paths | dataclasses.asdict(difference(first, second)))
    else:
        stdout().print(diff_table(first, second))


def _line(run: "RunRecord | DamagedRun") -> dict[str, Any]:
    """Return a run's entry in the list; of a damaged one, what is wrong."""
    from bnrun.runs.run_records import DamagedRun

    if isinstance(run, DamagedRun):
        known: dict[str, Any] = {"run": str(run.path), "status": "damaged", "reason": run.problem}
    else:
        known = run.to_dict() | {"epochs": len(run.summary.epochs)}
    return {key: known.get(key) for key in LISTED}
