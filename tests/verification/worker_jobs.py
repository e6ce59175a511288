"""The jobs of test_workers.py, in a module that worker processes can import."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnrun.errors import NormError, TrainingFailed


@dataclass(frozen=True)
class Point:
    """A record, with a record inside."""

    x: float
    next: "Point | None" = None


class Trap:
    """An answer that creates a file when it is unpickled in the usual way."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path(self.path),)


def prepare(how: str) -> Callable[[object], object]:
    """Return what runs a job; or refuse, exit or hang."""
    match how:
        case "refuses":
            raise NormError("no such norm")
        case "exits":
            os._exit(4)
        case "hangs":
            time.sleep(60)
    return run


def run(job: object) -> object:
    """Run the job of that name; return any other job as it is."""
    match job:
        case "exit":
            os._exit(3)
        case "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(60)
        case "print":
            print("one\ntwo")
            print("three", file=sys.stderr)
            sys.stdout.buffer.write(b"four\n")  # as a program does that prints bytes
            os.write(1, b"from C\n")
        case "pid":
            return os.getpid()
        case "refuse":
            raise TrainingFailed("too large", "training.batch_size")
        case "points":
            return {"points": [Point(1.5, Point(2.0))]}
        case ("trap", str(path)):
            return Trap(path)
    return job
