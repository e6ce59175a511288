"""`bnrun inspect-gamma`: what a run's norms have learned, channel by channel."""

from typing import Annotated

import typer

from bnrun.cli.options import RUNS, CheckpointOption, JsonOption, OutOption, RunArgument
from bnrun.errors import RunError


def inspect_gamma(
    run: RunArgument = "latest",
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="One norm alone: norm1 to norm4.")
    ] = None,
    checkpoint: CheckpointOption = "last",
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show what a run's norms have learned, channel by channel."""
    from bnrun import runs
    from bnrun.show.console import show_json, stdout

    path = runs.find(run, out)
    from bnrun.show.gamma_tables import GammaTables
    from bnrun.training.inspection import inspect  # loads torch, which an unknown RUN need not

    try:
        found = inspect(runs.read_checkpoint(path, checkpoint), layer)
    except RunError as error:
        raise RunError(error.reason, error.key and f"--{error.key}") from error
    if json:
        show_json({"run": str(path), "checkpoint": checkpoint, **found.to_dict()})
        return
    norm, epoch, recalibrated = found.norm, found.epoch, found.recalibrated
    stdout().print(GammaTables(found.layers, path.name, norm, epoch, recalibrated))
