"""The command line. A command is four acts: parse, build, iterate, exit code.

Modules that take long to load are imported inside the commands. So `--help` answers at once, and a
mistake in a config is reported before torch is loaded (2 s).
"""

from collections.abc import Callable
from typing import Annotated

import typer

from bnrun import __version__
from bnrun.cli import (
    audit,
    bench,
    claims,
    compare,
    configs,
    data,
    doctor,
    evaluate,
    export,
    guide,
    inspect_gamma,
    norms,
    plot,
    report,
    runs,
    study,
    train,
    verify,
)
from bnrun.cli.errors import Commands
from bnrun.cli.help import Command, show_help
from bnrun.cli.launched import require_alone

app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(panel: str, *functions: Callable[..., None], **groups: typer.Typer) -> None:
    """Add commands, and groups of commands by name, under a heading of the help."""
    for function in functions:
        name = function.__name__.removeprefix("show_").replace("_", "-")
        app.command(name, cls=Command, rich_help_panel=panel)(function)
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=panel)


_add(
    "Train and compare",
    train.train,
    compare.compare,
    study.study,
    claims.claims,
    report.report,
    bench.bench,
)
_add("Check a layer or a network", verify.verify, audit.audit, doctor.doctor)
_add(
    "Look at what was trained",
    inspect_gamma.inspect_gamma,
    evaluate.evaluate,
    evaluate.recalibrate,
    plot.plot,
    export.export,
    runs=runs.app,
)
_add("Help and set-up", guide.guide, norms.norms, configs.configs, show_help, data=data.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnrun {__version__}")
        raise typer.Exit


@app.callback()
def bnrun(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Understand, verify and compare normalization layers."""
    if context.invoked_subcommand != "train":
        require_alone(str(context.invoked_subcommand))
