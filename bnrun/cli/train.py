"""`bnrun train`: one training, from a config or gone on with."""

import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from bnrun.config import Config, Resolved
    from bnrun.events import Event
    from bnrun.runs import Run
    from bnrun.show.progress import Screen
    from bnrun.summary import Summary


def train(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="A YAML file; else configs/lenet_bn.yaml's values."),
    ] = None,
    set_: SetOption = None,
    norm: Annotated[
        str | None,
        typer.Option(
            metavar="NORM", help="scratch, builtin, textbook, none, or path/to/file.py:Class."
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of initial weights and image order.")
    ] = None,
    device: DeviceOption = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the run's directory is made.")
    ] = RUNS,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run: a path, a name, or latest."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the resolved config; train nothing.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train LeNet with a norm; show loss, accuracy and speed."""
    from bnrun.cli.overrides import stated
    from bnrun.config import resolve
    from bnrun.norms import check_norm
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    overrides = stated(set_ or [], norm=norm, epochs=epochs, seed=seed, device=device)
    if resume is not None and (config or overrides or dry_run):
        raise ConfigError(
            "--resume goes on with a run exactly as its own config.yaml says: it takes no CONFIG, "
            "no --set, --norm, --epochs, --seed, --device or --dry-run."
        )
    resolved = resolve(config, overrides)
    check_norm(resolved.config.model.norm)
    if dry_run:
        _show_config(resolved, json)
        return

    run = None
    try:
        # What a user's own layer prints is no result of ours: it goes to stderr.
        with redirect_stdout(sys.stderr), open_screen(stderr(), quiet=quiet) as screen:
            if resume is None:
                run, events = _begin(resolved, out, screen)
            else:
                run, events = _go_on(resume, out, screen)
            with run:
                for event in events:
                    run.record(event)
                    screen.show(event)
    finally:  # after Ctrl-C or a failure, too: what was finished is worth showing
        if run is not None and run.summary is not None:
            _show_result(run.summary, json)
    if run.summary is None or run.summary.status != "completed":
        raise typer.Exit(TrainingFailed.exit_code)


def _begin(resolved: "Resolved", out: Path, screen: "Screen") -> "tuple[Run, Iterator[Event]]":
    """Build a new training; its directory is made last, when nothing else can be refused."""
    from bnrun import runs

    events = _train(resolved.config, screen)
    return runs.create(out, resolved), events


def _go_on(name: str, out: Path, screen: "Screen") -> "tuple[Run, Iterator[Event]]":
    """Build a training from a run's directory and checkpoint."""
    from bnrun import runs

    run, checkpoint = runs.reopen(runs.find(name, out))
    return run, _train(run.config, screen, checkpoint)


def _train(
    config: "Config", screen: "Screen", checkpoint: Mapping[str, Any] | None = None
) -> "Iterator[Event]":
    from bnrun import training
    from bnrun.data.load import load
    from bnrun.events import drain

    device = training.pick_device(config.training.device)
    dataset = drain(load(config.data), screen.show)
    return training.train(config, dataset, device, checkpoint)


def _show_config(resolved: "Resolved", json: bool) -> None:
    from bnrun.show.console import show_json, stdout
    from bnrun.show.training_tables import config_table

    if json:
        show_json({"config": resolved.config.to_dict(), "sources": dict(resolved.sources)})
    else:
        stdout().print(config_table(resolved.rows()))


def _show_result(summary: "Summary", json: bool) -> None:
    from bnrun.show.console import show_json, stderr, stdout
    from bnrun.show.training_tables import training_table

    if json:
        show_json(summary.to_dict())
    else:
        stdout().print(training_table(summary))
        stdout().print(f"kept in {summary.run}", soft_wrap=True, markup=False)
    if summary.status == "interrupted" and summary.run is not None:
        command = f"bnrun train --resume {shlex.quote(summary.run)}"
        stderr().print(f"go on with: {command}", soft_wrap=True, markup=False)
