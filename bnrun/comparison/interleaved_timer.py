"""The one timer of trainings: short blocks of steps, in turns, each arm in a process of its own.

On a shared machine a minute may be twice as fast as the next. So no two arms are timed far apart:
every round gives each arm a block while the others wait, every second round runs backwards, and
ratios are taken within a round. One arm has a second process; it against itself is the noise.

Each arm has a process of its own. Arms in one process would share a C library's threads and a
memory allocator, whose state one arm leaves to the next. That is enough to reverse a ratio. The
processes start side by side; then each gets ready alone, for it may measure.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bnrun.comparison.timed_training import Timed, prepare_timed
from bnrun.errors import TrainingFailed
from bnrun.training.timing import Reading
from bnrun.workers import Worker, WorkerLost

LIMIT_SECONDS = 600.0
"""Time limit of a block: a process that takes longer hangs."""


class TimedArm:
    """An arm in a process of its own, and its readings so far. See `started`.

    Args:
        name: of the arm.
        build, arguments: give, in the other process, what is timed; both must be picklable.
    """

    def __init__(self, name: str, build: Callable[..., Timed], arguments: Sequence[Any]) -> None:
        self.name = name
        self.readings: list[Reading] = []
        title = f"arm {name}"
        self._worker = Worker(
            title,
            prepare_timed,
            (title, build, tuple(arguments)),
            LIMIT_SECONDS,
            records=(Reading,),
            with_children=True,
        )

    def begin(self) -> None:
        """Start the process, and return without waiting."""
        self._worker.begin()

    def wait_until_ready(self) -> None:
        """Wait until the arm is built.

        Raises:
            BnrunError: it cannot be.
        """
        self._worker.wait_until_ready()

    def end(self) -> None:
        """End the process."""
        self._worker.end()

    @property
    def rates(self) -> list[float]:
        """Return the end-to-end examples/s of each block."""
        return [reading.examples / reading.seconds for reading in self.readings]

    def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of what is timed, in its process, and return what it returns.

        Raises:
            BnrunError: it could not.
        """
        try:
            return self._worker.run((method, arguments))
        except WorkerLost as lost:
            raise TrainingFailed(f"arm {self.name} {lost}.") from None

    def time_block(self, steps: int) -> None:
        """Train a block of steps, and add its reading.

        Raises:
            BnrunError: see `ask`.
        """
        self.readings.append(self.ask("train", steps))


@contextlib.contextmanager
def started(processes: Sequence[TimedArm | Worker]) -> Iterator[None]:
    """Start processes side by side, and end them after the block."""
    with contextlib.ExitStack() as stack:
        for process in processes:
            stack.callback(process.end)
            process.begin()
        yield


def take_turns(arms: Sequence[TimedArm], rounds: int) -> Iterator[tuple[int, TimedArm]]:
    """Yield (round, arm) for each arm in each round; every second round runs backwards."""
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else reversed(arms):
            yield number, arm
