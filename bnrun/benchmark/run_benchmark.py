"""`bench`: how fast is a training, compared with the textbook's loop, other norms and engines?

The timer is `bnrun.comparison.interleaved_timer`: processes apart, blocks in turns, ratios within a
round. Every second round evaluates, too, and every round measures the machine's own rate.
"""

import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import torch

from bnrun import kernels
from bnrun.benchmark.arm_processes import build_arm, prepare_matmul
from bnrun.benchmark.arm_syntax import BenchArm
from bnrun.benchmark.result import (
    ROUNDS_PER_EVALUATION,
    WORKING_PHASES,
    ArmSpeed,
    Benchmark,
    Noise,
)
from bnrun.comparison.interleaved_timer import LIMIT_SECONDS, TimedArm, started, take_turns
from bnrun.comparison.speed_ratio import ratio_within_rounds
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Stage
from bnrun.networks.lenet import backward_flops, flops, forward_flops
from bnrun.training.device import device_name, pick_device
from bnrun.training.norm_batch import check_norm_batch
from bnrun.workers import Worker, WorkerLost

PHASE_STEPS = 30
"""Steps whose phases are timed, once, after all rounds."""


@dataclass
class _Measured:
    """What was measured of an arm."""

    arm: BenchArm
    timed: TimedArm
    engine: str = ""
    engine_reason: str = ""
    in_one_call: bool = False
    evaluations: list[float] = field(default_factory=list)
    phases: dict[str, float] | None = None
    flops_beside_phases: float = 0.0
    peak_memory: int | None = None

    def epoch_rates(self, images: int) -> list[float]:
        """Return training examples over wall time with evaluation, of the rounds that had both."""
        rates = self.timed.rates[::ROUNDS_PER_EVALUATION]
        return [
            images / (images / rate + seconds)
            for rate, seconds in zip(rates, self.evaluations, strict=True)
        ]


def bench(
    arms: Sequence[BenchArm], dataset: Dataset, steps: int, rounds: int
) -> Generator[Stage, None, Benchmark]:
    """Time arms against one another; yield progress and return the result.

    The first arm that is not the textbook's loop has a second process: it against itself is the
    noise. The baseline of ratios is the faster of the textbook's loops, else the first arm.

    Args:
        arms: on the same data and device.
        dataset: what each of them will load, for its description.
        steps: steps in a block.
        rounds: blocks of each arm.

    Raises:
        BnrunError: (while iterating) an arm cannot be built, or failed.
    """
    repeated = next((arm for arm in arms if not arm.is_loop), arms[0])
    device = pick_device(repeated.config.training.device)
    for arm in arms:
        if not arm.is_loop:
            check_norm_batch(arm.config, len(dataset.train), f"arm {arm.name}")
    *measured, again = [
        _Measured(arm, TimedArm(arm.name, build_arm, (arm,))) for arm in (*arms, repeated)
    ]
    itself = next(one for one in measured if one.arm is repeated)
    matmul = Worker("the matrix product", prepare_matmul, (str(device),), LIMIT_SECONDS)
    with started([*(one.timed for one in (*measured, again)), matmul]):
        yield from _start([*measured, again], matmul)
        again.timed.ask("get_ready", itself.engine)  # `auto` might choose anew
        products = yield from _rounds([*measured, again], matmul, steps, rounds)
        yield from _time_phases(measured, matmul, rounds)
    baseline = _baseline(measured)
    flops_per_second = statistics.median(products)
    noise = ratio_within_rounds(again.timed.rates, itself.timed.rates)
    return Benchmark(
        arms=tuple(_speed(one, baseline, len(dataset.train), flops_per_second) for one in measured),
        baseline=baseline.arm.name,
        noise=Noise(repeated.name, noise.median, noise.spread),
        rounds=rounds,
        steps=steps,
        batch_size=repeated.config.training.batch_size,
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        versions={"torch": torch.__version__},
        flops_per_second=flops_per_second,
        kernels=_kernels(measured, device),
    )


def _start(measured: Sequence[_Measured], matmul: Worker) -> Generator[Stage, None, None]:
    """Wait for all processes; then let each but the last take its first steps, alone."""
    total = 2 * len(measured) - 1
    for done, one in enumerate(measured):
        yield Stage(f"starting {one.arm.name}", done, total)
        one.timed.wait_until_ready()
    matmul.wait_until_ready()
    for done, one in enumerate(measured[:-1], start=len(measured)):
        yield Stage(f"first steps of {one.arm.name}", done, total)
        one.engine = one.timed.ask("get_ready")
        one.engine_reason = one.timed.ask("engine_reason")
        one.in_one_call = one.timed.ask("is_in_one_call")


def _rounds(
    measured: Sequence[_Measured], matmul: Worker, steps: int, rounds: int
) -> Generator[Stage, None, list[float]]:
    """Time every arm in every round; return the rates of matrix products, one for each round."""
    by_process = {id(one.timed): one for one in measured}
    products: list[float] = []
    for number, timed in take_turns([one.timed for one in measured], rounds):
        if len(products) == number:
            products.append(_product(matmul))
        yield Stage(f"timing {timed.name}", number, rounds)
        timed.time_block(steps)
        if number % ROUNDS_PER_EVALUATION == 0:
            by_process[id(timed)].evaluations.append(timed.ask("evaluate"))
    return products


def _time_phases(
    measured: Sequence[_Measured], matmul: Worker, rounds: int
) -> Generator[Stage, None, None]:
    """Time the phases of each arm, once, and matrix products before and after them.

    The machine may be twice as fast a minute later, so the phases' share is of these products.
    """
    after = _product(matmul)
    for one in measured:
        yield Stage(f"a step of {one.arm.name}", rounds, rounds)
        before, one.phases = after, one.timed.ask("phases", PHASE_STEPS)
        after = _product(matmul)
        one.flops_beside_phases = (before + after) / 2
        one.peak_memory = one.timed.ask("peak_memory")


def _product(matmul: Worker) -> float:
    try:
        rate: float = matmul.run(None)
    except WorkerLost as lost:
        raise TrainingFailed(f"the matrix product {lost}.") from None
    return rate


def _kernels(measured: Sequence[_Measured], device: torch.device) -> kernels.Build | None:
    is_used = any(one.engine == "compiled" for one in measured) and device.type == "cpu"
    return kernels.describe_build() if is_used else None


def _baseline(measured: Sequence[_Measured]) -> _Measured:
    """Return the faster of the textbook's loops; without any, the first arm."""
    loops = [one for one in measured if one.arm.is_loop]
    if not loops:
        return measured[0]
    return max(loops, key=lambda one: statistics.median(one.timed.rates))


def _speed(one: _Measured, baseline: _Measured, images: int, flops_per_second: float) -> ArmSpeed:
    rates, readings = one.timed.rates, one.timed.readings
    epochs = one.epoch_rates(images)
    ratio = ratio_within_rounds(rates, baseline.timed.rates)
    epoch_ratio = ratio_within_rounds(epochs, baseline.epoch_rates(images))
    compute = [reading.examples / reading.compute_seconds for reading in readings]
    rate = statistics.median(rates)
    return ArmSpeed(
        name=one.arm.name,
        norm=one.arm.norm,
        engine=one.engine,
        examples_per_second=rate,
        compute_examples_per_second=statistics.median(compute),
        epoch_examples_per_second=statistics.median(epochs),
        ratio=ratio.median,
        spread=ratio.spread,
        epoch_ratio=epoch_ratio.median,
        epoch_spread=epoch_ratio.spread,
        phases=one.phases,
        peak_memory=one.peak_memory,
        share_of_peak=rate * flops() / flops_per_second,
        phase_shares=_phase_shares(one),
        engine_reason=one.engine_reason,
        in_one_call=one.in_one_call,
    )


def _phase_shares(one: _Measured) -> dict[str, float] | None:
    if one.phases is None:
        return None
    images, work = one.arm.config.training.batch_size, (forward_flops(), backward_flops())
    return {
        phase: images * count / one.phases[phase] / one.flops_beside_phases
        for phase, count in zip(WORKING_PHASES, work, strict=True)
    }
