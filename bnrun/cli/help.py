"""Help texts, where nothing is cut, and `bnrun help`."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from bnrun.cli import completion
from bnrun.errors import BnrunError, did_you_mean

FIRST_COMMANDS = (
    ("bnrun train --epochs 1", "Train for one epoch; the images are fetched once."),
    ("bnrun verify scratch", "Check a layer, and see what is checked."),
    ("bnrun guide", "Read the manual."),
)
"""What the help of `bnrun` gives a newcomer to try, and what it does."""

WHOLE = 1_000
"""A length that no summary has: typer cuts those that are longer than asked for."""


class Command(TyperCommand):
    """A command with a help text in plain words."""

    def get_short_help_str(self, limit: int = WHOLE) -> str:
        """Return the summary, whole."""
        return super().get_short_help_str(max(limit, WHOLE))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what the line of usage shows; some releases of typer write {A} for A."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose help lists them under the headings of their panels."""

    def get_short_help_str(self, limit: int = WHOLE) -> str:
        """Return the summary, whole."""
        return super().get_short_help_str(max(limit, WHOLE))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, and the commands with their summaries, whole."""
        _write_parameters(self, ctx, formatter)
        for panel, rows in self.panels().items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def panels(self) -> dict[str, list[tuple[str, str]]]:
        """Return the heading of each panel, with its commands, of one width, and summaries."""
        width = max(map(len, self.commands))
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or "Commands"
            row = name.ljust(width), command.get_short_help_str()
            panels.setdefault(panel, []).append(row)
        return panels


def first_screen(group: Group, context: Any) -> str:
    """Return what `bnrun` alone shows: a line for each command, on one screen of 80 x 24."""
    formatter = context.make_formatter()
    name = context.command_path
    formatter.write(f"Usage: {name} COMMAND ...  In full: {name} --help\n")
    formatter.write(f"First: {'; '.join(command for command, _ in FIRST_COMMANDS)}\n\n")
    rows = [row for panel in group.panels().values() for row in panel]
    formatter.indent()
    room = formatter.width - formatter.current_indent - len(f"{rows[0][0]}  ")
    formatter.write_dl([(command, _one_line(summary, room)) for command, summary in rows])
    formatter.dedent()
    return str(formatter.getvalue().rstrip("\n"))


def write_first_commands(formatter: Any) -> None:
    """Write what a newcomer may try."""
    with formatter.section("First commands to try"):
        formatter.write_dl(FIRST_COMMANDS)


def _one_line(summary: str, room: int) -> str:
    """Return a summary, without its last clauses where these do not fit."""
    while len(summary) > room and (clause := re.search(r"[,;:][^,;:]*$", summary)):
        summary = f"{summary[: clause.start()]}."
    return summary


def _write_parameters(command: Any, context: Any, formatter: Any) -> None:
    for kind in ("argument", "option"):
        parameters = [p for p in command.get_params(context) if p.param_type_name == kind]
        if rows := list(_rows(parameters, context)):
            with formatter.section(f"{kind.capitalize()}s"):
                formatter.write_dl(rows)


def _rows(parameters: list[Any], context: Any) -> Iterator[tuple[str, str]]:
    """Yield how each parameter is written, and what it means; typer's types are for programs."""
    for parameter in parameters:
        if record := parameter.get_help_record(context):
            name, meaning = record
            meaning = re.sub(r"x>=([\d.]+)", r"\1 or more", meaning).replace("]  [", "; ")
            yield re.sub(r"(?<=\S) <.*>$", "", name), meaning


def no_such_command(context: Any, name: str) -> BnrunError:
    """Return the error of a group's command, or of any command, that does not exist."""
    near = did_you_mean(name, getattr(context.command, "commands", ()))
    reason = f"{context.command_path} has no command of this name.{near}"
    return BnrunError(f"{reason} bnrun help lists the commands.", key=name)


def show_help(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="As in: bnrun help runs diff",
            autocompletion=completion.commands,
        ),
    ] = None,
) -> None:
    """Show the help of a command."""
    root = context.find_root()
    shown: Any = root
    for name in command or ():
        known = getattr(shown.command, "commands", {})
        if name not in known:
            raise no_such_command(shown, name)
        shown = type(context)(known[name], info_name=name, parent=shown)
    typer.echo(shown.get_help())
