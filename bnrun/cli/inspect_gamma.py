"""`bnrun inspect-gamma`: what a run's norms have learned, channel by channel."""

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli.options import RUNS, CheckpointOption, JsonOption, OutOption, RunArgument
from bnrun.errors import RunError, did_you_mean

if TYPE_CHECKING:
    from bnrun.training.inspection import NormLayer, Vector


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
    from bnrun.training.inspection import (
        inspect,  # loads torch: what cannot be found is told before
    )

    state = runs.read_checkpoint(path, checkpoint)
    norm, epoch = state["config"]["model"]["norm"], len(state["epochs"])
    layers = _chosen(inspect(state), layer, norm)
    if json:
        documents = [_document(one, norm) for one in layers]
        show_json({"run": str(path), "checkpoint": checkpoint, "epoch": epoch, "layers": documents})
        return
    recalibrated = state.get("population_images")
    stdout().print(GammaTables(layers, path.name, norm, epoch, recalibrated))


def _chosen(layers: "tuple[NormLayer, ...]", name: str | None, norm: str) -> "list[NormLayer]":
    """Return the norms to show: all, or the one of a name, or those that the named one wraps.

    Raises:
        RunError: there are none.
    """
    if not layers:
        raise RunError(
            f"norm '{norm}' has no gamma and no moving statistics: there is nothing to inspect."
        )
    chosen = [one for one in layers if name is None or f"{one.name}.".startswith(f"{name}.")]
    if name is not None and not chosen:
        names = [one.name for one in layers]
        raise RunError(
            f"--layer: the run has no norm '{name}'.{did_you_mean(name, names)} "
            f"It has: {', '.join(names)}."
        )
    return chosen


def _document(layer: "NormLayer", norm: str) -> dict[str, Any]:
    return {
        "name": layer.name,
        "norm": norm,
        "channels": layer.channels,
        "gamma": _finite(layer.gamma),
        "beta": _finite(layer.beta),
        "moving_mean": _finite(layer.moving_mean),
        "moving_var": _finite(layer.moving_var),
        "eps": layer.eps,
        "eps_stated": layer.eps_stated,
        "effective_scale": _finite(layer.effective_scale),
        "nearly_off": list(layer.nearly_off),
    }


def _finite(vector: "Vector") -> list[float | None] | None:
    """Return a vector for JSON, which has no word for what is not finite: null."""
    if vector is None:
        return None
    return [value if math.isfinite(value) else None for value in vector]
