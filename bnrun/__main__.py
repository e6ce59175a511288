"""The entry point: `bnrun`, and `python -m bnrun`."""

import sys

from bnrun.errors import INTERRUPTED
from bnrun.show.plain_text import spell_out


def main() -> None:
    """Run the command line; Ctrl-C exits with 130, even while modules are still loading."""
    for stream in (sys.stdout, sys.stderr):
        spell_out(stream)
    try:
        from bnrun.cli import app

        app(prog_name="bnrun")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
