"""`bench --kernels`: how fast is each kernel, compared with PyTorch's operation and the machine?

The kernels have a process, PyTorch's operations another, and the kernels one more: they against
themselves are the noise. A block is a few calls of one case; the three processes take their blocks
in turns, and ratios are taken within a round. A further process takes steps of training that are
one call each, which time their stages.
"""

import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnrun import kernels
from bnrun.benchmark.arm_processes import prepare_matmul
from bnrun.benchmark.kernel_cases import CASES, COPIED_VALUES, FLOAT_BYTES, Job, KernelCase, Side
from bnrun.benchmark.kernel_result import KernelBenchmark, KernelSpeed, PassSpeed
from bnrun.benchmark.step_stages import prepare_step, stage_speeds
from bnrun.comparison.interleaved_timer import LIMIT_SECONDS, started
from bnrun.comparison.speed_ratio import Ratio, ratio_within_rounds
from bnrun.errors import ConfigError, TrainingFailed
from bnrun.events import Stage
from bnrun.kernels.openmp import end_waiting_threads
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.device import device_name
from bnrun.workers import Worker, WorkerLost

MIN_IMAGES = 2
"""Fewest images of which a norm has a variance."""
CALLS = 7
"""Timed calls of a block, whose median counts; one more before them warms up."""
COPIES = 20
"""Timed copies of a measurement of memory."""

PassSeconds = tuple[float, float | None]
"""Seconds of a forward pass, and of the backward pass where there is one."""


@dataclass
class _Readings:
    """The seconds of one case's passes, a number for each round, by process."""

    kernel: list[PassSeconds] = field(default_factory=list)
    torch: list[PassSeconds] = field(default_factory=list)
    again: list[PassSeconds] = field(default_factory=list)


def bench_kernels(
    batch_size: int, rounds: int, cases: Sequence[KernelCase] = CASES
) -> Generator[Stage, None, KernelBenchmark]:
    """Time every kernel against PyTorch's operation; yield progress and return the result.

    Args:
        batch_size: images that an operation gets.
        rounds: blocks of each case and process.
        cases: what to time, of `CASES`.

    Raises:
        ConfigError: (while iterating) there are too few images in a batch.
        EngineError: (while iterating) the kernels cannot be compiled on this machine.
        TrainingFailed: (while iterating) a process was lost.
    """
    if batch_size < MIN_IMAGES:
        raise ConfigError(
            f"received {batch_size}; a norm needs {MIN_IMAGES} images or more.",
            "training.batch_size",
        )
    if not kernels.is_compiled():
        yield Stage("compiling the kernels", 0, 1)
    build = kernels.describe_build()
    names = tuple(case.name for case in cases)
    sides: tuple[Side, ...] = ("kernel", "torch", "kernel")
    workers = [
        Worker(f"timing {side}", prepare_cases, (side, names, batch_size), LIMIT_SECONDS)
        for side in sides
    ]
    peak = Worker("the matrix product", prepare_peaks, (batch_size,), LIMIT_SECONDS)
    steps = Worker("timing a step", prepare_step, (batch_size,), LIMIT_SECONDS)
    others = (peak, steps)
    readings = [_Readings() for _ in cases]
    stages: list[dict[str, float]] = []
    peaks: list[tuple[float, float]] = []
    with started([*workers, *others]):
        for done, worker in enumerate((*workers, *others)):
            yield Stage("starting processes", done, len(workers) + len(others))
            worker.wait_until_ready()
        for number in range(rounds):
            peaks.append(_ask(peak, None))
            stages.append(_ask(steps, None))
            for at, case in enumerate(cases):
                yield Stage(f"timing {case.name}", number * len(cases) + at, rounds * len(cases))
                _time_round(workers, at, readings[at], backwards=number % 2 == 1)
    flops, copied = zip(*peaks, strict=True)
    speeds = tuple(
        _speed(case, batch_size, found, flops if case.unit == "FLOP" else copied)
        for case, found in zip(cases, readings, strict=True)
    )
    noise = _noise(readings)
    return KernelBenchmark(
        kernels=speeds,
        stages=stage_speeds(stages, batch_size, statistics.median(flops)),
        noise=noise.median,
        noise_spread=noise.spread,
        rounds=rounds,
        calls=CALLS,
        batch_size=batch_size,
        flops_per_second=statistics.median(flops),
        bytes_per_second=statistics.median(copied),
        machine=device_name(torch.device("cpu")),
        build=build,
        torch=torch.__version__,
    )


def _time_round(workers: Sequence[Worker], case: int, found: _Readings, *, backwards: bool) -> None:
    """Let each process take a block of a case; every second round runs backwards."""
    turns = list(zip(workers, (found.kernel, found.torch, found.again), strict=True))
    for worker, seconds in reversed(turns) if backwards else turns:
        seconds.append(_ask(worker, case))


def _ask(worker: Worker, job: int | None) -> Any:
    try:
        return worker.run(job)
    except WorkerLost as lost:
        raise TrainingFailed(f"timing kernels: a process {lost}.") from None


def prepare_cases(side: Side, names: Sequence[str], images: int) -> Callable[[int], PassSeconds]:
    """Prepare one side of the cases of these names, and return what times a block of one.

    Raises:
        EngineError: (from what is returned) the kernels cannot be compiled on this machine.
    """
    keep_freed_memory()  # as a training does
    by_name = {case.name: case for case in CASES}
    jobs = [by_name[name].prepare(side, images) for name in names]

    def time_case(number: int) -> PassSeconds:
        with kernels.enabled() if side == "kernel" else kernels.disabled():
            seconds = _time_block(jobs[number])
        end_waiting_threads()  # the other processes are timed meanwhile
        return seconds

    return time_case


def _time_block(job: Job) -> PassSeconds:
    """Return the median seconds of a forward and a backward pass."""
    output = job.run()
    slope = torch.ones_like(output) if job.leaves else None
    timed = [_time_call(job, slope) for _ in range(1 + CALLS)][1:]
    forward, backward = zip(*timed, strict=True)
    return statistics.median(forward), statistics.median(backward) if job.leaves else None


def _time_call(job: Job, slope: Tensor | None) -> tuple[float, float]:
    start = time.perf_counter()
    output = job.run()
    middle = time.perf_counter()
    if slope is not None:
        torch.autograd.grad(output, job.leaves, slope)
    return middle - start, time.perf_counter() - middle


def prepare_peaks(images: int) -> Callable[[None], tuple[float, float]]:
    """Return a job that measures the machine: operations per second, and bytes copied per second.

    A copied byte counts twice, because it is read and written.
    """
    multiply = prepare_matmul("cpu")
    source = torch.ones(images * COPIED_VALUES)
    target = torch.empty_like(source)

    def measure(job: None) -> tuple[float, float]:
        rate = multiply(None)
        target.copy_(source)
        start = time.perf_counter()
        for _ in range(COPIES):
            target.copy_(source)
        seconds = time.perf_counter() - start
        end_waiting_threads()
        return rate, COPIES * 2 * FLOAT_BYTES * len(source) / seconds

    return measure


def _speed(case: KernelCase, images: int, found: _Readings, peaks: Sequence[float]) -> KernelSpeed:
    forward = _pass_speed(found, 0, images * case.forward, peaks)
    backward = None
    if case.backward is not None:
        backward = _pass_speed(found, 1, images * case.backward, peaks)
    return KernelSpeed(case.name, case.unit, forward, backward)


def _pass_speed(found: _Readings, which: int, work: int, peaks: Sequence[float]) -> PassSpeed:
    """Return the speed of a pass: the first or the second number of each reading.

    Args:
        found: seconds in each round.
        which: 0 for the forward pass, 1 for the backward pass.
        work: of a pass.
        peaks: the machine's rate in each round.
    """
    kernel, operation, again = (
        _seconds(readings, which) for readings in (found.kernel, found.torch, found.again)
    )
    ratio, noise = ratio_within_rounds(operation, kernel), ratio_within_rounds(again, kernel)
    seconds = statistics.median(kernel)
    return PassSpeed(
        seconds=seconds,
        torch_seconds=statistics.median(operation),
        rate=work / seconds,
        share_of_peak=statistics.median(
            work / taken / peak for taken, peak in zip(kernel, peaks, strict=True)
        ),
        ratio=ratio.median,
        spread=ratio.spread,
        noise=noise.median,
        noise_spread=noise.spread,
    )


def _seconds(readings: Sequence[PassSeconds], which: int) -> list[float]:
    return [seconds for reading in readings if (seconds := reading[which]) is not None]


def _noise(readings: Sequence[_Readings]) -> Ratio:
    """Return the ratio of the kernels' times to their own, over all cases, passes and rounds."""
    again, kernel = (
        [
            seconds
            for found in readings
            for which in (0, 1)
            for seconds in _seconds(getattr(found, process), which)
        ]
        for process in ("again", "kernel")
    )
    return ratio_within_rounds(again, kernel)
