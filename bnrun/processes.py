"""Processes of our own making: begun so that Ctrl-C is the parent's to heed, and how they end."""

import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess


def begin(process: BaseProcess) -> None:
    """Start a process that never heeds Ctrl-C, not even while it imports what it needs.

    Outside the main thread, which alone can see to that, it is just started.
    """
    if threading.current_thread() is not threading.main_thread():
        process.start()
        return
    if hasattr(signal, "pthread_sigmask"):  # what comes meanwhile is kept for afterwards
        resource_tracker.ensure_running()  # else it is begun by the way, and lifts the block
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # handed on
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, heeded)


def how_it_ended(exitcode: int | None) -> str:
    """Say how a process ended: "ended with exit code 3", "was ended by signal 9 (SIGKILL)"."""
    if exitcode is not None and exitcode < 0:
        return f"was ended by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"ended with exit code {exitcode}"
