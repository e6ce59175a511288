"""What `bnrun bench` comes to: each arm's speed, and what it is held against."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.events import DataUsed

PHASES = ("data", "forward", "backward", "optimizer")


@dataclass(frozen=True)
class ArmSpeed:
    """An arm's speed. Medians over the rounds; a spread is the middle half of them.

    `examples_per_second` is end to end, data included; `compute_examples_per_second` the
    textbook's figure, whose timer runs once the batch is there; `epoch_examples_per_second` that
    of an epoch with its evaluation after it. Ratios are to the baseline, within a round.
    `phases` are a step's seconds, metrics in with the optimizer; None where a step is one graph.
    `peak_memory` is in bytes: of the process, or on an accelerator of what is allocated there.
    `share_of_peak` is of the machine's rate in large matrix multiplications.
    """

    name: str
    norm: str
    engine: str
    examples_per_second: float
    compute_examples_per_second: float
    epoch_examples_per_second: float
    ratio: float
    spread: tuple[float, float]
    epoch_ratio: float
    epoch_spread: tuple[float, float]
    phases: Mapping[str, float] | None
    peak_memory: int
    share_of_peak: float


@dataclass(frozen=True)
class Noise:
    """An arm against itself, in another process: what a ratio says that says nothing."""

    name: str
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Benchmark:
    """Arms that were timed in blocks of `steps`, which alternate between them, over `rounds`."""

    arms: tuple[ArmSpeed, ...]
    baseline: str
    noise: Noise
    rounds: int
    steps: int
    batch_size: int
    data: DataUsed
    device: str
    machine: str
    versions: Mapping[str, str]
    flops_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --json` prints."""
        return dataclasses.asdict(self)
