"""`bnrun compare`: arms trained on the same seeds; what differs, and how sure that is."""

import shlex
import sys
from collections.abc import Generator, Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli.options import (
    RUNS,
    DeviceOption,
    EpochsOption,
    JsonOption,
    QuietOption,
    SetOption,
)
from bnrun.errors import ConfigError, TrainingFailed
from bnrun.events import drain

if TYPE_CHECKING:
    import torch

    from bnrun.comparison.experiment import CompareEvent
    from bnrun.comparison.outcome import Arm, Comparison
    from bnrun.comparison.trials import Trial
    from bnrun.config import DataConfig
    from bnrun.data.dataset import Dataset
    from bnrun.data.fetch import Progress
    from bnrun.events import Event
    from bnrun.runs.comparison_directory import ComparisonFolder
    from bnrun.show.progress import Screen

SEEDS = 3

_LOADED: "dict[DataConfig, Dataset]" = {}


def compare(
    arms: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARM", help="Two or more: a norm, or NAME=NORM,KEY=VALUE,…"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML file that every arm starts from."),
    ] = None,
    set_: SetOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Trials of each arm.  [default: {SEEDS}]"),
    ] = None,
    epochs: EpochsOption = None,
    device: DeviceOption = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, metavar="N", help="Trials trained at a time.")
    ] = 1,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the comparison's directory is made.")
    ] = RUNS,
    resume: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Go on with a comparison: its directory, or its name."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare norms, or anything else, over the same seeds.

    For example: bnrun compare scratch builtin, or
    bnrun compare max=scratch,model.pool=max avg=scratch,model.pool=avg
    """
    from bnrun.cli.overrides import config_overrides
    from bnrun.comparison.arms import build_arms
    from bnrun.show.console import stderr

    overrides = config_overrides(set_, epochs=epochs, device=device)
    if resume is not None and (arms or config or overrides or seeds):
        raise ConfigError(
            "--resume goes on with a comparison exactly as its own compare.yaml says: it takes no "
            "ARM, no --config, --set, --seeds, --epochs or --device."
        )
    built = build_arms(arms or [], config, overrides) if resume is None else ()

    from bnrun.show.compare_progress import CompareBars, CompareLines
    from bnrun.show.progress import open_screen

    folder = None
    try:
        # What a user's own layer prints is no result of ours: it goes to stderr.
        with (
            redirect_stdout(sys.stderr),
            open_screen(stderr(), quiet=quiet, live=CompareBars, lines=CompareLines) as screen,
        ):
            if resume is None:
                begun, events = _begin(built, seeds or SEEDS, jobs, out, screen)
            else:
                begun, events = _go_on(resume, jobs, out, screen)
            with begun as folder, closing(events):
                for event in events:
                    folder.record(event)
                    screen.show(event)
    finally:  # after Ctrl-C or a failure, too: what was finished is worth showing
        if folder is not None:
            _finish(folder, json)
    if folder.comparison.status != "completed":
        raise typer.Exit(TrainingFailed.exit_code)


def _begin(
    arms: "Sequence[Arm]", seeds: int, jobs: int, out: Path, screen: "Screen"
) -> "tuple[ComparisonFolder, Generator[CompareEvent, None, None]]":
    """Build a new comparison; its directory is made last, when nothing else can be refused."""
    from bnrun.runs.comparison_directory import create_comparison

    dataset, device = _ready(arms, screen)
    first = arms[0].config.training.seed
    folder = create_comparison(out, arms, range(first, first + seeds))
    return folder, _events(folder, dataset, device, jobs)


def _go_on(
    name: str, jobs: int, out: Path, screen: "Screen"
) -> "tuple[ComparisonFolder, Generator[CompareEvent, None, None]]":
    """Build a comparison from its directory."""
    from bnrun.runs.comparison_directory import reopen_comparison
    from bnrun.runs.lookup import find_comparison

    folder = reopen_comparison(find_comparison(name, out))
    arms = [result.arm for result in folder.comparison.arms]
    return folder, _events(folder, *_ready(arms, screen), jobs)


def _ready(arms: "Sequence[Arm]", screen: "Screen") -> "tuple[Dataset, torch.device]":
    """Load what every trial needs, and refuse an arm whose norm can't be built."""
    from bnrun.training import build_model, pick_device

    for arm in arms:
        build_model(arm.config)
    device = pick_device(arms[0].config.training.device)
    return drain(_dataset(arms[0].config.data), screen.show), device


def _events(
    folder: "ComparisonFolder", dataset: "Dataset", device: "torch.device", jobs: int
) -> "Generator[CompareEvent, None, None]":
    from bnrun.comparison.experiment import compare

    return compare(folder.comparison, folder.unfinished(), dataset, device, train_trial, jobs)


def train_trial(trial: "Trial") -> "Generator[Event, None, None]":
    """Train a trial in its run directory, from where it stands, and yield what happens."""
    from bnrun.events import CheckpointReady
    from bnrun.runs.comparison_directory import open_trial
    from bnrun.training import pick_device, train

    dataset = drain(_dataset(trial.config.data))
    device = pick_device(trial.config.training.device)
    run, checkpoint = open_trial(trial)
    with run:
        for event in train(trial.config, dataset, device, checkpoint):
            run.record(event)
            if not isinstance(event, CheckpointReady):  # kept already, and large
                yield event


def _dataset(config: "DataConfig") -> "Generator[Progress, None, Dataset]":
    """Load the images, once a process: all trials share them."""
    from bnrun.data.load import load

    if config not in _LOADED:
        _LOADED[config] = yield from load(config)
    return _LOADED[config]


def _finish(folder: "ComparisonFolder", json: bool) -> None:
    """Show what has come of it, draw it, and say how to go on."""
    from bnrun.cli.plot import draw_comparison
    from bnrun.show.console import stderr

    comparison = folder.comparison
    show_comparison(comparison, json)
    if any(result.completed for result in comparison.arms):
        try:
            draw_comparison(folder.path, comparison)
        except Exception as error:  # matplotlib's settings are the user's; the result is not lost
            stderr().print(f"the picture can't be drawn: {error}", soft_wrap=True, markup=False)
    if comparison.status == "interrupted":
        command = f"bnrun compare --resume {shlex.quote(str(folder.path))}"
        stderr().print(f"go on with: {command}", soft_wrap=True, markup=False)


def show_comparison(comparison: "Comparison", json: bool) -> None:
    """Show a comparison, as tables or as its document."""
    from bnrun.comparison.json_document import document
    from bnrun.show.compare_tables import comparison_view
    from bnrun.show.console import show_json, stdout

    if json:
        show_json(document(comparison))
    else:
        stdout().print(comparison_view(comparison))
        stdout().print(f"kept in {comparison.run}", soft_wrap=True, markup=False)
