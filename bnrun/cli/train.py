"""`bnrun train`: one training, new or continued."""

import shlex
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import interruptible, loading
from bnrun.cli.options import (
    RUNS,
    DeviceOption,
    EpochsOption,
    JsonOption,
    NewOutOption,
    QuietOption,
    SetOption,
)
from bnrun.errors import WORK_FAILED, ConfigError, ProcessLost, known_value
from bnrun.events import Activity, Notice

if TYPE_CHECKING:
    from bnrun.config import Config, Resolved
    from bnrun.events import Event
    from bnrun.processes import Processes
    from bnrun.runs import Run
    from bnrun.show.progress import Screen
    from bnrun.training_summary import Summary

    Training = Generator[Event, None, Summary]

KEEP_RESUMED = ("--epochs", "--norm")
"""Options that a run takes when it continues."""


def train(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="A YAML file, or a name from bnrun configs.",
            autocompletion=completion.configs,
        ),
    ] = None,
    set_: SetOption = None,
    norm: Annotated[
        str | None,
        typer.Option(
            metavar="NORM",
            help="A name from bnrun norms, or path/to/file.py:Class; options may follow in "
            "brackets, as in 'builtin(momentum=0.01)'.",
            autocompletion=completion.norms,
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of initial weights and image order.")
    ] = None,
    device: DeviceOption = None,
    probe: Annotated[
        str | None,
        typer.Option(
            metavar="PROBES",
            help="Keep what these see of each layer: activations, gradients, updates, landscape, "
            "shift, shadow.",
            autocompletion=completion.probes,
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(metavar="N", help="Probes look every N steps.  [default: 20]")
    ] = None,
    out: NewOutOption = RUNS,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Continue a run: a path, a name, or latest.",
            autocompletion=completion.runs,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the resolved config; train nothing.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train LeNet with a norm; show loss, accuracy and speed.

    A norm of your own is a Python file, and training runs it. So does --resume with the file of
    the run: continue only runs whose files you would run yourself. It takes the run's copy where
    the file moved or changed; --norm names another.

    torchrun -m bnrun train trains one network on many processes: bnrun guide processes.
    """
    from bnrun.cli.launched import report_once
    from bnrun.cli.overrides import config_overrides, option_names
    from bnrun.config import resolve
    from bnrun.norms import checked_config
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen

    options = {
        "norm": norm,
        "epochs": epochs,
        "seed": seed,
        "device": device,
        "probe": None if probe is None else _probes(probe),
        "every": every,
    }
    overrides = config_overrides(set_, **options)
    is_changed = any(override.source not in KEEP_RESUMED for override in overrides)
    if resume is not None and (config or dry_run or is_changed):
        raise ConfigError(
            "a run continues as its own config.yaml says, so this takes no CONFIG, --set, --seed, "
            "--device, --probe, --every or --dry-run; only --epochs, to train it longer, and "
            "--norm, where the file of its norm moved.",
            key="--resume",
        )
    _check_is_no_norm(config)
    run = None
    with (
        report_once() as here,
        option_names(**options),
        interruptible(lambda: _what_is_kept(run, here.processes)),
        _continuable(lambda: _what_is_kept(run, here.processes)),
    ):
        resolved = checked_config(resolve(config, overrides))
        if dry_run:
            _show_config(resolved, json, here.leads)
            return
        try:
            with (
                layer_output_on_stderr(),
                open_screen(stderr(), quiet=quiet or not here.leads) as screen,
                here.joined() as processes,
            ):
                if not here.leads:
                    _train_other_rank(None if resume else resolved.config, screen, processes)
                    return
                if resume is None:
                    run, events = _new(resolved, out, screen, processes)
                else:
                    run, events = _resumed(resume, epochs, norm, out, screen, processes)
                with run, closing(events):
                    for event in events:
                        run.record(event)
                        screen.show(event)
        finally:  # after Ctrl-C or a failure, too: what was finished is worth showing
            if run is not None and run.summary is not None:
                _show_result(run.summary, json)
    if run.summary is None or run.summary.status != "completed":
        raise typer.Exit(WORK_FAILED)


def _probes(text: str) -> list[str]:
    """Return the probes that an option names, separated by commas.

    Raises:
        ConfigError: there is no such probe.
    """
    from bnrun.config.schema import PROBES

    return [known_value("--probe", name.strip(), PROBES) for name in text.split(",")]


def _check_is_no_norm(config: Path | None) -> None:
    """Check that a norm was not given as CONFIG, where no such file is.

    Raises:
        ConfigError: it was; the message says how to train it.
    """
    from bnrun.norms import NORMS

    text = "" if config is None else str(config)
    if (text in NORMS or ".py:" in text) and not Path(text).exists():
        reason = f"received '{text}', which is a norm: bnrun train --norm {shlex.quote(text)}"
        raise ConfigError(reason, key="CONFIG")


def _new(
    resolved: "Resolved", out: Path, screen: "Screen", processes: "Processes"
) -> "tuple[Run, Training]":
    """Build a new training; its directory is made last, when nothing else can be refused."""
    from bnrun import runs
    from bnrun.cli.launched import require_same

    _load_torch(screen)
    require_same(resolved.config, processes)
    events = _training(resolved.config, screen, processes)
    return runs.create(out, resolved), events


def _train_other_rank(config: "Config | None", screen: "Screen", processes: "Processes") -> None:
    """Train as one of several processes, of which another writes and shows.

    Args:
        config: of a new run; None for one that continues, whose directory the first process reads.
        screen: shows nothing.
        processes: that train together.
    """
    from bnrun.cli.launched import require_same
    from bnrun.config import Config
    from bnrun.config.schema import NormSource
    from bnrun.events import drain

    _load_torch(screen)
    checkpoint = None
    if config is None:
        nothing: Any = None
        values, source, checkpoint = processes.from_first(nothing)
        config = Config.model_validate(values).with_norm_source(NormSource(*source))
    require_same(config, processes)
    summary = drain(_training(config, screen, processes, checkpoint))
    if summary.status != "completed":
        raise typer.Exit(WORK_FAILED)


def _resumed(
    name: str,
    epochs: int | None,
    norm: str | None,
    out: Path,
    screen: "Screen",
    processes: "Processes",
) -> "tuple[Run, Training]":
    """Build a training that continues a run, from its directory and checkpoint.

    Any run can be trained longer, where `epochs` says so; else only one that is not complete.
    """
    from bnrun import runs
    from bnrun.cli.launched import require_same
    from bnrun.runs.lookup import no_obstacle, refuse_trial
    from bnrun.runs.obstacles import fails_at_once, nothing_left_to_train

    def show(notice: str) -> None:
        screen.show(Notice(notice))

    obstacle = nothing_left_to_train if epochs is None else no_obstacle
    path = runs.find(name, out, obstacle, show, fails_at_once)
    if epochs is not None:
        refuse_trial(path)
    _load_torch(screen)
    run, checkpoint = runs.reopen(path, epochs=epochs, norm=norm, on_notice=show)
    screen.show(Notice(_resuming(run, checkpoint)))
    source = tuple(run.config.model.norm_source)
    processes.from_first((run.config.to_dict(), source, checkpoint))
    require_same(run.config, processes)
    return run, _training(run.config, screen, processes, checkpoint)


def _load_torch(screen: "Screen") -> None:
    """Load torch, which takes seconds: after everything that can be refused without it."""
    with loading(screen, "torch"):
        from bnrun import training  # noqa: F401


def _training(
    config: "Config", screen: "Screen", processes: "Processes", checkpoint: Any = None
) -> "Training":
    from bnrun import training
    from bnrun.data.load import load
    from bnrun.events import drain
    from bnrun.training.engine_choice import describe_choice

    device = processes.device(training.pick_device(config.training.device))
    dataset = drain(load(config.data), screen.show)
    processes.wait_for_all()  # one of them may have fetched the images
    screen.show(Activity(describe_choice(config, device)))
    return training.train(config, dataset, device, checkpoint, processes)


def _resuming(run: "Run", checkpoint: "Mapping[str, Any] | None") -> str:
    """Return where a run continues, or that there is nothing left to train."""
    done, epochs = len(checkpoint["epochs"]) if checkpoint else 0, run.config.training.epochs
    if not done:
        return f"resuming {run.path} from the start: it has finished no epoch"
    if done < epochs:
        return f"resuming {run.path} after epoch {done} of {epochs}"
    longer = f"bnrun train --resume {shlex.quote(str(run.path))} --epochs {2 * epochs}"
    return f"{run.path} is complete: epoch {done} of {epochs}. To train it longer:\n{longer}"


def _what_is_kept(run: "Run | None", processes: "Processes") -> str | None:
    """Return what Ctrl-C leaves of a run, and how to continue; None before it has a directory."""
    if run is None:
        return None
    done = len(run.summary.epochs) if run.summary else 0
    command, where = f"bnrun train --resume {shlex.quote(str(run.path))}", ""
    if processes.is_distributed:
        count = processes.local_size
        together = f"torchrun --nproc-per-node {count} -m {command}"
        command = f"{together}\nor with one process:\n{command}"
        if count < processes.size:
            where = ", on each machine with its launcher's options,"
    return (
        f"{done} of {run.config.training.epochs} epochs are finished and kept; "
        f"continue{where} with:\n{command}"
    )


@contextmanager
def _continuable(kept: Callable[[], str | None]) -> Iterator[None]:
    """Say what is kept, and how to go on, where another process ends a training."""
    try:
        yield
    except ProcessLost as lost:
        lost.reason = " ".join(filter(None, [lost.reason, kept()]))
        raise


def _show_config(resolved: "Resolved", json: bool, leads: bool) -> None:
    from bnrun.show.console import show_json, show_view
    from bnrun.show.training_tables import config_table

    if not leads:
        return
    if json:
        show_json({"config": resolved.config.to_dict(), "sources": dict(resolved.sources)})
    else:
        show_view(config_table(resolved.rows()))


def _show_result(summary: "Summary", json: bool) -> None:
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.training_tables import training_table

    if json:
        show_json(summary.to_dict())
    else:
        show_view(training_table(summary))
        show_line(f"kept in {summary.run}")
