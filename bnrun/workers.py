"""A separate process for code that may raise, hang, print, exit or be killed.

A `Worker` runs one job after another in a process of its own. A process that does not answer in
time is killed, and the next job starts another. This guards against accidents, not against malice:
the code runs with all rights of the user. What comes back is decoded as data, which runs no code
here.
"""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Self

from bnrun import errors
from bnrun.errors import BnrunError, NormError

ERRORS = {
    name: kind for name, kind in vars(errors).items() if name.endswith(("Error", "Failed", "Lost"))
}
"""The errors of bnrun by name. They cross from a process as name, reason, key and source."""

START_SECONDS = 300.0
"""Time limit for starting a process: it imports torch, perhaps from a slow disk."""

Job = Callable[[Any], Any]


class WorkerLost(Exception):
    """A worker's process hung or ended during a job; the message says how."""

    def __init__(self, how: Literal["hung", "exited"], message: str) -> None:
        super().__init__(message)
        self.how = how


class Worker:
    """Runs jobs in a separate process, each within a time limit; a context manager.

    Several start side by side where `begin` is called of all of them before one is waited for.

    Args:
        title: what errors call the preparation: "loading the norm".
        prepare: called once in each process with `arguments`; returns the function that runs a
            job. It, its arguments and the jobs must be picklable.
        arguments: of `prepare`.
        limit: seconds that `prepare`, and each job, may take.
        records: the dataclasses that answers may hold, beside plain values, lists, tuples, dicts
            and tensors.
        with_children: whether the process may start processes, such as a DataLoader's.

    Raises:
        BnrunError: (on entering, and from `run`) what `prepare` raised; a NormError where its
            process was lost.
    """

    def __init__(
        self,
        title: str,
        prepare: Callable[..., Job],
        arguments: Sequence[Any],
        limit: float,
        *,
        records: Sequence[type] = (),
        with_children: bool = False,
    ) -> None:
        self._title, self._prepare, self._arguments = title, prepare, tuple(arguments)
        self._limit = limit
        self._records: list[Any] = list(records)
        self._daemon = not with_children
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._printed_earlier = self._printed = 0

    @property
    def printed(self) -> int:
        """Return how many lines the code has printed, in all processes so far."""
        return self._printed_earlier + self._printed

    def __enter__(self) -> Self:
        self.begin()
        self.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """Start a process, and return without waiting; the caller calls `end`, whatever happens."""
        context = process_context()
        self._pipe, child_pipe = context.Pipe()
        process: BaseProcess = context.Process(
            target=_serve, args=(child_pipe, self._prepare, self._arguments), daemon=self._daemon
        )
        start_ignoring_sigint(process)
        child_pipe.close()
        self._process = process

    def wait_until_ready(self) -> None:
        """Wait until the process that `begin` has started is prepared for jobs.

        Raises:
            BnrunError: see the class.
        """
        try:
            self._receive(START_SECONDS)
            self._receive(self._limit)
        except (EOFError, OSError):
            raise NormError(f"{self._title} {self._lost('exited')}.") from None
        except WorkerLost as lost:
            raise NormError(f"{self._title} {lost}.") from None
        except BaseException:  # Ctrl-C too: `__exit__` is not called before `__enter__` returns
            self.end()
            raise

    def run(self, job: Any, limit: float | None = None) -> Any:
        """Return the answer to a job, which may take `limit` seconds if that is given.

        Raises:
            BnrunError: what the job raised.
            WorkerLost: no answer came. The next job runs in another process.
        """
        if self._process is None:
            self.begin()
            self.wait_until_ready()
        try:
            assert self._pipe is not None
            self._pipe.send(job)
            return self._receive(self._limit if limit is None else limit)
        except (EOFError, OSError) as error:
            raise self._lost("exited") from error
        except BnrunError:
            raise
        except BaseException:
            self.end()
            raise

    def _receive(self, seconds: float) -> Any:
        """Return the next answer, or raise the error that came in its place."""
        assert self._pipe is not None
        if not self._pipe.poll(seconds):
            raise self._lost("hung")
        answer, error, self._printed = self._decode(self._pipe.recv_bytes())
        if error is not None:
            raise error
        return answer

    def _decode(self, data: bytes) -> tuple[Any, BnrunError | None, int]:
        """Return an answer, an error or None, and the count of printed lines.

        torch's restricted unpickler builds plain values, tensors and the given records; it refuses
        everything else, and so runs no code of the sender's choice.
        """
        import torch

        try:
            with torch.serialization.safe_globals(self._records):
                message = torch.load(io.BytesIO(data), weights_only=True)
            facts = message["error"]
            error = None if facts is None else ERRORS[facts[0]](*facts[1:])
            return message["answer"], error, int(message["printed"])
        except Exception as error:
            self.end()
            raise WorkerLost("exited", "answers with something other than plain data") from error

    def _lost(self, how: Literal["hung", "exited"]) -> WorkerLost:
        """End the process, and return what happened to it."""
        message = "does not finish within the time limit"
        if how == "exited" and self._process is not None:
            self._process.join(1)
            message = (
                f"ends the process that it runs in: it {describe_exit(self._process.exitcode)}"
            )
        self.end()
        return WorkerLost(how, message)

    def end(self) -> None:
        """End the process, if there is one."""
        self._printed_earlier, self._printed = self.printed, 0
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._pipe = self._process = None


def process_context() -> Any:
    """Return multiprocessing's context in which a process starts soonest.

    On Linux, processes are forked from a server that has torch loaded, which takes milliseconds;
    elsewhere each imports torch anew. This process itself is not forked: the copy would have the
    state of torch's thread pools without their threads.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch"])  # bnrun first: see OMP_WAIT_POLICY there
    return context


def start_server() -> None:
    """Start what `process_context` forks processes from, so that it loads torch meanwhile.

    The first process starts it otherwise, which then waits a second for it.
    """
    if sys.platform == "linux":
        process_context()
        with _ignoring_sigint():
            forkserver._forkserver.ensure_running()


def start_ignoring_sigint(process: BaseProcess) -> None:
    """Start a process that ignores SIGINT, also while it imports; the parent handles Ctrl-C."""
    with _ignoring_sigint():
        process.start()


@contextlib.contextmanager
def _ignoring_sigint() -> Iterator[None]:
    """Let processes that are started in the block ignore SIGINT.

    Signal dispositions belong to the main thread: in any other, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
    elif hasattr(signal, "pthread_sigmask"):  # inherited; a Ctrl-C meanwhile is pending
        resource_tracker.ensure_running()  # started in the block, it would lift the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    else:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)


def describe_exit(exitcode: int | None) -> str:
    """Return how a process ended: "ended with exit code 3", "was ended by signal 9 (SIGKILL)"."""
    if exitcode is None:  # it runs, but has closed its end of the pipe
        return "stopped answering"
    if exitcode < 0:
        names = {number.value: number.name for number in signal.Signals}
        return f"was ended by signal {-exitcode} ({names.get(-exitcode, 'no name')})"
    return f"ended with exit code {exitcode}"


def _serve(pipe: Connection, prepare: Callable[..., Job], arguments: tuple[Any, ...]) -> None:
    """Run jobs until the parent closes the pipe. Printed lines are counted and not shown."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_with_parent()
    counter = _LineCounter()
    for stream in (1, 2):
        os.dup2(counter.fileno(), stream)
    sys.stdout = sys.stderr = io.TextIOWrapper(
        counter, encoding="utf-8", errors="backslashreplace", write_through=True
    )
    warnings.simplefilter("ignore")  # torch warns about the unusual inputs that are tried
    import torch

    def send(answer: Any = None, error: BnrunError | None = None) -> None:
        facts = (
            None if error is None else (type(error).__name__, error.reason, error.key, error.source)
        )
        buffer = io.BytesIO()
        torch.save({"answer": answer, "error": facts, "printed": counter.lines}, buffer)
        pipe.send_bytes(buffer.getvalue())

    send()  # torch is loaded: from here on, the time is that of `prepare`
    try:
        run = prepare(*arguments)
    except BnrunError as error:
        send(error=error)
        return
    send()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = run(job)
        except BnrunError as error:
            send(error=error)
        else:
            send(answer)


def exit_with_parent() -> None:
    """End this process as soon as its parent ends, whatever it is doing then."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _LineCounter(io.FileIO):
    """The null device, with a count of the lines written to it."""

    def __init__(self) -> None:
        super().__init__(os.devnull, "w")
        self.lines = 0

    def write(self, data: Any) -> int:
        self.lines += bytes(data).count(b"\n")
        return memoryview(data).nbytes
