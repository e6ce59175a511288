"""The entry point: `bnrun`, and `python -m bnrun`.

It imports next to nothing before Ctrl-C has a handler: until then, Python answers with a traceback.
"""

import atexit
import gc
import signal
import sys


class Interrupted(KeyboardInterrupt):
    """Ctrl-C.

    Not KeyboardInterrupt itself: where that passes through an `exec` of a text, such as that of a
    dataclass, Python ends the process by a signal instead of its exit code, also if it is caught.
    """


def _interrupt(number: int, frame: object) -> None:
    raise Interrupted


def main() -> None:
    """Run the command line; Ctrl-C exits with 130, even while modules are still loading."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored
        signal.signal(signal.SIGINT, _interrupt)
    # Otherwise Python looks for garbage in all of torch at the end: half a second of CPU.
    atexit.register(gc.freeze)
    try:
        from bnrun.show.plain_text import spell_out

        for stream in (sys.stdout, sys.stderr):
            spell_out(stream)
        from bnrun.cli import app

        app(prog_name="bnrun")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not cut the words
        _end_interrupted()
    finally:
        # The interpreter takes a moment to end, in which Ctrl-C would only raise a traceback.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_interrupted() -> None:
    """Say that nothing was kept, and exit with 130."""
    import os
    import textwrap

    from bnrun.errors import INTERRUPTED, NOTHING_KEPT

    words = f"interrupted: {NOTHING_KEPT}"
    if sys.stderr.isatty():
        words = textwrap.fill(words, os.get_terminal_size(sys.stderr.fileno()).columns or 80)
    sys.stderr.write(f"{words}\n")
    sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
