"""The result of `bnrun bench --kernels`: the speed of each kernel, beside PyTorch's operation."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bnrun.benchmark.kernel_cases import Unit
from bnrun.kernels.build import Build


@dataclass(frozen=True)
class PassSpeed:
    """One pass of a kernel, forward or backward: medians over the rounds.

    Attributes:
        seconds: of the kernel, called by autograd as training calls it.
        torch_seconds: of PyTorch's operation.
        rate: work per second: operations, or bytes, see `KernelSpeed.unit`.
        share_of_peak: of the rate of large matrix products, or of copying as many bytes as the
            first convolution writes, within rounds.
        ratio, spread: of PyTorch's time to the kernel's within rounds: the median, and the middle
            half of the rounds. Above 1 the kernel is faster.
        noise, noise_spread: the same of the kernel to itself, in another process.
    """

    seconds: float
    torch_seconds: float
    rate: float
    share_of_peak: float
    ratio: float
    spread: tuple[float, float]
    noise: float
    noise_spread: tuple[float, float]

    @property
    def is_slower(self) -> bool:
        """Return whether PyTorch's operation was faster in three rounds of four, beyond the noise.

        In that many rounds its lead was larger than that of the kernel over itself in one of four.
        """
        return self.spread[1] < min(1.0, self.noise_spread[0])


@dataclass(frozen=True)
class KernelSpeed:
    """A kernel: its forward pass, and its backward pass where it has one."""

    name: str
    unit: Unit
    forward: PassSpeed
    backward: PassSpeed | None

    def passes(self) -> Iterator[tuple[str, PassSpeed]]:
        """Yield the passes, with their names."""
        yield "forward", self.forward
        if self.backward is not None:
            yield "backward", self.backward


@dataclass(frozen=True)
class StageSpeed:
    """A stage of a step: what is computed between two points at which all threads have to wait.

    Attributes:
        seconds: the median over the rounds.
        share: of the seconds of all stages.
        flops_per_second, share_of_peak: in convolutions and linear layers; 0 where there are none.
    """

    name: str
    seconds: float
    share: float
    flops_per_second: float
    share_of_peak: float


@dataclass(frozen=True)
class KernelBenchmark:
    """All kernels, timed in blocks of `calls` calls, in turns with PyTorch, over `rounds`.

    Attributes:
        stages: of a training step that is one call.
        noise, noise_spread: of all kernels to themselves, over all rounds.
        flops_per_second, bytes_per_second: the machine's peak: see `PassSpeed.share_of_peak`.
        machine: the processor and its number of threads.
        build: what the kernels were compiled for.
    """

    kernels: tuple[KernelSpeed, ...]
    stages: tuple[StageSpeed, ...]
    noise: float
    noise_spread: tuple[float, float]
    rounds: int
    calls: int
    batch_size: int
    flops_per_second: float
    bytes_per_second: float
    machine: str
    build: Build
    torch: str

    def slower(self) -> tuple[str, ...]:
        """Return the passes that are slower than PyTorch's: "max pool 2 backward"."""
        return tuple(
            f"{kernel.name} {name}"
            for kernel in self.kernels
            for name, one in kernel.passes()
            if one.is_slower
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --kernels --json` prints."""
        return dataclasses.asdict(self) | {
            "peak_gflops": self.flops_per_second / 1e9,
            "peak_gbytes_per_second": self.bytes_per_second / 1e9,
            "slower": list(self.slower()),
        }
