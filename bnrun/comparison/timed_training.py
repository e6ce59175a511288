"""What is timed, in the process where it is timed: a training, a block of steps at a time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from bnrun.config import Config
from bnrun.data.load import load
from bnrun.errors import BnrunError, TrainingFailed
from bnrun.events import drain
from bnrun.kernels.openmp import end_waiting_threads
from bnrun.processes import ALONE, Processes
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.device import pick_device
from bnrun.training.engine import Engine
from bnrun.training.engine_choice import choose
from bnrun.training.stepper import Stepper
from bnrun.training.timing import Clock, Reading

WARM_UP_STEPS = 20
"""Steps that a process takes before any is timed."""


class Timed(Protocol):
    """What can be timed in blocks of training steps.

    Several are built side by side. So building one measures nothing: `get_ready` does, later, while
    the others wait.
    """

    def get_ready(self, engine: str | None = None) -> str:
        """Take the first steps, which nobody times; return the name of the engine.

        Args:
            engine: the one to take; None for the one that the config names.
        """

    def train(self, steps: int) -> Reading:
        """Take steps; return how many examples they had, and the seconds they took."""


class TimedTraining:
    """A config's training, on data and with a model of its own; the model is built in `get_ready`.

    Args:
        name: of the training in errors.
        config: of the training.
        processes: that share it; each of them has such an object.

    Raises:
        BnrunError: the data, the device, the norm or the engine is not available.
    """

    engine: Engine
    stepper: Stepper

    def __init__(self, name: str, config: Config, processes: Processes = ALONE) -> None:
        self._name, self._config, self._processes = name, config, processes
        self.device = processes.device(pick_device(config.training.device))
        if self.device.type == "cpu":
            keep_freed_memory()
        self.dataset = drain(load(config.data)).to(self.device)
        self._clock = Clock(self.device)

    def get_ready(self, engine: str | None = None) -> str:
        """Choose the engine, build the model and take the first steps; return the engine's name."""
        config = self._config.with_training(engine=engine) if engine else self._config
        epochs = config.training.epochs
        self.engine = choose(config, self.dataset, self.device, epochs, self._processes)
        self.stepper = Stepper(
            config,
            self.dataset.train,
            engine=self.engine,
            name=f"arm {self._name}",
            processes=self._processes,
        )
        self.train(WARM_UP_STEPS)
        return self.engine.name

    def engine_reason(self) -> str:
        """Return why `auto` chose the engine; empty where the config names it."""
        return self.engine.why

    def is_in_one_call(self) -> bool:
        """Return whether a step computes the network in one call of a kernel."""
        return self.stepper.is_in_one_call

    def train(self, steps: int) -> Reading:
        """Take steps; return how many examples they had, and the seconds they took."""
        self._clock.start_epoch()
        with self.stepper.computing():
            for _ in range(steps):
                self.stepper.fetch()
                self._clock.batch_ready()
                _, count = self.stepper.take()
                self._clock.step_done(count)
        return self._clock.end_epoch()


def prepare_timed(
    title: str, build: Callable[..., Timed], arguments: Sequence[Any]
) -> Callable[[tuple[str, Sequence[Any]]], Any]:
    """Build what is timed, and return what runs a job in this process.

    A job is the name of a method of what was built, with its arguments. Between two jobs the
    process has no threads of OpenMP, which might disturb those that are timed meanwhile.

    Args:
        title: of the arm in errors.
        build, arguments: give what is timed.

    Raises:
        BnrunError: building went wrong; so does what runs a job.
    """
    with _wrap_errors(title):
        timed = build(*arguments)

    def run(job: tuple[str, Sequence[Any]]) -> Any:
        method, values = job
        try:
            with _wrap_errors(title):
                return getattr(timed, method)(*values)
        finally:
            end_waiting_threads()

    return run


@contextlib.contextmanager
def _wrap_errors(title: str) -> Iterator[None]:
    """Convert errors that are not bnrun's, of memory or of a loader's processes, into one of its.

    Raises:
        TrainingFailed: there was one.
    """
    try:
        yield
    except BnrunError:
        raise
    except Exception as error:
        raise TrainingFailed(f"{title}: {type(error).__name__}: {error}") from error
