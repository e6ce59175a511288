"""The arms' training speed, in short blocks that alternate between them.

On a shared machine a minute may be twice as fast as the next. So no two arms are timed far apart:
every round times a block of each, and one more of the first arm, and the ratios are taken within
the round. The first arm's second block against its first is the noise of the measurement.
"""

import statistics
import time
from collections.abc import Iterator, Sequence

import torch

from bnrun.comparison.outcome import Arm, Speeds, Throughput
from bnrun.data.dataset import Dataset
from bnrun.events import Stage
from bnrun.training.device import device_name, synchronize
from bnrun.training.engine_choice import choose
from bnrun.training.stepper import Stepper

ROUNDS = 20
STEPS = 10  # of a block
WARM_UP_BLOCKS = 2


def measure_throughput(
    arms: Sequence[Arm], dataset: Dataset, device: torch.device
) -> Iterator[Stage | Speeds]:
    """Yield how far the measurement has come and, last, the speeds: end to end, data included.

    Raises:
        TrainingFailed: a model raised.
    """
    dataset = dataset.to(device)
    first = arms[0].config
    engine = choose(first, dataset, device, first.training.epochs)  # the same for all
    steppers = [
        Stepper(arm.config, dataset.train, engine=engine, name=f"arm {arm.name}")
        for arm in (*arms, arms[0])
    ]
    for stepper in steppers * WARM_UP_BLOCKS:
        _block(stepper, device)
    rates: list[list[float]] = [[] for _ in steppers]
    for turn in range(ROUNDS):
        yield Stage("throughput", turn, ROUNDS)
        forth = list(range(len(steppers)))
        for i in forth if turn % 2 == 0 else reversed(forth):  # no arm is always the first
            rates[i].append(_block(steppers[i], device))
    found = [
        _throughput(arm, rate, rates[0]) for arm, rate in zip((*arms, arms[0]), rates, strict=True)
    ]
    yield Speeds(ROUNDS, STEPS, device_name(device), tuple(found[:-1]), found[-1], engine.name)


def _block(stepper: Stepper, device: torch.device) -> float:
    """Take a block of steps; return its examples/s, the device synchronized."""
    synchronize(device)
    began = time.perf_counter()
    with stepper.computing():
        examples = sum(stepper.step()[1] for _ in range(STEPS))
    synchronize(device)
    return examples / (time.perf_counter() - began)


def _throughput(arm: Arm, rates: Sequence[float], first: Sequence[float]) -> Throughput:
    ratios = [rate / other for rate, other in zip(rates, first, strict=True)]
    lower, _, upper = statistics.quantiles(ratios, n=4)
    return Throughput(
        arm=arm.name,
        norm=arm.config.model.norm,
        examples_per_second=statistics.median(rates),
        ratio_to_first=statistics.median(ratios),
        spread=(lower, upper),
    )
