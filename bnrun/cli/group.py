"""How errors become messages and exit codes, for every command at once."""

import os
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from bnrun.errors import BnrunError

INTERRUPTED = 130


class Commands(TyperGroup):
    """A group of commands whose errors are a message on stderr and an exit code.

    A `BnrunError` exits with its own code (2, or 1 where the work failed), Ctrl-C with 130.
    With `BNRUN_DEBUG=1` the traceback is shown instead of the message.
    """

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except (BnrunError, KeyboardInterrupt) as error:
            if os.environ.get("BNRUN_DEBUG") == "1":
                traceback.print_exc()
            elif isinstance(error, BnrunError):
                from bnrun.show.console import show_error

                show_error(str(error))
            code = error.exit_code if isinstance(error, BnrunError) else INTERRUPTED
            raise typer.Exit(code) from None
