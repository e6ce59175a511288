"""The two throughputs of a training: end to end, and compute only.

- End to end: training examples over wall time, with the data and without evaluation.
- Compute only: the textbook's figure. Its timer runs from the moment that the batch is there to
  the moment that the step's metrics are added. A step that is one call, or one CUDA graph, looks
  its batch up itself; that time then counts, too.

The first steps of a process are warm-up and count in neither. Inside an epoch, nothing waits for
an accelerator.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.training.device import synchronize

WARM_UP_STEPS = 5
"""Steps at the start of a process that are not timed."""


@dataclass(frozen=True)
class Reading:
    """Examples trained on while the clock ran, and the seconds of both throughputs."""

    examples: int = 0
    seconds: float = 0.0
    compute_seconds: float = 0.0

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(
            self.examples + other.examples,
            self.seconds + other.seconds,
            self.compute_seconds + other.compute_seconds,
        )

    @property
    def examples_per_second(self) -> float | None:
        """End-to-end throughput; None where nothing was timed."""
        return self.examples / self.seconds if self.seconds else None

    @property
    def compute_examples_per_second(self) -> float | None:
        """Compute-only throughput; None where nothing was timed."""
        return self.examples / self.compute_seconds if self.compute_seconds else None


class Clock:
    """Times the training steps of one process, an epoch at a time.

    Call `start_epoch`; then `batch_ready` and `step_done` for each step; then `end_epoch`, which
    returns the epoch's reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._steps = 0
        self._examples = 0
        self._start: float | None = None  # None during warm-up
        self._ready: Any = None
        self._spans: list[tuple[Any, Any]] = []

    def start_epoch(self) -> None:
        """Start an epoch's reading."""
        self._examples = 0
        self._spans = []
        self._start = time.perf_counter() if self._steps >= WARM_UP_STEPS else None

    def batch_ready(self) -> None:
        """Record the time at which a step's batch is ready."""
        self._ready = self._now()

    def step_done(self, examples: int) -> None:
        """Record the time at which a step, metrics included, is queued on the device."""
        self._steps += 1
        if self._start is not None:
            self._examples += examples
            self._spans.append((self._ready, self._now()))
        elif self._steps == WARM_UP_STEPS:
            synchronize(self.device)
            self._start = time.perf_counter()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time of the block, in which nothing is trained, out of the epoch's reading."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        if self._start is not None:
            self._start += time.perf_counter() - start

    def so_far(self) -> float | None:
        """Return the epoch's end-to-end throughput up to now, None where nothing was timed.

        It is exact after something has waited for the device.
        """
        if self._start is None or self._examples == 0:
            return None
        return self._examples / (time.perf_counter() - self._start)

    def end_epoch(self) -> Reading:
        """Wait for the device and return the epoch's reading."""
        synchronize(self.device)
        if self._start is None or self._examples == 0:
            return Reading()
        seconds = time.perf_counter() - self._start
        compute = sum(self._seconds_between(start, end) for start, end in self._spans)
        return Reading(self._examples, seconds, compute)

    def _now(self) -> Any:
        """Return the time on the device: seconds of a CPU, an event on an accelerator."""
        if self.device.type == "cpu":
            return time.perf_counter()
        events = torch.cuda if self.device.type == "cuda" else torch.mps.event
        event = events.Event(enable_timing=True)
        event.record()
        return event

    def _seconds_between(self, start: Any, end: Any) -> float:
        if self.device.type == "cpu":
            return float(end - start)
        return float(start.elapsed_time(end)) / 1000  # milliseconds
