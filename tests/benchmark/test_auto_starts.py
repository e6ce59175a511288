"""Starts with auto and with each engine: whether auto was right, and what it cost."""

from typing import Any

import pytest
import torch

from bnrun.benchmark import auto_starts
from bnrun.benchmark.auto_starts import AutoBenchmark, Start, bench_auto, prepare_training
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.events import Stage, drain

CPU = torch.device("cpu")
WHY = "a step takes 4.2 ms compiled, 7.6 ms eager"


def _config(*overrides: str) -> Config:
    given = ["data.name=synthetic", "training.epochs=1", "training.device=cpu", *overrides]
    return resolve(None, [a for one in given for a in parse_override(one)]).config


def _start(
    auto: float, compiled: float, eager: float, chosen: str = "compiled", choosing: float = 0.3
) -> Start:
    return Start(auto, compiled, eager, choosing, chosen, WHY)


def _benchmark(*starts: Start) -> AutoBenchmark:
    return AutoBenchmark(
        config=_config().to_dict(),
        starts=starts,
        data=Dataset.describe(auto_starts.drain(auto_starts.load(_config().data))),
        device="cpu",
        machine="Some CPU",
        torch="2.15.0",
        compiling=2.0,
    )


def test_each_start_trains_all_three_in_another_order(
    small: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(config: Config) -> tuple[float, float, str, str]:
        engine = config.training.engine
        trained.append(engine)
        seconds = {"auto": 2.3, "compiled": 2.0, "eager": 5.0}[engine]
        return seconds, 0.3, "compiled", WHY if engine == "auto" else ""

    monkeypatch.setattr(auto_starts, "_train", train)
    monkeypatch.setattr(auto_starts, "measure_compilation", lambda: 2.5)
    stages: list[Stage] = []
    found = drain(bench_auto(_config(), small, CPU, 3), stages.append)
    assert trained == [
        *("auto", "compiled", "eager"),
        *("compiled", "eager", "auto"),
        *("eager", "auto", "compiled"),
    ]
    assert all(stage.done < stage.total == 9 for stage in stages)
    assert found.starts == (_start(2.3, 2.0, 5.0),) * 3
    assert (found.compiling, found.verdict) == (2.5, "right")


def test_auto_is_right_where_it_takes_the_faster_engine_and_saves_more_than_it_costs() -> None:
    found = _benchmark(_start(2.3, 2.0, 5.0), _start(2.4, 2.1, 4.9), _start(2.2, 2.0, 5.2))
    assert (found.faster, found.wrong_choices, found.losses) == ("compiled", 0, 0)
    assert found.saved == pytest.approx(2.7)
    assert (found.choosing, found.verdict) == (0.3, "right")
    document = found.to_dict()
    assert document["compiled_lead"] == pytest.approx(2.5)
    assert document["verdict"] == "right"


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([_start(5.1, 2.0, 5.0, "eager"), _start(2.3, 2.0, 5.0)], ("compiled", 1, 1, "slower")),
        ([_start(1.3, 2.0, 1.0, "eager")] * 2, ("eager", 0, 2, "costly")),
        ([_start(1.1, 1.0, 1.3), _start(1.1, 1.2, 1.0, "eager")], (None, 0, 1, "right")),
    ],
)
def test_a_slower_choice_and_a_cost_without_a_saving_are_said(
    starts: list[Start], expected: tuple[Any, ...]
) -> None:
    found = _benchmark(*starts)
    assert (found.faster, found.wrong_choices, found.losses, found.verdict) == expected


def test_a_training_says_what_was_chosen_and_how_long_that_took() -> None:
    run = prepare_training(_config("training.engine=eager", "data.images=256"))
    seconds, choosing, engine, why = run(None)
    assert 0 < choosing < seconds
    assert (engine, why) == ("eager", "")
