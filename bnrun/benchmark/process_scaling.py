"""`bench --processes`: how one training scales with the processes that share it, on this machine.

Every number of processes is a team that trains the same config. Teams take blocks of steps in
turns, and ratios are taken within a round. The first number has a second team: it against itself is
the noise. A machine's threads are shared out among the processes of a team.
"""

import dataclasses
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bnrun.benchmark.result import Noise
from bnrun.benchmark.team import Team, started_teams
from bnrun.comparison.speed_ratio import MIN_QUARTILE_ROUNDS, ratio_within_rounds
from bnrun.comparison.timed_training import TimedTraining
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.events import DataUsed, Stage
from bnrun.processes import Processes
from bnrun.training.device import device_name, pick_device


@dataclass(frozen=True)
class Ready:
    """How a process trains: its engine, its threads, and whether a step is one call."""

    engine: str
    threads: int
    in_one_call: bool
    norm_statistics: str


@dataclass(frozen=True)
class Block:
    """A block of steps, as one process timed it.

    Attributes:
        examples, seconds: of all processes together, and its wall time.
        waited: seconds from when it handed over a sum until it had the answer.
        calls, bytes: of those sums; bytes are what it handed over.
    """

    examples: int
    seconds: float
    waited: float
    calls: int
    bytes: int


@dataclass(frozen=True)
class ScalingPoint:
    """The speed of a number of processes: medians over the rounds.

    Attributes:
        threads: of each process.
        examples_per_second: of all processes together, end to end.
        ratio, spread: of it to the first number's, within rounds.
        efficiency: the ratio over that of the numbers of processes.
        summing_seconds: of a step, in sums over the processes; of the process that waited least,
            for the others wait for the slowest, too.
        summing_share: of the step's time.
        calls, bytes: of these sums a step; bytes are what each process hands over.
    """

    processes: int
    threads: int
    engine: str
    in_one_call: bool
    examples_per_second: float
    ratio: float
    spread: tuple[float, float]
    efficiency: float
    summing_seconds: float
    summing_share: float
    calls: float
    bytes: float


@dataclass(frozen=True)
class Scaling:
    """Teams timed in blocks of `steps`, in turns, over `rounds`. Ratios are to the first point."""

    points: tuple[ScalingPoint, ...]
    noise: Noise
    rounds: int
    steps: int
    batch_size: int
    norm: str
    norm_statistics: str
    threads: int
    data: DataUsed
    device: str
    machine: str
    torch: str

    @property
    def has_ranges(self) -> bool:
        """Return whether the spreads are ranges: of rounds too few to have a middle half."""
        return self.rounds < MIN_QUARTILE_ROUNDS

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what must be known to read the ratios."""
        found = []
        one_call = [point for point in self.points if point.in_one_call]
        if one_call and len(one_call) < len(self.points):
            found.append(
                "One process takes a step in one call of a kernel. Several sum statistics and "
                "gradients within the step, so they call layer by layer: part of the difference "
                "is that call."
            )
        crowded = [p.processes for p in self.points if p.processes > self.threads]
        if self.device == "cpu" and crowded:
            found.append(
                f"More processes than the {self.threads} threads that one process has here wait "
                "for one another's turn on a processor: their time in sums is mostly that."
            )
        best = max(self.points, key=lambda point: point.examples_per_second)
        found.append(
            f"The fastest here: {best.processes} process{'es' if best.processes > 1 else ''}."
        )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Return the document that `bnrun bench --processes COUNTS --json` prints."""
        return dataclasses.asdict(self) | {"remarks": list(self.remarks)}


class ScalingMember(TimedTraining):
    """One process of a team: it trains its share of every batch, and counts what it sends."""

    def __init__(self, processes: Processes, config: Config) -> None:
        if config.training.device in ("auto", "cpu"):
            torch.set_num_threads(max(torch.get_num_threads() // processes.size, 1))
        super().__init__(f"of {_words(processes.size)}", config, processes)

    def ready(self) -> Ready:
        """Take the first steps, and return how this process trains."""
        engine = self.get_ready()
        statistics = self.stepper.statistics.kind
        return Ready(engine, torch.get_num_threads(), self.is_in_one_call(), statistics)

    def block(self, steps: int) -> Block:
        """Take steps, and return what they took."""
        self._processes.wait_for_all()
        before = replace(self._processes.traffic)
        reading, after = self.train(steps), self._processes.traffic
        return Block(
            reading.examples,
            reading.seconds,
            after.seconds - before.seconds,
            after.calls - before.calls,
            after.bytes - before.bytes,
        )


def bench_processes(
    config: Config, dataset: Dataset, counts: Sequence[int], steps: int, rounds: int
) -> Generator[Stage, None, Scaling]:
    """Time a training on each number of processes; yield progress and return the result.

    Args:
        config: of the training.
        dataset: what each process will load, for its description.
        counts: numbers of processes; ratios are to the first.
        steps: steps in a block.
        rounds: blocks of each number.

    Raises:
        BnrunError: (while iterating) a team cannot be built, or failed.
    """
    *teams, again = [
        Team(_words(count), count, ScalingMember, (config,), records=(Ready, Block))
        for count in (*counts, counts[0])
    ]
    yield Stage("starting the processes", 0, rounds)
    blocks: dict[int, list[list[Block]]] = {id(team): [] for team in (*teams, again)}
    with started_teams([*teams, again]):
        ready = []
        for team in (*teams, again):
            yield Stage(f"first steps of {team.name}", 0, rounds)
            ready.append(team.ask("ready")[0])
        for number in range(rounds):
            turns = [*teams, again]
            for team in turns if number % 2 == 0 else reversed(turns):
                yield Stage(f"timing {team.name}", number, rounds)
                blocks[id(team)].append(team.ask("block", steps))
    measured = [blocks[id(team)] for team in teams]
    noise = ratio_within_rounds(_rates(blocks[id(again)]), _rates(measured[0]))
    device = pick_device(config.training.device)
    return Scaling(
        points=tuple(
            _point(count, state, own, measured[0], counts[0], steps)
            for count, state, own in zip(counts, ready, measured, strict=False)
        ),
        noise=Noise(_words(counts[0]), noise.median, noise.spread),
        rounds=rounds,
        steps=steps,
        batch_size=config.training.batch_size,
        norm=config.model.norm_call,
        norm_statistics=next((one.norm_statistics for one in ready if one.norm_statistics), ""),
        threads=torch.get_num_threads(),
        data=dataset.describe(),
        device=str(device),
        machine=device_name(device),
        torch=torch.__version__,
    )


def _words(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''}"


def _rates(blocks: Sequence[Sequence[Block]]) -> list[float]:
    """Return examples/s of each round: the slowest process ends it."""
    return [team[0].examples / max(block.seconds for block in team) for team in blocks]


def _point(
    count: int,
    ready: Ready,
    blocks: Sequence[Sequence[Block]],
    first: Sequence[Sequence[Block]],
    first_count: int,
    steps: int,
) -> ScalingPoint:
    rates = _rates(blocks)
    ratio = ratio_within_rounds(rates, _rates(first))
    least = [min(team, key=lambda block: block.waited) for team in blocks]
    return ScalingPoint(
        processes=count,
        threads=ready.threads,
        engine=ready.engine,
        in_one_call=ready.in_one_call,
        examples_per_second=statistics.median(rates),
        ratio=ratio.median,
        spread=ratio.spread,
        efficiency=ratio.median * first_count / count,
        summing_seconds=statistics.median(block.waited for block in least) / steps,
        summing_share=statistics.median(block.waited / block.seconds for block in least),
        calls=least[0].calls / steps,
        bytes=least[0].bytes / steps,
    )
