"""`bnrun evaluate` and `bnrun recalibrate`: which statistics a trained run predicts with."""

import dataclasses
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli.options import (
    RUNS,
    CheckpointOption,
    DeviceOption,
    JsonOption,
    OutOption,
    RunArgument,
)
from bnrun.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import torch

    from bnrun.config import Config
    from bnrun.data.dataset import Dataset
    from bnrun.training.evaluation import Evaluation

ImagesOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Training images that population statistics are over."),
]


def evaluate(
    run: RunArgument = "latest",
    statistics: Annotated[
        str,
        typer.Option(metavar="KINDS", help="Those to predict with, beside moving ones."),
    ] = "moving,population,batch",
    checkpoint: CheckpointOption = "last",
    images: ImagesOption = None,
    device: DeviceOption = None,
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show a run's test accuracy with each kind of statistics."""
    from bnrun import runs

    kinds, path = _parse(statistics), runs.find(run, out)
    from bnrun.training import evaluation  # loads torch: what cannot be found is told before

    state = runs.read_checkpoint(path, checkpoint)
    config = _config(state, images, device)
    with redirect_stdout(sys.stderr):  # what a user's own layer prints is no result of ours
        dataset, where = _load(config)
        found = evaluation.evaluate(config, state, dataset, where, kinds)
    _show(found, path, checkpoint, json)


def recalibrate(
    run: RunArgument = "latest",
    checkpoint: CheckpointOption = "last",
    images: ImagesOption = None,
    device: DeviceOption = None,
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Give a run's norms population statistics, in a new file."""
    from bnrun import runs

    path = runs.find(run, out)
    from bnrun.training import evaluation

    state = runs.read_checkpoint(path, checkpoint)
    config = _config(state, images, device)
    with redirect_stdout(sys.stderr):
        dataset, where = _load(config)
        replaced = evaluation.recalibrate(config, state, dataset, where)
        before, after = (
            evaluation.evaluate(config, one, dataset, where, ()) for one in (state, replaced)
        )
    file = runs.write_population_checkpoint(path, replaced)
    accuracies = {**before.accuracies, "population": after.accuracies["moving"]}
    found = dataclasses.replace(before, accuracies=accuracies)
    _show(found, path, checkpoint, json, kept=file)


def _parse(statistics: str) -> list[str]:
    """Return the kinds of statistics that a list with commas names.

    Raises:
        ConfigError: it names another.
    """
    from bnrun.config import STATISTICS

    kinds = [kind.strip() for kind in statistics.split(",")]
    for kind in kinds:
        if kind not in STATISTICS:
            raise ConfigError(
                f"--statistics: received '{kind}'.{did_you_mean(kind, STATISTICS)} It takes "
                f"{', '.join(STATISTICS)}, or several of them with commas between."
            )
    return kinds


def _config(state: Mapping[str, Any], images: int | None, device: str | None) -> "Config":
    """Return the config that a checkpoint was trained with, but for what the command line says.

    Raises:
        ConfigError: that is not acceptable.
    """
    from bnrun.cli.overrides import stated
    from bnrun.config import Assignment, resolve

    trained = [
        Assignment(f"{section}.{name}", value, "the checkpoint")
        for section, values in state["config"].items()
        for name, value in values.items()
    ]
    return resolve(None, trained + stated([], images=images, device=device)).config


def _load(config: "Config") -> "tuple[Dataset, torch.device]":
    from bnrun import training
    from bnrun.data.load import load
    from bnrun.events import drain
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    device = training.pick_device(config.training.device)
    with open_screen(stderr(), quiet=False) as screen:
        return drain(load(config.data), screen.show), device


def _show(
    found: "Evaluation", path: Path, checkpoint: str, json: bool, kept: Path | None = None
) -> None:
    from bnrun.show.console import show_json, stdout
    from bnrun.show.evaluation_tables import evaluation_table

    if json:
        document = {"run": str(path), "checkpoint": checkpoint, **found.to_dict()}
        show_json(document | ({"kept": str(kept)} if kept else {}))
        return
    stdout().print(f"of {path}", soft_wrap=True, markup=False)
    stdout().print(evaluation_table(found))
    if kept:
        stdout().print(f"kept in {kept}", soft_wrap=True, markup=False)
