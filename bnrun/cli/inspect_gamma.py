"""`bnrun inspect-gamma`: what a run's norms have learned, channel by channel."""

from typing import Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import RUNS, CheckpointOption, JsonOption, OutOption, RunArgument


def inspect_gamma(
    run: RunArgument = "latest",
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only this norm: norm1 to norm4.",
            autocompletion=completion.one_of("norm1", "norm2", "norm3", "norm4"),
        ),
    ] = None,
    checkpoint: CheckpointOption = "last",
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show what a run's norms have learned, channel by channel."""
    from bnrun import runs
    from bnrun.cli.overrides import renamed_keys
    from bnrun.runs.obstacles import no_epoch
    from bnrun.show.console import show_json, show_notice, show_view, stderr
    from bnrun.show.progress import open_screen

    path = runs.find(run, out, no_epoch, show_notice)
    with open_screen(stderr(), quiet=False) as screen, loading(screen, "torch"):
        from bnrun.show.gamma_tables import GammaTables
        from bnrun.training.gamma_inspection import inspect
    state = runs.read_checkpoint(path, checkpoint)

    with renamed_keys({"layer": "--layer"}):
        result = inspect(state, layer)
    if json:
        show_json({"run": str(path), "checkpoint": checkpoint, **result.to_dict()})
    else:
        show_view(GammaTables(result, path.name))
