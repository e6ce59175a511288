"""The result of a comparison: arms with their trials, pairs, parity and throughput."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from pydantic import TypeAdapter

from bnrun.comparison.arm_words import capitalized, one_call_remark
from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.paired_differences import DEFAULT_CRITERIA, Criteria, Pair, judge_pairs
from bnrun.comparison.parity_verdict import Parity, parity_document
from bnrun.comparison.remarks import remarks
from bnrun.config.difference import config_difference
from bnrun.training_summary import METRICS, Summary

ComparisonStatus = Literal["completed", "interrupted", "failed"]
Measure = Literal["parity", "throughput"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
"""What is measured beside the trials, unless the plan leaves it out."""

SpeedVerdict = Literal["faster", "slower", "within the noise"]

_STATUS: TypeAdapter[ComparisonStatus] = TypeAdapter(ComparisonStatus)
_ERROR: TypeAdapter[str | None] = TypeAdapter(str | None)


@dataclass(frozen=True)
class ArmDifference:
    """A config key, other than the norm, in which two arms differ, and both values."""

    a: str
    b: str
    key: str
    value_a: Any
    value_b: Any


@dataclass(frozen=True)
class Throughput:
    """An arm's speed in training, measured in short blocks that alternate between the arms.

    `examples_per_second` is the median block's, end to end. `ratio_to_first` is the median over
    rounds of the arm's block against the first arm's, and `spread` the quartiles of these ratios:
    the middle half of the rounds lies between them. `in_one_call` says whether a step is one call
    of a kernel; else it calls layer by layer.
    """

    arm: str
    norm: str
    examples_per_second: float
    ratio_to_first: float
    spread: tuple[float, float]
    engine: str = "eager"
    in_one_call: bool = False


@dataclass(frozen=True)
class Speeds:
    """The throughput of all arms, over `rounds` of blocks of `steps`.

    `noise` is the first arm's throughput against itself, from a second process of its own.
    """

    rounds: int
    steps: int
    machine: str
    arms: tuple[Throughput, ...]
    noise: Throughput

    def verdict(self, arm: Throughput) -> SpeedVerdict | None:
        """Return how an arm's rounds lie beside those of the first arm; None for that one itself.

        An arm is faster or slower where the middle half of its rounds lies wholly beyond the
        middle half of the noise.
        """
        if arm.arm == self.arms[0].arm:
            return None
        if arm.spread[0] > self.noise.spread[1]:
            return "faster"
        return "slower" if arm.spread[1] < self.noise.spread[0] else "within the noise"

    @property
    def remark(self) -> str | None:
        """Return what part of a difference is not the norms' own, where some arms are fused."""
        compiled = [arm for arm in self.arms if arm.engine == "compiled"]
        return one_call_remark({arm.arm: arm.in_one_call for arm in compiled})

    def to_dict(self) -> dict[str, Any]:
        """Return the part of a comparison's document that holds the throughput."""
        conditions = {"rounds": self.rounds, "steps": self.steps, "machine": self.machine}
        return {
            "throughput": [
                dataclasses.asdict(arm) | {"verdict": self.verdict(arm)} for arm in self.arms
            ],
            "throughput_noise": conditions | dataclasses.asdict(self.noise),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Speeds | None":
        """Return the throughput that a comparison's document holds; None where it holds none.

        Raises:
            KeyError, TypeError, ValueError: the document is not that of a comparison.
        """
        noise = document["throughput_noise"]
        if not noise:
            return None
        if not document["throughput"]:
            raise ValueError("throughput has a noise and no arm")
        engine = noise.get("engine", "eager")  # older versions timed every arm on this one
        facts = noise | {
            "arms": [{"engine": engine} | arm for arm in document["throughput"]],
            "noise": noise,
        }
        return TypeAdapter(cls).validate_python(facts)


@dataclass(frozen=True)
class Comparison:
    """A comparison: its plan, and as much of its result as there is.

    Attributes:
        arms: each with its trials so far.
        seeds: one trial of each arm for each of them.
        criteria: how pairs are judged.
        measures: what is measured beside the trials.
        engine: the engine of all arms that name none of their own; None where it was not resolved
            yet. The arms' configs name it, too.
        engine_reason: why that engine, where it was measured.
        parity: of the first arm with one of each other network (see `networks`).
        speeds: None before they were measured.
        speeds_error: why they could not be measured.
        status: `completed` once every trial completed and the speeds were measured; `failed` where
            everything was tried and something was lost.
        run: its directory, where it has one.
    """

    arms: tuple[ArmResult, ...]
    seeds: tuple[int, ...]
    criteria: Criteria = DEFAULT_CRITERIA
    measures: tuple[Measure, ...] = MEASURES
    engine: str | None = None
    engine_reason: str = ""
    parity: tuple[Parity, ...] = ()
    speeds: Speeds | None = None
    speeds_error: str | None = None
    status: ComparisonStatus = "interrupted"
    run: str | None = None

    ask_again: ClassVar[str] = "bnrun compare --resume DIR"
    """The command that judges the same trials by other criteria."""
    more_seeds: ClassVar[str] = "More seeds, such as --seeds 5, make it narrower."
    """What makes an interval narrower."""

    @property
    def trials(self) -> tuple[Summary, ...]:
        """Return every trial that was started."""
        return tuple(trial for result in self.arms for trial in result.trials)

    @property
    def takes_population(self) -> bool:
        """Return whether every trial was evaluated with population statistics, if it has any."""
        return True

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return the pairs of arms to be judged, on every metric that both have, judged."""
        return judge_pairs(self.groups, self.seeds, self.criteria)

    @property
    def groups(self) -> tuple[tuple[ArmResult, ...], ...]:
        """Return the arms in groups within which they may be pairs: here they all may."""
        return (self.arms,)

    @property
    def networks(self) -> tuple[tuple[Arm, ...], ...]:
        """Return the arms in groups of the same network: parity has nothing to ask within one."""
        groups: list[list[Arm]] = []
        for arm in (result.arm for result in self.arms):
            group = next((one for one in groups if arm.has_network_of(one[0])), None)
            if group is None:
                groups.append([arm])
            else:
                group.append(arm)
        return tuple(map(tuple, groups))

    @property
    def differences(self) -> tuple[ArmDifference, ...]:
        """Return the config keys other than the norm in which arms differ from the first."""
        first, *others = (result.arm for result in self.arms)
        return tuple(
            ArmDifference(first.name, other.name, difference.key, difference.a, difference.b)
            for other in others
            for difference in config_difference(first.config.to_dict(), other.config.to_dict())
            if difference.key != "model.norm"
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what must be known to read the numbers, in sentences."""
        return tuple(map(capitalized, remarks(self)))

    def with_trial(self, arm: str, trial: Summary) -> "Comparison":
        """Return the comparison with one more trial, or a newer state of one."""
        return dataclasses.replace(
            self,
            arms=tuple(
                _with_trial(result, trial) if result.arm.name == arm else result
                for result in self.arms
            ),
        )

    def with_parity(self, parity: Parity) -> "Comparison":
        """Return the comparison with the parity of one more arm, or a newer one."""
        others = (one for one in self.parity if one.arm != parity.arm)
        return dataclasses.replace(self, parity=(*others, parity))

    def with_speeds(self, speeds: Speeds) -> "Comparison":
        """Return the comparison with the throughput of its arms."""
        return dataclasses.replace(self, speeds=speeds, speeds_error=None)

    def with_speeds_error(self, reason: str) -> "Comparison":
        """Return the comparison with the reason why its throughput could not be measured."""
        return dataclasses.replace(self, speeds_error=reason)

    def with_final_status(self) -> "Comparison":
        """Return the comparison with its final status, after everything was tried."""
        completed = sum(len(result.completed) for result in self.arms)
        planned = len(self.arms) * len(self.seeds)
        is_whole = completed == planned and self.speeds_error is None
        return dataclasses.replace(self, status="completed" if is_whole else "failed")

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun compare --json` prints and `summary.json` holds."""
        to_come = "throughput" in self.measures
        speeds: dict[str, Any] = {"throughput": [] if to_come else None, "throughput_noise": None}
        return {
            "run": self.run,
            "status": self.status,
            "seeds": list(self.seeds),
            "engine": self.engine,
            "engine_reason": self.engine_reason,
            "criteria": dataclasses.asdict(self.criteria),
            "measures": list(self.measures),
            "arms": [_arm_document(result) for result in self.arms],
            "pairs": [pair.to_dict() for pair in self.pairs],
            "differences": [dataclasses.asdict(difference) for difference in self.differences],
            "parity": parity_document(self.parity),
            **(self.speeds.to_dict() if self.speeds else speeds),
            "throughput_error": self.speeds_error,
            "remarks": list(self.remarks),
        }

    def with_measurements(self, document: Mapping[str, Any]) -> "Comparison":
        """Return the comparison with the parity, the throughput and the status of its document.

        Raises:
            KeyError, TypeError, ValueError: the document is not that of a comparison.
        """
        parity = document["parity"] or {"arms": []}
        return dataclasses.replace(
            self,
            parity=tuple(map(Parity.from_dict, parity["arms"])),
            speeds=Speeds.from_dict(document),
            speeds_error=_ERROR.validate_python(document["throughput_error"]),
            status=_STATUS.validate_python(document["status"]),
        )


def _with_trial(result: ArmResult, trial: Summary) -> ArmResult:
    others = [other for other in result.trials if other.seed != trial.seed]
    return ArmResult(result.arm, tuple(sorted([*others, trial], key=lambda one: one.seed)))


def _arm_document(result: ArmResult) -> dict[str, Any]:
    estimates = {metric: result.estimate(metric) for metric in METRICS}
    return {
        "name": result.arm.name,
        "norm": result.arm.config.model.norm_call,
        "engine": result.arm.engine,
        "config": result.arm.config.to_dict(),
        "trials": [trial.to_dict() for trial in result.trials],
        "n": len(result.completed),
        "lost": len(result.lost),
        "not_learned": len(result.not_learned),
        "mean": {metric: one and one.mean for metric, one in estimates.items()},
        "ci95": {metric: one and one.ci95 for metric, one in estimates.items()},
    }
