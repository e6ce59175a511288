"""Work side by side: as many items at a time as a workplace has room for.

`TaskProcesses` are the workplace on this machine: each runs one task after another. The work of a
task is a generator function without arguments that can be pickled. What it yields and returns comes
back pickled, and is trusted; see `workers` for code that is not. A task that ends its process takes
no other task with it.
"""

import contextlib
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from bnrun.errors import INTERRUPTED, BnrunError
from bnrun.events import Notice
from bnrun.workers import describe_exit, exit_with_parent, process_context, start_ignoring_sigint

INTERRUPT_SECONDS = 10.0
"""Time that an interrupted task has to write down how far it came."""

Item = TypeVar("Item")
ItemToStart = TypeVar("ItemToStart", contravariant=True)
MessageToYield = TypeVar("MessageToYield", covariant=True)


class Workplace(Protocol[ItemToStart, MessageToYield]):
    """Where items are worked on side by side, and how what happens there is heard of."""

    @property
    def count(self) -> int:
        """Return how many items have been started and not ended."""

    @property
    def has_room(self) -> bool:
        """Return whether another item may start."""

    def start(self, item: ItemToStart) -> Iterator[MessageToYield]:
        """Start an item; yield what is to be said of that."""

    def receive(self) -> Iterator[MessageToYield]:
        """Wait for messages, not for long, and yield them.

        Raises:
            BnrunError: something happened that ends all work.
        """

    def close(self) -> None:
        """End what has not ended yet."""


def run_side_by_side(
    items: Iterable[Item], place: Workplace[Item, MessageToYield]
) -> Generator[MessageToYield, None, None]:
    """Work on items in a workplace, as many at a time as it has room for, and close it.

    Raises:
        BnrunError: (while iterating) what ends all work, such as a full disk.
    """
    waiting = deque(items)
    with contextlib.closing(place):
        while waiting or place.count:
            while waiting and place.has_room:
                yield from place.start(waiting.popleft())
            yield from place.receive()


@dataclass(frozen=True)
class Task:
    """A piece of work for a process.

    Attributes:
        key: what messages call it.
        work: yields events, and returns a result.
        alone: whether its process is used for nothing else after it: a user's code may leave traces
            in one, such as another default dtype.
    """

    key: Any
    work: Callable[[], Generator[Any, None, Any]]
    alone: bool = False


@dataclass(frozen=True)
class Started:
    """The task of a key has been given to a process, which may have been started for it."""

    key: Any
    in_new_process: bool


@dataclass(frozen=True)
class Yielded:
    """The task of a key has yielded something; a warning of its code comes as a `Notice`."""

    key: Any
    value: Any


@dataclass(frozen=True)
class Returned:
    """The task of a key has come to its end."""

    key: Any
    result: Any


@dataclass(frozen=True)
class Lost:
    """The process of a task has ended, and how: "its process ended with exit code 3"."""

    key: Any
    reason: str


Message = Started | Yielded | Returned | Lost


class TaskProcesses:
    """A workplace for tasks, in processes that are started when they are needed.

    Args:
        most: how many processes there may be.
        threads: how many threads each one computes with.
        seconds: how long `receive` waits for a message; None waits for one.
    """

    def __init__(self, most: int, threads: int, seconds: float | None = None) -> None:
        self._most, self._threads, self._seconds = most, threads, seconds
        self._working: dict[Connection, tuple[Task, BaseProcess]] = {}  # by the pipe
        self._idle: list[tuple[Connection, BaseProcess]] = []

    @property
    def count(self) -> int:
        """Return how many tasks have been started and not ended."""
        return len(self._working)

    @property
    def has_room(self) -> bool:
        """Return whether another task may start."""
        return self.count < self._most

    def start(self, task: Task) -> Iterator[Message]:
        """Start a task: in a process that has none, or in a new one."""
        idle = [] if task.alone else [one for one in self._idle if one[1].is_alive()]
        yield Started(task.key, in_new_process=not idle)
        pipe, process = idle[-1] if idle else self._new()
        self._idle = [one for one in self._idle if one[0] is not pipe]
        self._working[pipe] = (task, process)
        with contextlib.suppress(OSError):  # the process has just been killed; `receive` says so
            pipe.send(task.work)

    def receive(self) -> Iterator[Message]:
        """Wait for messages, and yield one from every process that has any.

        Raises:
            BnrunError: what a task has raised.
        """
        ready: list[Any] = wait(list(self._working), self._seconds)
        for pipe in ready:
            task, process = self._working[pipe]
            try:
                has_ended, value = pipe.recv()
            except (EOFError, OSError):  # OSError: it was killed while it sent a message
                del self._working[pipe]
                process.join()
                yield Lost(task.key, f"its process {describe_exit(process.exitcode)}")
                continue
            if not has_ended:
                yield Yielded(task.key, value)
                continue
            del self._working[pipe]
            self._idle.append((pipe, process))
            if task.alone:
                self._end([self._idle.pop()])
            if isinstance(value, BnrunError):
                raise value
            yield Returned(task.key, value)

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        working = [(pipe, process) for pipe, (_, process) in self._working.items()]
        self._end([*working, *self._idle])

    @staticmethod
    def _end(ones: Sequence[tuple[Connection, BaseProcess]]) -> None:
        for _, process in ones:
            process.terminate()
        for pipe, process in ones:
            process.join(INTERRUPT_SECONDS)
            process.kill()
            pipe.close()

    def _new(self) -> tuple[Connection, BaseProcess]:
        pipe, other_end = process_context().Pipe()
        process = process_context().Process(target=_serve, args=(other_end, self._threads))
        start_ignoring_sigint(process)
        other_end.close()  # this process's copy, so that the pipe ends with the other one
        return pipe, process


def _serve(pipe: Connection, threads: int) -> None:
    """Run tasks until this process is asked to end, and send what they yield and return.

    Ctrl-C at a terminal reaches every process of the group. This one ignores it; the parent handles
    it, and asks this one to end by SIGTERM.
    """
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    exit_with_parent()
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: pipe.send(
        (False, Notice(f"warning: {message}"))
    )
    sys.stdout = sys.stderr  # stdout is for results; a user's layer may print
    try:
        while True:
            pipe.send((True, _run(pipe.recv(), pipe)))
    except (KeyboardInterrupt, EOFError, ConnectionError):  # asked to end, or nobody reads any more
        sys.exit(INTERRUPTED)


def _run(work: Callable[[], Generator[Any, None, Any]], pipe: Connection) -> Any:
    """Send what work yields; return its result, or the error of bnrun that it has raised.

    Each task warns anew of what an earlier one has warned of: leaving `catch_warnings` resets that.
    """
    with warnings.catch_warnings(), contextlib.closing(work()) as events:
        try:
            while True:
                pipe.send((False, next(events)))
        except StopIteration as end:
            return end.value
        except BnrunError as error:
            return error
