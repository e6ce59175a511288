"""Ctrl-C: what a command says when it ends it, and where it has to wait."""

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bnrun.errors import NOTHING_KEPT
from bnrun.events import Activity

if TYPE_CHECKING:
    from bnrun.show.progress import Screen


@contextlib.contextmanager
def interruptible(kept: Callable[[], str | None]) -> Iterator[None]:
    """Say what is kept where Ctrl-C ends the block.

    Args:
        kept: returns that, as it is by then, with how to go on; None where nothing is kept.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*filter(None, [kept()])) from None


def show_interruption(interruption: KeyboardInterrupt) -> None:
    """Say that the command was interrupted, in a line on stderr.

    A second Ctrl-C is ignored from here on: it must not cut this line.
    """
    from bnrun.show.console import show_note

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.environ.get("BNRUN_DEBUG") == "1":
        traceback.print_exc()
    show_note(f"interrupted: {str(interruption) or NOTHING_KEPT}")


@contextlib.contextmanager
def loading_torch(screen: "Screen") -> Iterator[None]:
    """Say that torch is loaded in the block; Ctrl-C waits for the end of that.

    Torch's modules are set up by C++ code, in parts of which an exception gets lost, and with it
    Ctrl-C. A second Ctrl-C does not wait.
    """
    screen.show(Activity("loading torch"))
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
        screen.show(Activity("interrupted; waiting until torch is loaded"))

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupted:
        raise KeyboardInterrupt
