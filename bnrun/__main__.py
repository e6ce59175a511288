"""The entry point: `bnrun`, and `python -m bnrun`."""

import io
import sys


def main() -> None:
    """Run the command line; Ctrl-C, even while modules are still loading, exits with 130."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # γ must not end a run on an ASCII terminal
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from bnrun.cli import app

        app(prog_name="bnrun")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
