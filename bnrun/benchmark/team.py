"""Processes on this machine that train together: started, asked and ended as one."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bnrun.comparison.interleaved_timer import LIMIT_SECONDS
from bnrun.comparison.timed_training import prepare_timed
from bnrun.errors import ProcessLost, TrainingFailed
from bnrun.processes import Launch, joined
from bnrun.workers import Worker, WorkerLost


class Team:
    """Several processes, each with an object that knows the others. See `started_teams`.

    Args:
        name: of the team in errors.
        size: how many processes; one does not look for others.
        build, arguments: `build(processes, *arguments)` gives the object in each of them. All of
            it must be picklable.
        records: the dataclasses that answers may hold.
    """

    def __init__(
        self,
        name: str,
        size: int,
        build: Callable[..., Any],
        arguments: Sequence[Any],
        records: Sequence[type] = (),
    ) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="bnrun-")
        address = f"file://{Path(self._folder.name) / 'meeting'}"
        launches = [Launch(rank, size, rank, size, address) for rank in range(size)]
        self._workers = [
            Worker(
                name,
                prepare_timed,
                (name, build_member, (launch if size > 1 else None, build, tuple(arguments))),
                LIMIT_SECONDS,
                records=records,
            )
            for launch in launches
        ]

    def begin(self) -> None:
        """Start the processes, and return without waiting."""
        for worker in self._workers:
            worker.begin()

    def wait_until_ready(self) -> None:
        """Wait until all have joined and built their object.

        Raises:
            BnrunError: one cannot.
        """
        for worker in self._workers:
            worker.wait_until_ready()

    def ask(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every process's object, all at once; return what they return, by rank.

        Raises:
            BnrunError: one could not; the cause, where others only lost it.
        """
        with ThreadPoolExecutor(len(self._workers)) as pool:
            asked = [pool.submit(w.run, (method, arguments)) for w in self._workers]
            errors = [error for one in asked if (error := one.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, ProcessLost)):
            if isinstance(error, WorkerLost):
                raise TrainingFailed(f"{self.name} {error}.") from None
            raise error
        return [one.result() for one in asked]

    def end(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._folder.cleanup()


@contextlib.contextmanager
def started_teams(teams: Sequence[Team]) -> Iterator[None]:
    """Start teams side by side, and end them after the block."""
    with contextlib.ExitStack() as stack:
        for team in teams:
            stack.callback(team.end)
            team.begin()
        for team in teams:
            team.wait_until_ready()
        yield


_MEMBERSHIP = contextlib.ExitStack()
"""Of a team's process among the others, until the process ends."""


def build_member(launch: Launch | None, build: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """Join the others, and return what `build` makes of them and its arguments.

    Raises:
        ProcessError: they do not come together.
    """
    return build(_MEMBERSHIP.enter_context(joined(launch)), *arguments)
