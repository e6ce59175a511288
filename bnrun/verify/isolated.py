"""Somebody else's code, run in a process of its own: it may raise, hang, print, or exit.

The process is asked for one experiment after another. Where no answer comes in time, it is ended,
and another one goes on with the next.
"""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Literal, Self

from bnrun.errors import NormError
from bnrun.processes import begin, how_it_ended

START_SECONDS = 300.0  # to import torch on a slow disk
MODULE = __name__


class Lost(Exception):
    """The process has hung, or ended; the message says how."""

    def __init__(self, trouble: Literal["hung", "exited"], message: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class Worker:
    """A process that does jobs of one kind, each in the time that it is given.

    Args:
        prepare: called once in the process with `arguments`; returns the function that does a
            job. Both must be such as can be pickled.
        limit: seconds that `prepare`, and each job, may take.

    Raises:
        NormError: `prepare` did, or was lost.
    """

    def __init__(self, prepare: Any, arguments: Sequence[Any], limit: float) -> None:
        # A fork of a process that has torch loaded, and nothing else done, starts at once.
        method = "forkserver" if sys.platform == "linux" else "spawn"
        context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload(["torch", MODULE])
        self._limit = limit
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, prepare, tuple(arguments)), daemon=True
        )
        self.printed = 0  # lines, by the code under test
        begin(self._process)
        theirs.close()

    def __enter__(self) -> Self:
        try:
            self._answer(START_SECONDS)
            refusal = self._answer(self._limit)
        except Lost as lost:
            self.__exit__(None, None, None)
            raise NormError(f"model.norm: loading the norm {lost}.") from None
        if refusal is not None:
            self.__exit__(None, None, None)
            raise NormError(refusal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()

    def do(self, job: Any, limit: float | None = None) -> Any:
        """Return the answer to a job, which may take `limit` seconds if that is given.

        Raises:
            Lost: none came.
        """
        try:
            self._pipe.send(job)
        except OSError as error:
            raise Lost("exited", self._how()) from error
        return self._answer(self._limit if limit is None else limit)

    def _answer(self, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise Lost("hung", "does not come back within the time limit")
        try:
            answer, self.printed = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Lost("exited", self._how()) from error
        return answer

    def _how(self) -> str:
        self._process.join(1)
        return f"ends its process, which {how_it_ended(self._process.exitcode)}"


def _work(pipe: Connection, prepare: Any, arguments: tuple[Any, ...]) -> None:
    """Do jobs until nobody asks any more. What is printed meanwhile is counted and not shown."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to heed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    printed = _Counter()
    sys.stdout = sys.stderr = printed
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
