"""The command line. A command is four acts: parse, build, iterate, exit code.

Modules that take long to load are imported inside the commands. So `--help` answers at once, and a
mistake in a config is reported before torch is loaded (2 s).
"""

from typing import Annotated

import typer

from bnrun import __version__
from bnrun.cli import (
    bench,
    compare,
    configs,
    data,
    doctor,
    evaluate,
    guide,
    inspect_gamma,
    plot,
    runs,
    train,
    verify,
)
from bnrun.cli.errors import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train.train)
app.command()(compare.compare)
app.command()(bench.bench)
app.command()(verify.verify)
app.command()(doctor.doctor)
app.command()(evaluate.evaluate)
app.command()(evaluate.recalibrate)
app.command("inspect-gamma")(inspect_gamma.inspect_gamma)
app.command()(plot.plot)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.command()(configs.configs)
app.command()(guide.guide)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bnrun {__version__}")
        raise typer.Exit


@app.callback()
def bnrun(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Understand, verify and compare normalization layers."""
