"""The arms of `bnrun bench`, each as a process of its own runs it.

In one process they would share a memory allocator, whose state one arm leaves to the next, and a
C library's threads: enough to turn a ratio around.
"""

import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Protocol

import torch

from bnrun.benchmark.bench_arms import BenchArm
from bnrun.benchmark.speeds import PHASES
from bnrun.data.load import load
from bnrun.errors import BnrunError, TrainingFailed
from bnrun.events import drain
from bnrun.training.device import pick_device, synchronize
from bnrun.training.engine_choice import choose
from bnrun.training.evaluation import accuracy
from bnrun.training.memory import keep_freed_memory
from bnrun.training.stepper import Stepper
from bnrun.training.timing import Clock, Reading

MATMUL_SIZE = 1024
MATMULS = 10
WARM_UP_STEPS = 20


class Timed(Protocol):
    """What an arm can do, as its process is asked to."""

    engine: str

    def train(self, steps: int) -> Reading:
        """Take steps, and time them."""

    def evaluate(self) -> float:
        """Return the seconds that an evaluation takes."""

    def phases(self, steps: int) -> dict[str, float] | None:
        """Return the seconds that each phase of a step takes; None where it is all one."""

    def peak_memory(self) -> int:
        """Return the bytes that were taken at most, up to now."""


def prepare_arm(arm: BenchArm) -> Callable[[tuple[str, Any]], Any]:
    """Make an arm ready, warmed up, in this process.

    Returns:
        What runs a job: the name of one of `Timed`'s functions, and its arguments. It raises a
        BnrunError, whatever went wrong.
    """
    timed: Timed | None = None

    def do(job: tuple[str, Any]) -> Any:
        nonlocal timed
        what, arguments = job
        try:
            if timed is None:
                timed = _loop(arm) if arm.is_loop else _Training(arm)
                timed.train(WARM_UP_STEPS)
            return timed.engine if what == "begin" else getattr(timed, what)(*arguments)
        except BnrunError:
            raise
        except Exception as error:  # of a loader's workers, or of memory
            raise TrainingFailed(f"arm {arm.name}: {type(error).__name__}: {error}") from error

    return do


class _Training:
    """Our own training."""

    def __init__(self, arm: BenchArm) -> None:
        config = arm.config
        self._device = pick_device(config.training.device)
        if self._device.type == "cpu":
            keep_freed_memory()
        dataset = drain(load(config.data)).to(self._device)
        self._engine = choose(config, dataset, self._device, config.training.epochs)
        self.engine = self._engine.name
        self._test = dataset.test
        self._stepper = Stepper(config, dataset.train, engine=self._engine, name=f"arm {arm.name}")
        self._clock = Clock(self._device)

    def train(self, steps: int) -> Reading:
        self._clock.start_epoch()
        with self._stepper.computing():
            for _ in range(steps):
                self._stepper.fetch()
                self._clock.batch_ready()
                _, count = self._stepper.take()
                self._clock.step_done(count)
        return self._clock.end_epoch()

    def evaluate(self) -> float:
        synchronize(self._device)
        began = time.perf_counter()
        with self._stepper.computing():
            accuracy(self._stepper.model, self._test)
        return time.perf_counter() - began

    def phases(self, steps: int) -> dict[str, float] | None:
        if self._device.type == "cuda" and self._engine.name == "compiled":
            return None
        timer = _PhaseTimer(self._device)
        with self._stepper.computing():
            for _ in range(steps):
                timer.begin()
                self._stepper.fetch()
                timer.done("data")
                self._stepper.take(timer.done)
        return timer.medians()

    def peak_memory(self) -> int:
        return _peak_memory(self._device)


def _loop(arm: BenchArm) -> Timed:
    from bnrun.benchmark.textbook_loop import TextbookLoop

    assert arm.workers is not None
    config, device = arm.config, pick_device(arm.config.training.device)
    loop = TextbookLoop(
        drain(load(config.data)),
        device,
        config.training.batch_size,
        config.optimizer.lr,
        arm.workers,
    )
    return _Loop(loop, device)


class _Loop:
    """The textbook's loop."""

    engine = "eager"

    def __init__(self, loop: Any, device: torch.device) -> None:
        self._loop, self._device = loop, device

    def train(self, steps: int) -> Reading:
        reading: Reading = self._loop.train(steps)
        return reading

    def evaluate(self) -> float:
        began = time.perf_counter()
        self._loop.evaluate()
        return time.perf_counter() - began

    def phases(self, steps: int) -> dict[str, float]:
        timer = _PhaseTimer(self._device)
        timer.begin()
        self._loop.train(steps, timer.done)
        return timer.medians()

    def peak_memory(self) -> int:
        return _peak_memory(self._device)


class _PhaseTimer:
    """Adds up the seconds of each phase, the device synchronized at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._last = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._last = time.perf_counter()

    def done(self, phase: str) -> None:
        """A phase ends, and the next begins."""
        synchronize(self._device)
        now = time.perf_counter()
        self._seconds[phase].append(now - self._last)
        self._last = now

    def medians(self) -> dict[str, float]:
        """Return each phase's median."""
        return {phase: statistics.median(self._seconds[phase]) for phase in PHASES}


def _peak_memory(device: torch.device) -> int:
    """Return what was allocated on an accelerator at most; or what this process was, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere


def prepare_matmul(device: str) -> Callable[[None], float]:
    """Return what measures floating-point operations per second, in large products."""
    where = pick_device(device)
    a, b = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=where) for _ in range(2))

    def multiply(job: None) -> float:
        synchronize(where)
        began = time.perf_counter()
        for _ in range(MATMULS):
            a @ b
        synchronize(where)
        return MATMULS * 2 * MATMUL_SIZE**3 / (time.perf_counter() - began)

    multiply(None)  # the first is slower
    return multiply
