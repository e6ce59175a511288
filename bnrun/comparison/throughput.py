"""The arms' training speed, end to end, by the timer that `bench` uses, too."""

import statistics
from collections.abc import Generator, Sequence

import torch

from bnrun.comparison.arms import Arm
from bnrun.comparison.interleaved_timer import TimedArm, started, take_turns
from bnrun.comparison.result import Speeds, Throughput
from bnrun.comparison.speed_ratio import ratio_within_rounds
from bnrun.comparison.timed_training import TimedTraining
from bnrun.events import Activity, Stage
from bnrun.training.device import device_name

ROUNDS = 10
STEPS = 10
"""Steps of a block."""


def measure_throughput(
    arms: Sequence[Arm], device: torch.device
) -> Generator[Stage | Activity, None, Speeds]:
    """Time every arm on its own engine, in turns; yield progress and return the speeds.

    The arms' configs name their engines (see `shared_engine.py`). Each arm loads its data in a
    process of its own.

    Raises:
        BnrunError: (while iterating) an arm cannot be built, or its model raised.
    """
    timed = [TimedArm(arm.name, TimedTraining, (arm.name, arm.config)) for arm in (*arms, arms[0])]
    with started(timed):
        for process in timed:
            yield Stage("throughput", 0, ROUNDS)
            yield Activity(f"starting a process for {process.name}")
            process.wait_until_ready()
        engines = [process.ask("get_ready") for process in timed]
        in_one_call = [process.ask("is_in_one_call") for process in timed]
        for number, process in take_turns(timed, ROUNDS):
            yield Stage("throughput", number, ROUNDS)
            process.time_block(STEPS)
    speeds = [
        _throughput(arm, process.rates, timed[0].rates, engine, fused)
        for arm, process, engine, fused in zip(
            (*arms, arms[0]), timed, engines, in_one_call, strict=True
        )
    ]
    return Speeds(ROUNDS, STEPS, device_name(device), tuple(speeds[:-1]), speeds[-1])


def _throughput(
    arm: Arm, rates: Sequence[float], first: Sequence[float], engine: str, in_one_call: bool
) -> Throughput:
    ratio = ratio_within_rounds(rates, first)
    return Throughput(
        arm=arm.name,
        norm=arm.config.model.norm_call,
        examples_per_second=statistics.median(rates),
        ratio_to_first=ratio.median,
        spread=ratio.spread,
        engine=engine,
        in_one_call=in_one_call,
    )
