"""What the trials of test_trials.py do: a module of its own, for other processes to import."""

import os
import signal
import time
from collections.abc import Generator
from pathlib import Path

from bnrun.comparison.trials import Trial
from bnrun.errors import NormError, RunError, TrainingFailed
from bnrun.events import Event, Notice, RunEnded

ENDED = RunEnded("completed", None, None)


def act(trial: Trial) -> Generator[Event, None, None]:
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
        case "exits":
            os._exit(3)
        case "vanishes":
            os._exit(0)
    yield Notice("done")
    yield ENDED


def wait_for_end(trial: Trial) -> Generator[Event, None, None]:
    """Say that it has begun, wait, and leave a file when it is asked to end."""
    assert trial.run is not None
    try:
        yield Notice("begun")
        time.sleep(60)
    finally:
        Path(trial.run).write_text("ended in order")
