"""What the processes of test_isolated.py do: a module of its own, for them to import."""

import os
import signal
import sys
import time
from collections.abc import Callable

from bnrun.errors import NormError


def prepare(how: str) -> Callable[[object], object]:
    """Become a process that does jobs, or does not."""
    match how:
        case "refuses":
            raise NormError("no such norm")
        case "exits":
            os._exit(4)
        case "hangs":
            time.sleep(60)
    return do


def do(job: object) -> object:
    """Do what the job says."""
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
            os.write(1, b"from C\n")
        case "pid":
            return os.getpid()
    return job
