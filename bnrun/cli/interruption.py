"""What a command says when Ctrl-C ends it, and where Ctrl-C has to wait."""

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from bnrun.errors import INTERRUPTED, NOTHING_KEPT
from bnrun.events import Activity

if TYPE_CHECKING:
    from bnrun.show.progress import Screen


@contextlib.contextmanager
def interruptible(kept: Callable[[], str | None]) -> Iterator[None]:
    """Say what is kept where Ctrl-C ends the block.

    Args:
        kept: returns what is kept at that moment and how to continue; None where nothing is.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*filter(None, [kept()])) from None


def end_interrupted(interruption: KeyboardInterrupt) -> NoReturn:
    """Say that the command was interrupted, on stderr, and end it.

    A second Ctrl-C is ignored from here on: it must not cut these words.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from bnrun.show.console import show_notice

    if os.environ.get("BNRUN_DEBUG") == "1":
        traceback.print_exc()
    show_notice(f"interrupted: {str(interruption) or NOTHING_KEPT}")
    raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def loading(screen: "Screen", library: str) -> Iterator[None]:
    """Say that a large library is loaded in the block; Ctrl-C waits until it is.

    C++ code sets up torch and matplotlib. A KeyboardInterrupt in the middle of it may get lost, or
    crash the process. A second Ctrl-C does not wait.
    """
    screen.show(Activity(f"loading {library}"))
    handler: Any = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # it is ignored, as in the background of a script
        yield
        return
    interrupted = False

    def wait(number: int, frame: Any) -> None:
        nonlocal interrupted
        if interrupted:
            handler(number, frame)
        interrupted = True
        screen.show(Activity(f"interrupted; waiting until {library} is loaded"))

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupted:
        raise KeyboardInterrupt
