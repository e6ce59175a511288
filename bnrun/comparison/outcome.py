"""What a comparison comes to: arms with their trials, paired differences, and what they show."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from bnrun.comparison.estimate import Estimate, estimate
from bnrun.config import Config
from bnrun.config.difference import config_difference
from bnrun.summary import METRICS, Summary

Ending = Literal["completed", "interrupted", "failed"]
NO_DIFFERENCE = "no difference detected"
ROUNDING = 1e-12  # of the arithmetic on metrics: a narrower interval is no spread at all


@dataclass(frozen=True)
class Arm:
    """One configuration being compared. A trial is one training of it with one seed."""

    name: str
    config: Config

    def with_seed(self, seed: int) -> Config:
        """Return the config of this arm's trial with a seed."""
        training = self.config.training.model_copy(update={"seed": seed})
        return self.config.model_copy(update={"training": training})


@dataclass(frozen=True)
class ArmResult:
    """An arm, its trials in order of their seeds, and each metric over those that completed."""

    arm: Arm
    trials: tuple[Summary, ...]

    @property
    def completed(self) -> tuple[Summary, ...]:
        """Return the trials that came to their end."""
        return tuple(trial for trial in self.trials if trial.status == "completed")

    def estimate(self, metric: str) -> Estimate | None:
        """Estimate a metric of the last epoch; None where no trial has it."""
        return estimate(
            [value for value in map(_last(metric), self.completed) if value is not None]
        )


@dataclass(frozen=True)
class Pair:
    """Two arms on one metric: the mean of a's value less b's, over the seeds both completed."""

    a: str
    b: str
    metric: str
    difference: Estimate
    verdict: str


@dataclass(frozen=True)
class ArmDifference:
    """A config key, other than the norm, in which two arms differ, and both values."""

    a: str
    b: str
    key: str
    value_a: Any
    value_b: Any


@dataclass(frozen=True)
class Parity:
    """Whether an arm is the same function as the first: both trained from the same state.

    The largest differences over all `steps`, in `dtype`; weights are all parameters, gamma and
    beta included; predictions are the logits of the same test images, after the last step. A
    difference is None where there is nothing to hold against each other. Where an arm raised, or
    is not finite any more, `error` says so.
    """

    first: str
    arm: str
    dtype: str
    steps: int
    max_loss_difference: float | None
    max_weight_difference: float | None
    max_moving_difference: float | None
    max_prediction_difference: float | None
    error: str | None = None


@dataclass(frozen=True)
class Throughput:
    """An arm's speed in training, measured in short blocks that alternate between the arms.

    `examples_per_second` is the median block's; `ratio_to_first` the median over rounds of the
    arm's block against the first arm's, and `spread` the quartiles about it: the middle half of
    the rounds. The first arm runs twice in each round: its second block is the A-against-A noise.
    """

    arm: str
    norm: str
    examples_per_second: float
    ratio_to_first: float
    spread: tuple[float, float]


@dataclass(frozen=True)
class Speeds:
    """The throughput of all arms under one engine, and its noise, over `rounds`.

    `noise` is the throughput of the first arm's second blocks against its first ones.
    """

    rounds: int
    steps: int
    machine: str
    arms: tuple[Throughput, ...]
    noise: Throughput
    engine: str = "eager"


@dataclass(frozen=True)
class Comparison:
    """The result of `bnrun compare`, or as much of it as there is."""

    arms: tuple[ArmResult, ...]
    seeds: tuple[int, ...]
    parity: tuple[Parity, ...] = ()
    speeds: Speeds | None = None
    speeds_error: str | None = None
    status: Ending = "interrupted"
    run: str | None = None

    @property
    def trials(self) -> tuple[Summary, ...]:
        """Return every trial that was begun."""
        return tuple(trial for result in self.arms for trial in result.trials)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return every two arms on every metric that both have."""
        found = []
        for a, b in itertools.combinations(self.arms, 2):
            for metric in METRICS:
                difference = estimate(_differences(a, b, metric))
                if difference is not None:
                    names = (a.arm.name, b.arm.name)
                    found.append(Pair(*names, metric, difference, verdict(*names, difference)))
        return tuple(found)

    @property
    def differences(self) -> tuple[ArmDifference, ...]:
        """Return the config keys other than the norm in which arms differ from the first."""
        first, *others = (result.arm for result in self.arms)
        return tuple(
            ArmDifference(first.name, other.name, found.key, found.a, found.b)
            for other in others
            for found in config_difference(first.config.to_dict(), other.config.to_dict())
            if found.key != "model.norm"
        )


def verdict(a: str, b: str, difference: Estimate) -> str:
    """Say in words what a paired difference shows, and never more than that."""
    if difference.ci95 is None:
        return "one seed: not judged"
    low, high = difference.ci95
    if high - low < ROUNDING:
        alike = abs(difference.mean) < ROUNDING
        return NO_DIFFERENCE if alike else "no spread over seeds: not judged"
    if low > 0:
        return f"{a} higher"
    return f"{b} higher" if high < 0 else NO_DIFFERENCE


def _last(metric: str) -> Callable[[Summary], float | None]:
    """Return the function that gives a trial's metric after its last epoch."""
    return lambda trial: getattr(trial.epochs[-1], metric) if trial.epochs else None


def _differences(a: ArmResult, b: ArmResult, metric: str) -> list[float]:
    """Return a's value less b's for every seed that both completed."""
    value = _last(metric)
    ours, theirs = ({trial.seed: value(trial) for trial in arm.completed} for arm in (a, b))
    return [
        mine - other
        for seed, mine in ours.items()
        if mine is not None and (other := theirs.get(seed)) is not None
    ]
