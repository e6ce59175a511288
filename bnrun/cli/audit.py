"""`bnrun audit`: what is wrong with the norms in a network?"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import DEVICES, RUNS, JsonOption, OutOption, QuietOption
from bnrun.errors import WORK_FAILED, ConfigError, RunError

if TYPE_CHECKING:
    from bnrun.events import Stage
    from bnrun.health.report import Audit

    Work = Generator[Stage, None, tuple[Audit, dict[str, Any] | None]]

PICTURES = (".png", ".svg")
"""The kinds of files that a picture is written as."""
MOST_DEFINITIONS = 8
"""Functions and classes of a file that an error lists; more are counted."""


def audit(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="path/to/file.py:build, package.module:build, or a run, such as latest.",
            autocompletion=completion.runs,
        ),
    ],
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights for it, as torch.save wrote them.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="path/to/file.py:batches, or a folder of .npy files."),
    ] = None,
    batches: Annotated[int, typer.Option(metavar="N", min=1, help="Batches to take at most.")] = 32,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Steps of training that the weights have had."),
    ] = None,
    recalibrate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write weights with population statistics here."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the layers: a .png or .svg file.")
    ] = None,
    time_limit: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.1, help="For building it, and for each batch."),
    ] = 60.0,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", autocompletion=DEVICES
        ),
    ] = "cpu",
    out: OutOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find what is wrong with the norms in a network of your own.

    For example: bnrun audit my_net.py:build --weights best.pt --data my_data.py:batches

    The function returns a torch.nn.Module; data yields inputs, or (inputs, targets). The code runs
    in a process of its own, so it may hang, print or exit. That is no sandbox: it runs with all
    your rights.
    """
    _check_options(network, weights, data, recalibrate, plot)
    from bnrun.cli.overrides import option_names
    from bnrun.events import drain
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen

    path = None if ":" in network else _run_path(network, out)
    with (
        option_names(device=device),
        layer_output_on_stderr(),
        open_screen(stderr(), quiet=quiet) as screen,
    ):
        with loading(screen, "torch"):
            from bnrun.health.audit import audit as audit_target
            from bnrun.training import pick_device
        where = str(pick_device(device))
        if path is None:
            work = audit_target(
                network,
                weights=weights,
                data=data,
                batches=batches,
                steps=steps,
                device=where,
                time_limit=time_limit,
                recalibrates=recalibrate is not None,
            )
        else:
            work = _audit_run(path, weights, batches, where, recalibrate is not None, screen.show)
        result, state = drain(work, screen.show)
    _show(result, state, recalibrate, plot, json)
    if result.verdict == "ill":
        raise typer.Exit(WORK_FAILED)


def _check_options(
    network: str,
    weights: str | None,
    data: str | None,
    recalibrate: Path | None,
    plot: Path | None,
) -> None:
    """Check what needs no torch.

    Raises:
        ConfigError: options do not go together.
    """
    is_target = ":" in network
    if is_target and data is None and recalibrate is not None:
        raise ConfigError(
            "population statistics are those of data: add --data my_data.py:batches.",
            "--recalibrate",
        )
    if not is_target and data is not None:
        raise ConfigError(
            "a run of bnrun is audited on its own images: leave this out, or name a network as "
            "path/to/file.py:build.",
            "--data",
        )
    if recalibrate is not None and weights is not None and recalibrate == Path(weights):
        raise ConfigError(
            "this would replace the file of --weights: name another.", "--recalibrate"
        )
    if plot is not None and plot.suffix not in PICTURES:
        raise ConfigError(f"received '{plot}'; the file must end with .png or .svg.", "--plot")
    if is_target and data is None and plot is not None:
        raise ConfigError(
            "the picture shows how data passes through: add --data my_data.py:batches.", "--plot"
        )


def _run_path(name: str, out: Path) -> Path:
    """Return the directory of a run.

    Raises:
        RunError: no run has this name; the message also says how a network is named.
    """
    from bnrun import runs
    from bnrun.runs.obstacles import no_epoch
    from bnrun.show.console import show_notice

    try:
        return runs.find(name, out, no_epoch, show_notice)
    except RunError as error:
        file = Path(name).expanduser()
        reason = f"{error.reason} A network of your own is written path/to/file.py:build."
        if file.suffix == ".py" and file.is_file():
            reason = f"{_definitions(file)} Write which of them builds the network: {name}:NAME."
        raise RunError(reason, "NETWORK") from error


def _definitions(file: Path) -> str:
    """Say what functions and classes a Python file defines, without running it."""
    import ast

    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return f"{file} is a file that Python cannot read."
    names = [one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    if not names:
        return f"{file} defines no function or class."
    more = f" and {len(names) - MOST_DEFINITIONS} more" if len(names) > MOST_DEFINITIONS else ""
    return f"{file} defines {', '.join(names[:MOST_DEFINITIONS])}{more}."


def _audit_run(
    path: Path,
    weights: str | None,
    batches: int,
    device: str,
    recalibrates: bool,
    on_event: Callable[[object], object],
) -> "Work":
    """Return the audit of a run of bnrun's own, as work still to do."""
    import torch

    from bnrun import runs
    from bnrun.config import config_assignments, resolve
    from bnrun.data.load import load
    from bnrun.events import drain
    from bnrun.health.trained_run import audit_run
    from bnrun.show.console import show_notice

    state = runs.read_checkpoint(path, "last")
    trained = resolve(None, config_assignments(state["config"], "the checkpoint")).config
    config = runs.config_with_norm(path, trained, None, show_notice)
    dataset = drain(load(config.data), on_event)
    return audit_run(
        config,
        state,
        dataset,
        torch.device(device),
        name=path.name,
        weights=weights,
        batches=batches,
        recalibrates=recalibrates,
    )


def _show(
    result: "Audit", state: Any, recalibrate: Path | None, plot: Path | None, json: bool
) -> None:
    """Show an audit, and write the files that were asked for."""
    from bnrun.show.console import show_json, show_line, show_view

    written = []
    if recalibrate is not None:
        from bnrun.runs.checkpoint_files import write_weights

        written.append(write_weights(recalibrate, state))
    if plot is not None:
        from bnrun.cli.plot import drawing

        with drawing(quiet=False):
            written.append(_draw(result, plot))
    if json:
        show_json(result.to_dict() | ({"kept": [str(file) for file in written]} if written else {}))
        return
    from bnrun.show.audit_tables import audit_view

    show_view(audit_view(result))
    for file in written:
        show_line(f"kept in {file}")


def _draw(result: "Audit", file: Path) -> Path:
    from bnrun.runs.picture_files import write_picture
    from bnrun.show import pictures

    kind = file.suffix.removeprefix(".")
    content = pictures.render(pictures.audit_picture(result))[kind]
    (path,) = write_picture(file.parent, file.stem, {kind: content})
    return path
