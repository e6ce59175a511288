"""Two clocks for training, after DESIGN's words: end to end, and compute only.

End to end is wall time with data included; compute-only is the textbook's figure, whose timer
runs from "the batch is there" to "metrics added". The first steps of a process are warm-up and
count in neither. On an accelerator, nothing waits for the device inside an epoch.
"""

import time
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.training.device import synchronize

WARM_UP_STEPS = 5


@dataclass(frozen=True)
class Reading:
    """Examples trained on while the clock ran, and the seconds it took."""

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

    Call `start_epoch`; then for each step `batch_ready` and `step_done`; then `end_epoch`, which
    returns the epoch's reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._steps = 0
        self._examples = 0
        self._started: float | None = None  # None while warming up
        self._ready: Any = None
        self._spans: list[tuple[Any, Any]] = []

    def start_epoch(self) -> None:
        """Begin an epoch's reading."""
        self._examples = 0
        self._spans = []
        self._started = time.perf_counter() if self._steps >= WARM_UP_STEPS else None

    def batch_ready(self) -> None:
        """The batch is there."""
        self._ready = self._mark()

    def step_done(self, examples: int) -> None:
        """The step has been given to the device, metrics included."""
        self._steps += 1
        if self._started is not None:
            self._examples += examples
            self._spans.append((self._ready, self._mark()))
        elif self._steps == WARM_UP_STEPS:
            synchronize(self.device)
            self._started = time.perf_counter()

    def so_far(self) -> float | None:
        """Return the epoch's examples/s up to now; exact after something waited for the device."""
        if self._started is None or self._examples == 0:
            return None
        return self._examples / (time.perf_counter() - self._started)

    def end_epoch(self) -> Reading:
        """Wait for the device and return the epoch's reading."""
        synchronize(self.device)
        if self._started is None or self._examples == 0:
            return Reading()
        seconds = time.perf_counter() - self._started
        compute = sum(self._between(begin, end) for begin, end in self._spans)
        return Reading(self._examples, seconds, compute)

    def _mark(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        events = torch.cuda if self.device.type == "cuda" else torch.mps.event
        mark = events.Event(enable_timing=True)
        mark.record()
        return mark

    def _between(self, begin: Any, end: Any) -> float:
        if self.device.type == "cpu":
            return float(end - begin)
        return float(begin.elapsed_time(end)) / 1000  # milliseconds
