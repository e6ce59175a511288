"""Somebody else's code, run in a process of its own: it may raise, hang, print, or exit.

The process is asked for one job after another. Where no answer comes in time, it is ended, and
another one does the next.
"""

import io
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Self

from bnrun.errors import NormError
from bnrun.processes import begin, how_it_ended

START_SECONDS = 300.0  # to import torch on a slow disk


class Lost(Exception):
    """The process has hung, or ended; the message says how."""

    def __init__(self, trouble: Literal["hung", "exited"], message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class Isolated:
    """Does jobs of one kind in a process, each in the time that it is given; a context manager.

    Args:
        what: what preparing is called in errors: "loading the norm".
        prepare: called once in each process with `arguments`; returns the function that does a
            job. It must be such as can be pickled, and so must jobs and answers.
        limit: seconds that `prepare`, and each job, may take.
        with_children: whether it may have processes of its own, such as a DataLoader's.

    Raises:
        NormError: from `prepare`; or it was lost. On entering, or from `do` in a later process.
    """

    def __init__(
        self,
        what: str,
        prepare: Any,
        arguments: Sequence[Any],
        limit: float,
        *,
        with_children: bool = False,
    ) -> None:
        self._what, self._prepare, self._arguments = what, prepare, tuple(arguments)
        self._limit = limit
        self._daemon = not with_children
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._printed_before = self._printed = 0

    @property
    def printed(self) -> int:
        """Return how many lines the code has printed."""
        return self._printed_before + self._printed

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def do(self, job: Any, limit: float | None = None) -> Any:
        """Return the answer to a job, which may take `limit` seconds if that is given.

        Raises:
            Lost: none came. The next job has another process.
        """
        if self._process is None:
            self._start()
        try:
            assert self._pipe is not None
            self._pipe.send(job)
            return self._answer(self._limit if limit is None else limit)
        except (EOFError, OSError) as error:
            raise self._lost("exited") from error
        except BaseException:
            self._end()
            raise

    def _start(self) -> None:
        # A fork of a process that has torch loaded, and nothing else done, starts at once.
        method = "forkserver" if sys.platform == "linux" else "spawn"
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["torch", __name__])
        self._pipe, theirs = context.Pipe()
        process: BaseProcess = context.Process(
            target=_work, args=(theirs, self._prepare, self._arguments), daemon=self._daemon
        )
        begin(process)
        theirs.close()
        self._process = process
        try:
            self._answer(START_SECONDS)
            refusal = self._answer(self._limit)
        except (EOFError, OSError):
            raise NormError(f"{self._what} {self._lost('exited')}.") from None
        except Lost as lost:
            raise NormError(f"{self._what} {lost}.") from None
        except BaseException:  # Ctrl-C: nobody else knows of the process yet
            self._end()
            raise
        if refusal is not None:
            self._end()
            raise NormError(refusal)

    def _answer(self, seconds: float) -> Any:
        assert self._pipe is not None
        if not self._pipe.poll(seconds):
            raise self._lost("hung")
        answer, self._printed = self._pipe.recv()
        return answer

    def _lost(self, trouble: Literal["hung", "exited"]) -> Lost:
        """End the process, and return what has become of it."""
        said = "does not come back within the time limit"
        if trouble == "exited" and self._process is not None:
            self._process.join(1)
            said = f"ends the process that it runs in: it {how_it_ended(self._process.exitcode)}"
        self._end()
        return Lost(trouble, said)

    def _end(self) -> None:
        self._printed_before, self._printed = self.printed, 0
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._pipe = self._process = None


def _work(pipe: Connection, prepare: Any, arguments: tuple[Any, ...]) -> None:
    """Do jobs until nobody asks any more. What is printed meanwhile is counted and not shown."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to heed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    printed = _Counter()
    sys.stdout = sys.stderr = printed
    warnings.simplefilter("ignore")  # torch's, of the odd inputs that are tried
    import torch  # noqa: F401  (where it is not there by the fork: the time is not the norm's)

    pipe.send((None, 0))
    try:
        do = prepare(*arguments)
    except NormError as error:
        pipe.send((str(error), printed.lines))
        return
    pipe.send((None, printed.lines))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send((do(job), printed.lines))


def _end_with_parent() -> None:
    """End this process when its parent is no more, whatever it is in the middle of."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _Counter(io.TextIOBase):
    """Counts the lines that are written to it."""

    def __init__(self) -> None:
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)
