"""Where the time of a training step goes, stage by stage, where a step is one call of a kernel."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch

from bnrun import kernels
from bnrun.benchmark.kernel_result import StageSpeed
from bnrun.kernels.openmp import end_waiting_threads
from bnrun.networks.lenet import LAYER_FLOPS, LeNet
from bnrun.networks.whole import lenet_step
from bnrun.norms import norm_factory
from bnrun.training.allocator import keep_freed_memory

STEPS = 20
"""Timed steps of a block, of which each stage's median counts; five more before them warm up."""
WARM_UP_STEPS = 5

_CONV1, _CONV2, _FC1, _FC2, _FC3 = LAYER_FLOPS.values()

STAGE_FLOPS = dict(
    zip(
        (stage for stages in kernels.STAGES_OF_PHASES.values() for stage in stages),
        (
            *(_CONV1, _CONV2, _FC1, _FC2, _FC3),
            *(_FC3, _FC3 + _FC2, _FC2 + _FC1, _FC1 + 2 * _CONV2, _CONV1),
            0,
        ),
        strict=True,
    )
)
"""Multiplications and additions of each stage for one image: convolutions and linear layers."""


def stage_speeds(
    rounds: Sequence[Mapping[str, float]], images: int, flops_per_second: float
) -> tuple[StageSpeed, ...]:
    """Return the speed of each stage.

    Args:
        rounds: the seconds of each stage, by name.
        images: of a batch.
        flops_per_second: the machine's peak.
    """
    seconds = {name: statistics.median(one[name] for one in rounds) for name in STAGE_FLOPS}
    total = math.fsum(seconds.values())
    speeds = []
    for name, flops in STAGE_FLOPS.items():
        rate = images * flops / seconds[name]
        share = seconds[name] / total
        speeds.append(StageSpeed(name, seconds[name], share, rate, rate / flops_per_second))
    return tuple(speeds)


def prepare_step(images: int) -> Callable[[None], dict[str, float]]:
    """Return a job that takes a block of steps, and returns the median seconds of each stage.

    Args:
        images: of a batch.

    Raises:
        EngineError: (from what is returned) the kernels cannot be compiled on this machine.
    """
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (images,), generator=generator)
    index = torch.randperm(images, generator=generator)
    model = LeNet(norm_factory("scratch"))
    loss, correct = torch.zeros(2)

    def take_steps(job: None) -> dict[str, float]:
        with kernels.enabled():
            step = lenet_step(model, pixels, labels, list(model.parameters()), (), images)
            assert step is not None
            timed = []
            for _ in range(WARM_UP_STEPS + STEPS):
                with kernels.timed_stages() as seconds:
                    step.take(
                        *(index, loss, correct),
                        lr=0.1,
                        momentum=0.0,
                        weight_decay=0.0,
                        nesterov=False,
                    )
                timed.append(seconds)
        end_waiting_threads()  # other processes are timed meanwhile
        return {
            stage: statistics.median(one[stage] for one in timed[WARM_UP_STEPS:])
            for stage in STAGE_FLOPS
        }

    return take_steps
