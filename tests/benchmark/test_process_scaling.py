"""How a training scales with its processes: teams in turns, ratios within a round."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from bnrun.benchmark import process_scaling
from bnrun.benchmark.process_scaling import (
    Block,
    Ready,
    Scaling,
    ScalingMember,
    bench_processes,
)
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.events import Stage, drain
from bnrun.processes import Processes

RATES = {1: 10_000.0, 2: 15_000.0, 4: 20_000.0}


@pytest.fixture(scope="module")
def config() -> Config:
    texts = ("data.name=synthetic", "training.batch_size=32", "training.engine=eager")
    return resolve(None, [one for text in texts for one in parse_override(text)]).config


class FakeTeam:
    """Stands in for a team: it is twice as fast in every second round; the last member is slow."""

    log: list[tuple[str, str]]

    def __init__(self, name: str, size: int, build: object, *_: Any, records: Any) -> None:
        assert build is ScalingMember
        self.name, self.size, self.turns = name, size, 0

    def begin(self) -> None:
        self.log.append((self.name, "begun"))

    def wait_until_ready(self) -> None:
        self.log.append((self.name, "ready"))

    def end(self) -> None:
        self.log.append((self.name, "ended"))

    def ask(self, method: str, *arguments: int) -> Sequence[object]:
        self.log.append((self.name, method))
        if method == "ready":
            is_one = self.size == 1
            return [Ready("compiled", 1, is_one, "" if is_one else "synced")] * self.size
        self.turns += 1
        seconds = 32 * arguments[0] / RATES[self.size] / (1 + self.turns % 2)
        fast = Block(32 * arguments[0], seconds * 0.9, 0.0 if self.size == 1 else 0.4, 45, 9_000)
        return [fast] * (self.size - 1) + [Block(fast.examples, seconds, 0.1 * seconds, 45, 9_000)]


@pytest.fixture
def scaling(config: Config, small: Dataset, monkeypatch: pytest.MonkeyPatch) -> Scaling:
    FakeTeam.log = []
    monkeypatch.setattr(process_scaling, "Team", FakeTeam)
    stages: list[Stage] = []
    found = drain(bench_processes(config, small, [1, 2, 4], 5, 4), stages.append)
    assert all(stage.done <= stage.total for stage in stages)
    return found


def test_ratios_are_of_the_slowest_process_and_within_rounds(scaling: Scaling) -> None:
    assert [point.ratio for point in scaling.points] == [1.0, 1.5, 2.0]
    assert [point.efficiency for point in scaling.points] == [1.0, 0.75, 0.5]
    assert [point.examples_per_second for point in scaling.points] == [15_000, 22_500, 30_000]
    assert scaling.noise.ratio == 1
    assert scaling.norm_statistics == "synced"


def test_time_in_sums_is_that_of_the_process_that_waits_least(scaling: Scaling) -> None:
    two = scaling.points[1]
    assert two.summing_share == pytest.approx(0.1)
    assert (two.calls, two.bytes) == (9, 1_800)


def test_teams_take_turns_and_every_second_round_runs_backwards(scaling: Scaling) -> None:
    timed = [name for name, what in FakeTeam.log if what == "block"]
    there = ["1 process", "2 processes", "4 processes", "1 process"]
    assert timed == [*there, *reversed(there)] * 2
    assert [what for _, what in FakeTeam.log[-4:]] == ["ended"] * 4


def test_the_document_says_what_to_know(scaling: Scaling) -> None:
    document = scaling.to_dict()
    assert [point["processes"] for point in document["points"]] == [1, 2, 4]
    one_call, *crowded, best = document["remarks"]
    assert one_call.startswith("One process takes a step in one call of a kernel.")
    assert len(crowded) == (torch.get_num_threads() < 4)
    assert best == "The fastest here: 4 processes."


def test_a_member_counts_its_steps_and_what_it_sends(config: Config) -> None:
    member = ScalingMember(Processes(), config)
    assert member.ready() == Ready("eager", torch.get_num_threads(), False, "")
    block = member.block(3)
    assert (block.examples, block.calls, block.bytes, block.waited) == (96, 0, 0, 0)
    assert block.seconds > 0
