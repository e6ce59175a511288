"""`bench --auto`: does `training.engine: auto` choose the faster engine, and what does that cost?

A start is three whole trainings, with auto and with each engine named, one after another in fresh
processes. Every start begins with another of the three.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bnrun.comparison.interleaved_timer import LIMIT_SECONDS
from bnrun.comparison.speed_ratio import Ratio, ratio_within_rounds
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.errors import TrainingFailed
from bnrun.events import DataUsed, Event, RunStarted, Stage, drain
from bnrun.kernels.build import measure_compilation
from bnrun.training.device import device_name, pick_device
from bnrun.training.engine_choice import COMPILE_SECONDS, MIN_SAVING
from bnrun.training.loop import train
from bnrun.workers import Worker, WorkerLost

ENGINES = ("auto", "compiled", "eager")


@dataclass(frozen=True)
class Start:
    """Three trainings of the same config; seconds of each, once torch and the data are loaded.

    Attributes:
        auto, compiled, eager: seconds of the training with this `training.engine`.
        choosing: the part of `auto` that passed before the first step.
        chosen, why: the engine that auto chose, and its reason.
    """

    auto: float
    compiled: float
    eager: float
    choosing: float
    chosen: str
    why: str


@dataclass(frozen=True)
class AutoBenchmark:
    """All starts of a config, and what follows from them.

    Attributes:
        compiling: seconds of compiling the kernels, which the starts find compiled; None where the
            device needs none.
        assumed_compiling, assumed_saving: the estimates that auto goes by where the kernels are not
            compiled yet.
    """

    config: Mapping[str, Any]
    starts: tuple[Start, ...]
    data: DataUsed
    device: str
    machine: str
    torch: str
    compiling: float | None
    assumed_compiling: float = COMPILE_SECONDS
    assumed_saving: float = MIN_SAVING

    @property
    def compiled_lead(self) -> Ratio:
        """Return eager's seconds over compiled's, within starts."""
        return self._ratio("eager", "compiled")

    @property
    def faster(self) -> str | None:
        """Return the faster engine; None where the middle half of the starts does not agree."""
        low, high = self.compiled_lead.spread
        return "compiled" if low > 1 else "eager" if high < 1 else None

    @property
    def wrong_choices(self) -> int:
        """Return in how many starts auto chose the slower engine."""
        return sum(self.faster not in (None, start.chosen) for start in self.starts)

    @property
    def choosing(self) -> float:
        """Return the median seconds of choosing."""
        return statistics.median(start.choosing for start in self.starts)

    @property
    def saved(self) -> float:
        """Return the median of the seconds that auto saved against eager; negative if it cost."""
        return statistics.median(start.eager - start.auto for start in self.starts)

    @property
    def losses(self) -> int:
        """Return in how many starts auto took longer than eager."""
        return sum(start.auto > start.eager for start in self.starts)

    @property
    def verdict(self) -> str:
        """Return `right`, `slower` if a choice was wrong, or `costly` if choosing saved nothing."""
        if self.wrong_choices:
            return "slower"
        return "costly" if self.saved < 0 else "right"

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --auto N --json` prints."""
        lead = self.compiled_lead
        return dataclasses.asdict(self) | {
            "faster": self.faster,
            "compiled_lead": lead.median,
            "compiled_lead_spread": lead.spread,
            "wrong_choices": self.wrong_choices,
            "choosing": self.choosing,
            "saved": self.saved,
            "losses": self.losses,
            "verdict": self.verdict,
        }

    def _ratio(self, one: str, other: str) -> Ratio:
        return ratio_within_rounds(
            [getattr(start, one) for start in self.starts],
            [getattr(start, other) for start in self.starts],
        )


def bench_auto(
    config: Config, dataset: Dataset, device: torch.device, count: int
) -> Generator[Stage, None, AutoBenchmark]:
    """Train with auto and with each engine, `count` times; yield progress and return the result.

    Args:
        config: of the trainings; its `training.engine` is not read.
        dataset: what each process will load, for its description.
        device: to train on.
        count: of the starts.

    Raises:
        EngineError: (while iterating) `compiled` is not available on this machine.
        BnrunError: (while iterating) see `train`.
    """
    yield Stage("compiling the kernels", 0, count * len(ENGINES))
    compiling = measure_compilation() if device.type == "cpu" else None
    starts = []
    for number in range(count):
        found = {}
        for at, engine in enumerate(_in_turn(number)):
            yield Stage(f"start {number + 1}, {engine}", len(ENGINES) * number + at, 3 * count)
            found[engine] = _train(config.with_training(engine=engine))
        auto, compiled, eager = (found[engine] for engine in ENGINES)
        starts.append(Start(auto[0], compiled[0], eager[0], *auto[1:]))
    return AutoBenchmark(
        config=config.to_dict(),
        starts=tuple(starts),
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        torch=torch.__version__,
        compiling=compiling,
    )


def _in_turn(number: int) -> Sequence[str]:
    first = number % len(ENGINES)
    return ENGINES[first:] + ENGINES[:first]


_Trained = tuple[float, float, str, str]
"""Seconds of a training, and of its choice of an engine; the engine, and why."""


def _train(config: Config) -> _Trained:
    """Train in a fresh process.

    Raises:
        BnrunError: see `train`.
    """
    with Worker("the training", prepare_training, (config,), LIMIT_SECONDS) as worker:
        try:
            trained: _Trained = worker.run(None)
        except WorkerLost as lost:
            raise TrainingFailed(f"the training {lost}.") from None
    return trained


def prepare_training(config: Config) -> Callable[[None], _Trained]:
    """Load the data, and return what trains once."""
    device = pick_device(config.training.device)
    dataset = drain(load(config.data)).to(device)

    def run(job: None) -> _Trained:
        events: list[Event] = []
        start = time.perf_counter()
        training = train(config, dataset, device)
        choosing = time.perf_counter() - start
        summary = drain(training, events.append)
        seconds = time.perf_counter() - start
        if summary.status != "completed":
            raise TrainingFailed(f"the training: {summary.reason}.")
        (began,) = (event for event in events if isinstance(event, RunStarted))
        return seconds, choosing, began.engine, began.engine_chosen

    return run
