"""What the trials of test_trials.py do: a module of its own, for other processes to import."""

import gc
import os
import signal
import struct
import time
from collections.abc import Generator
from multiprocessing.connection import Connection
from pathlib import Path

from bnrun.comparison.comparison_events import Trial
from bnrun.errors import NormError, RunError, TrainingFailed
from bnrun.events import Event, Notice
from bnrun.training_summary import Summary, planned


def act(trial: Trial) -> Generator[Event, None, Summary]:
    """Do what the trial's name says."""
    yield Notice(f"{trial.arm} in {os.getpid()}")
    match trial.arm:
        case "raises":
            raise TrainingFailed("no more")
        case "unbuildable":
            raise NormError("no such norm")
        case "full":
            raise RunError("the disk is full")
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "dies while sending":
            _send_half_a_message()
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)
        case "vanishes":
            os._exit(0)
    yield Notice("done")
    return planned(trial.config.to_dict(), trial.run)


def _send_half_a_message() -> None:
    """Write the length of a message into this process's pipe, and less than the message."""
    (sender,) = (one for one in gc.get_objects() if isinstance(one, Connection) and one.writable)
    os.write(sender.fileno(), struct.pack("!i", 100) + b"half")


def wait_for_end(trial: Trial) -> Generator[Event, None, Summary]:
    """Say that it has started, wait, and leave a file when it is asked to end."""
    assert trial.run is not None
    try:
        yield Notice("started")
        time.sleep(60)
    finally:
        Path(trial.run).write_text("ended in order")
    return planned(trial.config.to_dict(), trial.run)
