"""The entry point: `bnrun`, and `python -m bnrun`."""

import io
import sys

from bnrun.errors import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C exits with 130, even while modules are still loading."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # γ must not end a run on an ASCII terminal
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from bnrun.cli import app

        app(prog_name="bnrun")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
