"""The engine is the one that is named; with auto, the faster one, where measuring is repaid."""

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bnrun import kernels
from bnrun.config import Assignment, Config, resolve
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.errors import EngineError
from bnrun.events import CheckpointReady, RunStarted
from bnrun.training import engine_choice, train
from bnrun.training.engine import COMPILED, EAGER, Engine
from bnrun.training.engine_choice import choose, describe_choice

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return synthetic()


def _config(**training: Any) -> Config:
    settings = {"batch_size": 100, "engine": "auto"} | training
    return resolve(
        None, [Assignment(f"training.{key}", value, "test") for key, value in settings.items()]
    ).config


class _Clock:
    """A clock that a step moves on by what its engine takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Set what steps take, and whether the kernels are compiled; return what is measured.

    Several seconds of an engine are those of its steps in turn, again and again.
    """

    def set_result(
        eager: float | list[float],
        compiled: float | list[float],
        loss: float = 1.0,
        size: float = 1.0,
        *,
        in_cache: bool = True,
    ) -> list[str]:
        measured: list[str] = []
        clock = _Clock()

        class Steps:
            def __init__(self, *_: object, engine: Engine, name: str, processes: object) -> None:
                measured.append(engine.name)
                is_eager = engine.name == "eager"
                seconds = eager if is_eager else compiled
                self.seconds = itertools.cycle(seconds if isinstance(seconds, list) else [seconds])
                self.loss = torch.tensor(1.0 if is_eager else loss)
                self.model = nn.BatchNorm1d(1)
                self.model.running_mean = torch.tensor([1.0 if is_eager else size])

            def computing(self) -> contextlib.AbstractContextManager[None]:
                return contextlib.nullcontext()

            def step(self) -> tuple[torch.Tensor, int]:
                measured.append("a step")
                clock.now += next(self.seconds)
                return self.loss, 100

        monkeypatch.setattr(engine_choice, "Stepper", Steps)
        monkeypatch.setattr(engine_choice, "time", clock)
        monkeypatch.setattr(kernels, "is_compiled", lambda: in_cache)
        monkeypatch.setattr(engine_choice, "_require_compiled", lambda device: None)
        return measured

    return set_result


def test_auto_takes_the_faster_engine_and_says_by_how_much(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    timed(0.0076, 0.0042)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert chosen.name == "compiled"
    assert chosen.why == "a step takes 4.2 ms compiled, 7.6 ms eager"
    timed(0.004, 0.005)
    assert choose(_config(), data, CPU, epochs=10).name == "eager"


def test_a_lead_of_eager_within_the_noise_is_a_tie_and_a_tie_is_compiled(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    timed([0.024, 0.060, 0.045], [0.026, 0.070, 0.050])  # a busy machine
    chosen = choose(_config(), data, CPU, epochs=10)
    assert chosen.name == "compiled"
    assert chosen.why == "a step takes 26 ms compiled, 24 ms eager, the same within the noise"
    timed([0.0200, 0.0201, 0.060], [0.026, 0.027, 0.070])  # spikes hide no clear lead
    assert choose(_config(), data, CPU, epochs=10).name == "eager"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00042, "0.42 ms"), (0.00997, "10 ms"), (0.249, "250 ms"), (1.23, "1,200 ms")],
)
def test_times_have_one_notation(
    data: Dataset, timed: Callable[..., list[str]], seconds: float, text: str
) -> None:
    timed(seconds, 0.005)
    assert choose(_config(), data, CPU, epochs=10).why.endswith(f"compiled, {text} eager")


@pytest.mark.parametrize(
    ("engine", "in_cache", "text"),
    [
        ("auto", False, "compiling the kernels"),
        ("auto", True, "choosing the engine"),
        ("eager", False, "choosing the engine"),
    ],
)
def test_it_is_said_that_kernels_are_compiled_where_they_are(
    timed: Callable[..., list[str]], engine: str, in_cache: bool, text: str
) -> None:
    timed(0.0, 0.0, in_cache=in_cache)
    assert describe_choice(_config(engine=engine), CPU) == text


def test_auto_measures_nothing_where_the_run_is_too_short_to_repay_it(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    measured = timed(0.0076, 0.0042)
    assert choose(_config(), data, CPU, epochs=1) == EAGER  # 41 steps
    assert measured == []
    assert choose(_config(), data, CPU, epochs=2).name == "compiled"


@pytest.mark.parametrize(
    ("compiled", "epochs", "steps"),
    [
        pytest.param(0.004, 10, 10, id="a clear lead"),
        pytest.param(0.007, 10, 22, id="a small lead"),
        pytest.param(0.007, 3, 14, id="a small lead in a short run"),
    ],
)
def test_engines_alternate_only_where_that_may_change_the_choice_and_the_run_is_long(
    data: Dataset, timed: Callable[..., list[str]], compiled: float, epochs: int, steps: int
) -> None:
    measured = timed(0.0076, compiled)
    assert choose(_config(), data, CPU, epochs=epochs).name == "compiled"
    assert measured.count("a step") == steps


def test_auto_compiles_only_for_a_run_that_is_long_enough(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    measured = timed(0.010, 0.001, in_cache=False)
    chosen = choose(_config(), data, CPU, epochs=10)  # 400 steps, 4 s in all
    assert (chosen.name, "compiled" in measured) == ("eager", False)
    assert chosen.why == "compiling would take longer than it saves in this run"
    assert choose(_config(), data, CPU, epochs=100).name == "compiled"


def test_auto_does_not_take_an_engine_that_computes_something_else(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    timed(0.0076, 0.0042, loss=1.01)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert chosen.name == "eager"
    assert chosen.why == "compiled steps of this model compute something else"
    timed(0.0076, 0.0042, loss=1.0001)  # rounding, grown in a few steps
    assert choose(_config(), data, CPU, epochs=10).name == "compiled"
    timed(0.0076, 0.0042, size=0.7)  # moving statistics that were left behind
    assert choose(_config(), data, CPU, epochs=10).name == "eager"
    timed(0.0076, 0.0042, loss=float("nan"))
    assert choose(_config(), data, CPU, epochs=10).name == "eager"


def test_a_deterministic_run_leaves_nothing_to_a_measurement(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    measured = timed(0.0076, 0.0042)
    chosen = choose(_config(deterministic=True), data, CPU, epochs=10)
    assert (chosen.name, measured) == ("eager", [])
    assert "training.deterministic" in chosen.why


def test_where_nothing_can_be_compiled_auto_says_why_and_compiled_is_refused(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> bool:
        raise EngineError("there is no c++. apt install g++.", "training.engine")

    monkeypatch.setattr(kernels, "is_compiled", none)
    monkeypatch.setattr(kernels, "enabled", none)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert (chosen.name, chosen.why) == ("eager", "there is no c++. apt install g++.")
    with pytest.raises(EngineError, match=r"no c\+\+"):
        choose(_config(engine="compiled"), data, CPU, epochs=1)


def test_compiled_is_refused_on_mps(data: Dataset) -> None:
    with pytest.raises(EngineError, match="training.engine: .*on mps, take eager"):
        choose(_config(engine="compiled"), data, torch.device("mps"), epochs=1)


def test_a_named_engine_is_taken_without_measuring(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    measured = timed(0.0076, 0.0042)
    assert choose(_config(engine="eager"), data, CPU, epochs=100) == EAGER
    assert choose(_config(engine="compiled"), data, CPU, epochs=1) == COMPILED
    assert measured == []


def test_a_real_measurement_changes_nothing_of_the_run(data: Dataset) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    chosen = choose(_config(batch_size=64), data, CPU, epochs=4)
    assert chosen.why
    assert torch.equal(torch.get_rng_state(), before)


def test_auto_leaves_it_to_training_to_report_a_norm_that_raises(
    data: Dataset, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "is_compiled", lambda: True)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Raises(nn.Module):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__()\n"
        "    def forward(self, x):\n"
        "        raise ValueError('mine')\n"
    )
    overrides = [
        Assignment("model.norm", f"{tmp_path}/mine.py:Raises", "test"),
        Assignment("training.batch_size", 64, "test"),
    ]
    assert choose(resolve(None, overrides).config, data, CPU, epochs=10) == EAGER


def test_a_resumed_run_keeps_its_engine(data: Dataset) -> None:
    small = Dataset(
        Split(data.train.images[:200], data.train.labels[:200]), data.test, "synthetic", "", None
    )
    try:
        events = list(train(_config(engine="compiled", epochs=1), small, CPU))
    except EngineError as error:
        pytest.skip(str(error))
    (state,) = (event.state for event in events if isinstance(event, CheckpointReady))
    resumed = next(iter(train(_config(epochs=2), small, CPU, state)))
    assert isinstance(resumed, RunStarted)
    assert resumed.engine == "compiled"
