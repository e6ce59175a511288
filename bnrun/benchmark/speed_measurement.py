"""`bench`: how fast is a training, against the textbook's loop, other norms and other engines?

Every arm is a process of its own. Each round gives every arm a block of steps, while the others
wait; every second round runs backwards; and every ratio is taken within a round. One arm has a
second process: it against itself is the noise.
"""

import contextlib
import statistics
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from bnrun.benchmark.bench_arms import BenchArm
from bnrun.benchmark.speeds import ArmSpeed, Benchmark, Noise
from bnrun.benchmark.timed_arms import prepare_arm, prepare_matmul
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.events import Stage
from bnrun.networks.lenet import flops
from bnrun.training.device import device_name, pick_device
from bnrun.training.timing import Reading
from bnrun.workers import Worker, WorkerLost

EVALUATED_EVERY = 2  # rounds
FEW = 4  # rounds have no middle half, and show their range
PHASE_STEPS = 30
LIMIT_SECONDS = 600.0  # of a block: what takes longer hangs


@dataclass
class _Measured:
    """What was measured of an arm's process, over the rounds."""

    arm: BenchArm
    process: Worker
    engine: str = ""
    readings: list[Reading] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    phases: dict[str, float] | None = None
    peak_memory: int = 0

    def ask(self, what: str, *arguments: Any) -> Any:
        """Have the arm do something.

        Raises:
            BnrunError: it could not.
        """
        return _answer(self.process, f"arm {self.arm.name}", (what, arguments))

    def rates(self) -> list[float]:
        """Return the end-to-end examples/s of each round."""
        return [reading.examples / reading.seconds for reading in self.readings]

    def epoch_rates(self, dataset: Dataset) -> list[float]:
        """Return training examples over wall time with evaluation, of the rounds that had both."""
        images = len(dataset.train)
        return [
            images / (images / rate + seconds)
            for rate, seconds in zip(self.rates()[::EVALUATED_EVERY], self.evaluations, strict=True)
        ]


def bench(
    arms: Sequence[BenchArm], dataset: Dataset, steps: int, rounds: int
) -> Generator[Stage | Benchmark, None, None]:
    """Yield how far the measurement has come and, last, what it came to.

    Args:
        arms: on the same data and device.
        dataset: what each of them will load; what is said of it is taken from here.
        steps: of a block.
        rounds: how many blocks of each.

    Raises:
        BnrunError: (while iterating) an arm can't begin, or failed.
    """
    first = next((arm for arm in arms if not arm.is_loop), arms[0])
    device = pick_device(first.config.training.device)
    with contextlib.ExitStack() as stack:
        measured = []
        for done, arm in enumerate((*arms, first)):
            yield Stage(f"starting {arm.name}", done, len(arms) + 1)
            process = Worker(
                f"arm {arm.name}",
                prepare_arm,
                (arm,),
                LIMIT_SECONDS,
                records=(Reading,),
                with_children=True,
            )
            measured.append(_Measured(arm, stack.enter_context(process)))
            measured[-1].engine = measured[-1].ask("begin")
        matmul = stack.enter_context(
            Worker("the matrix product", prepare_matmul, (str(device),), LIMIT_SECONDS)
        )
        products = []
        for turn in range(rounds):
            products.append(_answer(matmul, "the matrix product", None))
            yield from _round(measured, steps, turn, rounds)
        for one in measured[:-1]:
            yield Stage(f"a step of {one.arm.name}", rounds, rounds)
            one.phases = one.ask("phases", PHASE_STEPS)
            one.peak_memory = one.ask("peak_memory")
    again = measured.pop()
    itself = next(one for one in measured if one.arm is again.arm)
    baseline = _baseline(measured)
    flops_per_second = statistics.median(products)
    speeds = [_speed(one, baseline, dataset, flops_per_second) for one in measured]
    noise = _ratios(again.rates(), itself.rates())
    yield Benchmark(
        arms=tuple(speeds),
        baseline=baseline.arm.name,
        noise=Noise(again.arm.name, *noise),
        rounds=rounds,
        steps=steps,
        batch_size=first.config.training.batch_size,
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        versions={"torch": torch.__version__},
        flops_per_second=flops_per_second,
    )


def _answer(process: Worker, name: str, job: Any) -> Any:
    """Have a process do a job.

    Raises:
        BnrunError: it could not.
    """
    try:
        return process.run(job)
    except WorkerLost as lost:
        raise TrainingFailed(f"{name} {lost}.") from None


def _round(measured: Sequence[_Measured], steps: int, turn: int, rounds: int) -> Iterator[Stage]:
    """Give every arm its blocks; every second round begins at the other end."""
    for one in measured if turn % 2 == 0 else reversed(measured):
        yield Stage(f"timing {one.arm.name}", turn, rounds)
        one.readings.append(one.ask("train", steps))
        if turn % EVALUATED_EVERY == 0:
            one.evaluations.append(one.ask("evaluate"))


def _baseline(measured: Sequence[_Measured]) -> _Measured:
    """Return the faster of the textbook's loops; where there is none, the first arm."""
    loops = [one for one in measured if one.arm.is_loop]
    if not loops:
        return measured[0]
    return max(loops, key=lambda one: statistics.median(one.rates()))


def _speed(
    one: _Measured, baseline: _Measured, dataset: Dataset, flops_per_second: float
) -> ArmSpeed:
    rate = statistics.median(one.rates())
    epochs, others = one.epoch_rates(dataset), baseline.epoch_rates(dataset)
    ratio, spread = _ratios(one.rates(), baseline.rates())
    epoch_ratio, epoch_spread = _ratios(epochs, others)
    compute = [reading.examples / reading.compute_seconds for reading in one.readings]
    return ArmSpeed(
        name=one.arm.name,
        norm="textbook" if one.arm.is_loop else one.arm.config.model.norm,
        engine=one.engine,
        examples_per_second=rate,
        compute_examples_per_second=statistics.median(compute),
        epoch_examples_per_second=statistics.median(epochs),
        ratio=ratio,
        spread=spread,
        epoch_ratio=epoch_ratio,
        epoch_spread=epoch_spread,
        phases=one.phases,
        peak_memory=one.peak_memory,
        share_of_peak=rate * flops() / flops_per_second,
    )


def _ratios(rates: Sequence[float], others: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the median of the ratios within rounds, and their middle half."""
    ratios = [rate / other for rate, other in zip(rates, others, strict=True)]
    if len(ratios) < FEW:
        return statistics.median(ratios), (min(ratios), max(ratios))
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return statistics.median(ratios), (lower, upper)
