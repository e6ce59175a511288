"""Work side by side: as many items at a time as a workplace has room for.

`Processes` are the workplace on this machine: each runs one task after another. A task is a
generator function without arguments that can be pickled. What it yields and returns comes back
pickled, so this is for bnrun's own code; see `workers` for that of others. A task that ends its
process takes no other task with it.
"""

import contextlib
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from bnrun.errors import INTERRUPTED, BnrunError
from bnrun.events import Notice
from bnrun.workers import describe_exit, process_context, start_ignoring_sigint

INTERRUPT_SECONDS = 10.0
"""Time that an interrupted task has to write down how far it came."""

Task = Callable[[], Generator[Any, None, Any]]
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


class Processes:
    """A workplace for tasks, each with a key, in processes that are started when they are needed.

    Args:
        most: how many processes there may be.
        threads: how many threads each one computes with.
        seconds: how long `receive` waits for a message; None waits for one.
    """

    def __init__(self, most: int, threads: int, seconds: float | None = None) -> None:
        self._most, self._threads, self._seconds = most, threads, seconds
        self._working: dict[Connection, tuple[Any, BaseProcess]] = {}  # a key, by the pipe
        self._idle: list[tuple[Connection, BaseProcess]] = []

    @property
    def count(self) -> int:
        """Return how many tasks have been started and not ended."""
        return len(self._working)

    @property
    def has_room(self) -> bool:
        """Return whether another task may start."""
        return self.count < self._most

    def start(self, item: tuple[Any, Task]) -> Iterator[Message]:
        """Start the task of a key: in a process that has none, or in a new one."""
        key, task = item
        idle = [one for one in self._idle if one[1].is_alive()]
        yield Started(key, in_new_process=not idle)
        pipe, process = idle.pop() if idle else self._new()
        self._idle = idle
        self._working[pipe] = (key, process)
        with contextlib.suppress(OSError):  # the process has just been killed; `receive` says so
            pipe.send(task)

    def receive(self) -> Iterator[Message]:
        """Wait for messages, and yield one from every process that has any.

        Raises:
            BnrunError: what a task has raised.
        """
        ready: list[Any] = wait(list(self._working), self._seconds)
        for pipe in ready:
            key, process = self._working[pipe]
            try:
                has_ended, value = pipe.recv()
            except (EOFError, OSError):  # OSError: it was killed while it sent a message
                del self._working[pipe]
                process.join()
                yield Lost(key, f"its process {describe_exit(process.exitcode)}")
                continue
            if not has_ended:
                yield Yielded(key, value)
                continue
            del self._working[pipe]
            self._idle.append((pipe, process))
            if isinstance(value, BnrunError):
                raise value
            yield Returned(key, value)

    def close(self) -> None:
        """Ask all processes to end, and kill those that do not."""
        processes = [process for _, process in (*self._working.values(), *self._idle)]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(INTERRUPT_SECONDS)
            process.kill()

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
    torch.set_num_threads(threads)
    warnings.showwarning = lambda message, *_, **__: pipe.send(
        (False, Notice(f"warning: {message}"))
    )
    sys.stdout = sys.stderr  # stdout is for results; a user's layer may print
    try:
        while True:
            pipe.send((True, _run(pipe.recv(), pipe)))
    except (KeyboardInterrupt, EOFError, BrokenPipeError):  # asked to end, or nobody reads any more
        sys.exit(INTERRUPTED)


def _run(task: Task, pipe: Connection) -> Any:
    """Send what a task yields; return its result, or the error of bnrun that it has raised."""
    with contextlib.closing(task()) as events:
        try:
            while True:
                pipe.send((False, next(events)))
        except StopIteration as end:
            return end.value
        except BnrunError as error:
            return error
