"""`bnrun export`: the metrics and probes of a run, for tools that people have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli.interruption import loading
from bnrun.cli.options import RUNS, AnyRunArgument, OutOption
from bnrun.errors import ConfigError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnrun.runs.exported_values import Value


def export(
    run: AnyRunArgument = "latest",
    csv: Annotated[
        bool, typer.Option("--csv", help="One table: a line for each step, series and value.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Event files, a folder for each run.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-o", metavar="FILE", help="Where to write, instead of stdout or the run."
        ),
    ] = None,
    out: OutOption = RUNS,
) -> None:
    """Write a run's metrics and probes as CSV or for TensorBoard.

    Of a comparison, those of every trial. The table goes to stdout, the event files into the
    directory of the run, unless -o names another place.
    """
    from bnrun.runs.exported_values import as_csv, exported_values
    from bnrun.runs.lookup import find_either
    from bnrun.runs.obstacles import nothing_to_draw
    from bnrun.show.console import show_notice

    if csv == tensorboard:
        raise ConfigError("name one of the two.", key="--csv, --tensorboard")
    path = find_either(run, out, nothing_to_draw, show_notice)
    values = exported_values(path)
    if tensorboard:
        _write_events(path, values, file)
    elif file is None:
        typer.echo(as_csv(values), nl=False)
    else:
        _write_table(file, as_csv(values))


def _write_table(file: Path, table: str) -> None:
    from bnrun.runs.atomic_write import write_atomically
    from bnrun.show.console import show_line

    try:
        write_atomically(file, table.encode())
    except OSError as error:
        reason = f"{file} can't be written: {error.strerror or error}."
        raise RunError(reason, key="--file") from error
    show_line(str(file))


def _write_events(path: Path, values: "Sequence[Value]", folder: Path | None) -> None:
    from bnrun.runs.exported_values import TENSORBOARD, write_tensorboard
    from bnrun.show.console import show_line, stderr
    from bnrun.show.progress import open_screen

    with open_screen(stderr(), quiet=False) as screen, loading(screen, "torch"):
        import torch  # noqa: F401
    place = path / TENSORBOARD if folder is None else folder
    for written in write_tensorboard(values, place, replace=folder is None):
        show_line(str(written))
