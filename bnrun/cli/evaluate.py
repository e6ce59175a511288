"""`bnrun evaluate` and `bnrun recalibrate`: which statistics a trained run predicts with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import (
    RUNS,
    CheckpointOption,
    DeviceOption,
    JsonOption,
    OutOption,
    RunArgument,
)
from bnrun.errors import ConfigError, known_value
from bnrun.events import Activity

if TYPE_CHECKING:
    import torch

    from bnrun.config import Config
    from bnrun.data.dataset import Dataset
    from bnrun.norms.introspection import MovingNames
    from bnrun.show.progress import Screen
    from bnrun.training.evaluation import Evaluation

ImagesOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Training images for population statistics."),
]


MovingOption = Annotated[
    str | None,
    typer.Option(
        metavar="MEAN,VARIANCE",
        help="Names of the norm's moving statistics, where they are its own.",
    ),
]
NormFileOption = Annotated[
    str | None,
    typer.Option(
        metavar="NORM",
        help="Where the run's own norm is now: path/to/file.py:Class.",
        autocompletion=completion.norms,
    ),
]


def evaluate(
    run: RunArgument = "latest",
    statistics: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Those to predict with, beside moving ones.",
            autocompletion=completion.one_of("moving", "population", "batch"),
        ),
    ] = "moving,population,batch",
    checkpoint: CheckpointOption = "last",
    norm: NormFileOption = None,
    moving: MovingOption = None,
    images: ImagesOption = None,
    device: DeviceOption = None,
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Show a run's test accuracy with each kind of statistics.

    Where the run's config names a Python file as its norm, that file is run: evaluate only runs
    whose files you would run yourself.
    """
    from bnrun import runs
    from bnrun.cli.overrides import option_names
    from bnrun.config import STATISTICS
    from bnrun.runs.obstacles import no_epoch
    from bnrun.show.console import layer_output_on_stderr, show_notice, stderr
    from bnrun.show.progress import open_screen

    kinds = [
        known_value("--statistics", kind.strip(), STATISTICS) for kind in statistics.split(",")
    ]
    names = _moving_names(moving)
    path = runs.find(run, out, no_epoch, show_notice)
    with (
        option_names(norm=norm, images=images, device=device),
        layer_output_on_stderr(),
        open_screen(stderr(), quiet=False) as screen,
    ):
        with loading(screen, "torch"):
            from bnrun.training.evaluation import evaluate
        state = runs.read_checkpoint(path, checkpoint)
        config = runs.config_with_norm(path, _config(state, images, device), norm, show_notice)
        dataset, where = _load(config, screen)
        screen.show(Activity(f"evaluating: {', '.join(kinds)}"))
        result = evaluate(config, state, dataset, where, kinds, names)
    _show(result, path, checkpoint, json)


def recalibrate(
    run: RunArgument = "latest",
    checkpoint: CheckpointOption = "last",
    norm: NormFileOption = None,
    moving: MovingOption = None,
    images: ImagesOption = None,
    device: DeviceOption = None,
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Give a run's norms population statistics, in a new file.

    Where the run's config names a Python file as its norm, that file is run: recalibrate only runs
    whose files you would run yourself.
    """
    from bnrun import runs
    from bnrun.cli.overrides import option_names
    from bnrun.runs.obstacles import no_epoch
    from bnrun.show.console import layer_output_on_stderr, show_notice, stderr
    from bnrun.show.progress import open_screen

    names = _moving_names(moving)
    path = runs.find(run, out, no_epoch, show_notice)
    with (
        option_names(norm=norm, images=images, device=device),
        layer_output_on_stderr(),
        open_screen(stderr(), quiet=False) as screen,
    ):
        with loading(screen, "torch"):
            from bnrun.training.evaluation import evaluate, recalibrate
        state = runs.read_checkpoint(path, checkpoint)
        config = runs.config_with_norm(path, _config(state, images, device), norm, show_notice)
        dataset, where = _load(config, screen)
        screen.show(Activity("computing population statistics"))
        recalibrated = recalibrate(config, state, dataset, where, names)
        screen.show(Activity("evaluating"))
        before, population = (
            evaluate(config, one, dataset, where, (), names) for one in (state, recalibrated)
        )
    file = runs.write_population_checkpoint(path, recalibrated)
    accuracies = {**before.accuracies, "population": population.accuracies["moving"]}
    _show(dataclasses.replace(before, accuracies=accuracies), path, checkpoint, json, written=file)


def _moving_names(text: str | None) -> "MovingNames | None":
    """Return the two names that `--moving` gives.

    Raises:
        ConfigError: these are not two names.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(name.isidentifier() for name in names):
        raise ConfigError(
            f"received '{text}'; two names are needed, the mean's and the variance's, such as "
            "exp_mean,exp_var.",
            "--moving",
        )
    return names[0], names[1]


def _config(state: Mapping[str, Any], images: int | None, device: str | None) -> "Config":
    """Return the config that a checkpoint was trained with, changed by the command line.

    Raises:
        ConfigError: the change is not acceptable.
    """
    from bnrun.cli.overrides import config_overrides
    from bnrun.config import config_assignments, resolve

    trained = config_assignments(state["config"], "the checkpoint")
    return resolve(None, trained + config_overrides(None, images=images, device=device)).config


def _load(config: "Config", screen: "Screen") -> "tuple[Dataset, torch.device]":
    """Return the dataset of a config, and the device to evaluate on."""
    from bnrun import training
    from bnrun.data.load import load
    from bnrun.events import drain

    device = training.pick_device(config.training.device)
    return drain(load(config.data), screen.show), device


def _show(
    result: "Evaluation", path: Path, checkpoint: str, json: bool, written: Path | None = None
) -> None:
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.evaluation_tables import evaluation_table

    if json:
        document = {"run": str(path), "checkpoint": checkpoint, **result.to_dict()}
        show_json(document | ({"kept": str(written)} if written else {}))
        return
    show_line(f"of {path}")
    show_view(evaluation_table(result))
    if written:
        show_line(f"kept in {written}")
