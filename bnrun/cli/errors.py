"""How errors become messages and exit codes, for every command in one place."""

import os
import sys
import traceback
from typing import Any, NoReturn

import typer

from bnrun.cli.completion import whole_words
from bnrun.cli.help import Group, first_screen, write_first_commands
from bnrun.cli.interruption import end_interrupted
from bnrun.errors import CANNOT_DO, BnrunError

UsageError: Any = sys.modules[typer.BadParameter.__module__].UsageError
"""The class of errors of usage. Where it can be imported from depends on the release of typer."""

_WORDS = "bnrun.words"
"""Where a context keeps the command line."""


class Commands(Group):
    """A group of commands whose errors are a message on stderr and an exit code.

    A `BnrunError` exits with its own code: 2, or 1 where the work failed. An error of usage (an
    unknown option) or of the operating system (a name too long, a full disk behind stdout) exits
    with 2. Ctrl-C exits with 130, and a line says what is kept (see `interruption.py`). With
    `BNRUN_DEBUG=1` the traceback is shown instead of the message.
    """

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write what a newcomer may try."""
        write_first_commands(formatter)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line, or complete it for a shell."""
        with whole_words():
            return super().main(*arguments, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command's name."""
        ctx.meta[_WORDS] = [*args]
        if not args and not ctx.resilient_parsing:
            typer.echo(first_screen(self, ctx), err=True)
            raise typer.Exit(CANNOT_DO)
        try:
            return super().parse_args(ctx, args)
        except KeyboardInterrupt as interruption:
            end_interrupted(interruption)
        except UsageError as error:
            _end(_describe_usage(error, ctx))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `bnrun … | head`: typer ends it quietly
            raise
        except UsageError as error:
            _end(_describe_usage(error, ctx))
        except KeyboardInterrupt as interruption:
            end_interrupted(interruption)
        except (BnrunError, OSError) as error:
            _end(error)


def _describe_usage(error: Any, context: Any) -> BnrunError:
    """Convert a usage error of typer into an error of bnrun."""
    from bnrun.cli.usage_errors import usage_error  # loads the schema, which help does not need

    return usage_error(error, context.meta[_WORDS])


def _end(error: Exception) -> NoReturn:
    """Show an error, and end the command with its exit code."""
    if os.environ.get("BNRUN_DEBUG") == "1":
        traceback.print_exc()
    else:
        from bnrun.show.console import show_error

        show_error(str(error))
    code = error.exit_code if isinstance(error, BnrunError) else CANNOT_DO
    raise typer.Exit(code) from None
