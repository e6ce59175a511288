"""The arms of `bnrun bench`, in the processes where they are timed."""

import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

import torch

from bnrun import kernels
from bnrun.benchmark.arm_syntax import BenchArm
from bnrun.benchmark.result import PHASES
from bnrun.comparison.timed_training import WARM_UP_STEPS, Timed, TimedTraining
from bnrun.data.load import load
from bnrun.events import drain
from bnrun.kernels.openmp import end_waiting_threads
from bnrun.training.device import pick_device, synchronize
from bnrun.training.evaluation import accuracy
from bnrun.training.timing import Reading

MATMUL_SIZE = 1024
MATMULS = 10


class TimedBenchArm(Timed, Protocol):
    """What is asked of an arm of `bench`, beside blocks of training."""

    def engine_reason(self) -> str:
        """Return why `auto` chose the engine; empty where the config names it."""

    def is_in_one_call(self) -> bool:
        """Return whether a step computes the network in one call of a kernel."""

    def evaluate(self) -> float:
        """Return the seconds that an evaluation takes."""

    def phases(self, steps: int) -> dict[str, float] | None:
        """Return the median seconds of each phase of a step; None where a step has no phases."""

    def peak_memory(self) -> int | None:
        """Return the most bytes in use up to now; None where that is not known."""


def build_arm(arm: BenchArm) -> TimedBenchArm:
    """Return what is timed of an arm.

    Raises:
        BnrunError: it cannot be built.
    """
    return TimedLoop(arm) if arm.is_loop else PhasedTraining(arm.name, arm.config)


class PhasedTraining(TimedTraining):
    """A config's training, whose phases are timed one by one."""

    def evaluate(self) -> float:
        """Return the seconds that an evaluation takes."""
        synchronize(self.device)
        start = time.perf_counter()
        with self.stepper.computing():
            accuracy(self.stepper.model, self.dataset.test)
        return time.perf_counter() - start

    def phases(self, steps: int) -> dict[str, float] | None:
        """Return the median seconds of each phase of a step; None where a step is one graph.

        Where a step is one call, the kernel times itself. It looks the batch up in its forward
        pass; `data` is then what Python takes around the call.
        """
        if self.device.type == "cuda" and self.engine.name == "compiled":
            return None
        timer = _PhaseTimer(self.device)
        with self.stepper.computing():
            for _ in range(steps):
                timer.start_step()
                self.stepper.fetch()
                if self.stepper.calls_layers:
                    timer.end_phase("data")
                    self.stepper.take(timer.end_phase)
                else:
                    self._time_one_call(timer)
        return timer.medians()

    def _time_one_call(self, timer: "_PhaseTimer") -> None:
        with kernels.timed_stages() as seconds:
            self.stepper.take()
        phases = {
            phase: math.fsum(seconds[stage] for stage in stages)
            for phase, stages in kernels.STAGES_OF_PHASES.items()
        }
        timer.end_step(phases, rest="data")

    def peak_memory(self) -> int | None:
        """Return the most bytes in use up to now; None where that is not known."""
        return peak_memory(self.device)


class TimedLoop:
    """The textbook's loop."""

    def __init__(self, arm: BenchArm) -> None:
        # Imports torchvision, which the other arms need not wait for.
        from bnrun.benchmark.textbook_loop import TextbookLoop

        config, workers = arm.config, arm.workers
        assert workers is not None
        self._device = pick_device(config.training.device)
        dataset = drain(load(config.data))
        size, lr = config.training.batch_size, config.optimizer.lr
        self._loop = TextbookLoop(dataset, self._device, size, lr, workers)

    def get_ready(self, engine: str | None = None) -> str:
        """Take the first steps; return the name of the engine: the network is PyTorch's own."""
        self._loop.train(WARM_UP_STEPS)
        return "eager"

    def train(self, steps: int) -> Reading:
        """Take steps; return how many examples they had, and the seconds they took."""
        return self._loop.train(steps)

    def engine_reason(self) -> str:
        """Return nothing: it has no other engine."""
        return ""

    def is_in_one_call(self) -> bool:
        """Return whether a step computes the network in one call of a kernel."""
        return False

    def evaluate(self) -> float:
        """Return the seconds that an evaluation takes."""
        start = time.perf_counter()
        self._loop.evaluate()
        return time.perf_counter() - start

    def phases(self, steps: int) -> dict[str, float]:
        """Return the median seconds of each phase of a step."""
        timer = _PhaseTimer(self._device)
        timer.start_step()
        self._loop.train(steps, timer.end_phase)
        return timer.medians()

    def peak_memory(self) -> int | None:
        """Return the most bytes in use up to now, without the loader's workers."""
        return peak_memory(self._device)


class _PhaseTimer:
    """Collects the seconds of each phase; the device is synchronized at the end of each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._last = 0.0

    def start_step(self) -> None:
        """Start the first phase of a step."""
        self._last = time.perf_counter()

    def end_phase(self, phase: str) -> None:
        """End a phase, and start the next."""
        synchronize(self._device)
        now = time.perf_counter()
        self._seconds[phase].append(now - self._last)
        self._last = now

    def end_step(self, phases: Mapping[str, float], *, rest: str) -> None:
        """End a step that has timed its phases itself; the rest of its time is that of one more."""
        spent = time.perf_counter() - self._last
        for phase, seconds in {**phases, rest: spent - math.fsum(phases.values())}.items():
            self._seconds[phase].append(seconds)

    def medians(self) -> dict[str, float]:
        """Return the median seconds of each phase."""
        return {phase: statistics.median(self._seconds[phase]) for phase in PHASES}


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes allocated on an accelerator, or in use by this process elsewhere.

    None where Python has no `resource` module to ask, as on Windows.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere


def prepare_matmul(device: str) -> Callable[[None], float]:
    """Return a job that measures floating-point operations per second in large products."""
    where = pick_device(device)
    a, b = (torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=where) for _ in range(2))

    def multiply(job: None) -> float:
        synchronize(where)
        start = time.perf_counter()
        for _ in range(MATMULS):
            a @ b
        synchronize(where)
        seconds = time.perf_counter() - start
        end_waiting_threads()  # arms are timed meanwhile
        return MATMULS * 2 * MATMUL_SIZE**3 / seconds

    multiply(None)  # warm-up
    return multiply
