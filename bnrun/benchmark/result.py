"""The result of `bnrun bench`: the speed of each arm, and of what it is compared with."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnrun.comparison.arm_words import capitalized, in_words, one_call_remark
from bnrun.comparison.speed_ratio import MIN_QUARTILE_ROUNDS
from bnrun.events import DataUsed
from bnrun.kernels.build import Build

PHASES = ("data", "forward", "backward", "optimizer")
WORKING_PHASES = ("forward", "backward")
"""The phases that multiply: their share of the machine's peak means something."""

ROUNDS_PER_EVALUATION = 2
"""Every second round times an evaluation, too."""


@dataclass(frozen=True)
class ArmSpeed:
    """The speed of one arm: medians over the rounds, and the middle half of them as spread.

    Attributes:
        examples_per_second: end to end, data included.
        compute_examples_per_second: the textbook's figure, whose timer starts once the batch is
            there.
        epoch_examples_per_second: of an epoch with its evaluation after it.
        ratio, spread: of `examples_per_second` to the baseline's, within rounds.
        epoch_ratio, epoch_spread: of `epoch_examples_per_second`, likewise.
        phases: seconds of each phase of a step, metrics counted with the optimizer; None where a
            step is one graph.
        peak_memory: bytes; of the process, or on an accelerator of what was allocated there. None
            where Python has no `resource` module, as on Windows.
        share_of_peak: of the machine's rate in large matrix products, end to end.
        engine_reason: why `auto` chose the engine; empty where the config names it.
        in_one_call: whether a step is one call of a kernel; else it calls layer by layer.
        phase_shares: the same of the phases `forward` and `backward`, at the machine's rate just
            before and after they were timed; None as for `phases`.
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
    peak_memory: int | None
    share_of_peak: float
    phase_shares: Mapping[str, float] | None
    engine_reason: str = ""
    in_one_call: bool = False


@dataclass(frozen=True)
class Noise:
    """The ratio of an arm to itself, in another process: the noise floor of all ratios."""

    name: str
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Benchmark:
    """Arms timed in blocks of `steps`, which alternate between them, over `rounds`.

    `baseline` is the arm that ratios are to. `flops_per_second` is the machine's rate in large
    matrix products. `kernels` says what the kernels were compiled for; None where no arm used them.
    """

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
    kernels: Build | None

    @property
    def has_ranges(self) -> bool:
        """Return whether some spread is a range: of rounds too few to have a middle half."""
        evaluations = math.ceil(self.rounds / ROUNDS_PER_EVALUATION)
        return evaluations < MIN_QUARTILE_ROUNDS

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what must be known to read the ratios."""
        compiled = [arm for arm in self.arms if arm.engine == "compiled"]
        one_call = one_call_remark({arm.name: arm.in_one_call for arm in compiled})
        chosen = [
            f"{capitalized(in_words(arm.name))} trains eager: {arm.engine_reason.rstrip('.')}."
            for arm in self.arms
            if arm.engine == "eager" and arm.engine_reason
        ]
        return (*chosen, *([one_call] if one_call else []))

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --json` prints."""
        return dataclasses.asdict(self) | {
            "peak_gflops": self.flops_per_second / 1e9,
            "remarks": list(self.remarks),
        }
