"""The engine is what was asked for; or, with auto, the faster one, where it pays to find out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnrun import kernels
from bnrun.config import Assignment, Config, resolve
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.errors import EngineError
from bnrun.events import CheckpointReady, RunStarted
from bnrun.training import engine as engines
from bnrun.training import train
from bnrun.training.engine import COMPILED, EAGER, choose, make_steps, running
from bnrun.training.step import build_model, build_optimizer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return synthetic()


def _config(**training: Any) -> Config:
    stated = {"batch_size": 100, "engine": "auto"} | training
    return resolve(
        None, [Assignment(f"training.{key}", value, "test") for key, value in stated.items()]
    ).config


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Say what timing comes to, and whether the kernels are compiled; return what was timed."""

    def say(
        eager: float,
        compiled: float,
        loss: float = 1.0,
        size: float = 1.0,
        *,
        in_cache: bool = True,
    ) -> list[str]:
        asked: list[str] = []

        def time(engine: engines.Engine, *_: object) -> engines._Timed:
            asked.append(engine.name)
            is_eager = engine.name == "eager"
            if is_eager:
                return engines._Timed(eager, [1.0], [1.0])
            return engines._Timed(compiled, [loss], [size])

        monkeypatch.setattr(engines, "_time", time)
        monkeypatch.setattr(kernels, "is_compiled", lambda: in_cache)
        monkeypatch.setattr(engines, "_check", lambda device: None)
        return asked

    return say


def test_auto_takes_the_faster_and_says_by_how_much(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    timed(0.0076, 0.0042)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert chosen.name == "compiled"
    assert chosen.why == "a step takes 4.2 ms compiled, 7.6 ms eager"
    timed(0.004, 0.005)
    assert choose(_config(), data, CPU, epochs=10).name == "eager"


def test_auto_measures_nothing_where_the_run_ends_before_it_would_have_paid(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    asked = timed(0.0076, 0.0042)
    assert choose(_config(), data, CPU, epochs=4) == EAGER
    assert asked == []


def test_auto_compiles_only_for_a_run_that_is_long_enough(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    asked = timed(0.010, 0.001, in_cache=False)
    chosen = choose(_config(), data, CPU, epochs=10)  # 400 steps, 4 s in all
    assert (chosen.name, asked) == ("eager", ["eager"])
    assert chosen.why == "compiling would take longer than it saves in this run"
    assert choose(_config(), data, CPU, epochs=100).name == "compiled"


def test_auto_does_not_take_what_comes_to_other_losses(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    timed(0.0076, 0.0042, loss=1.01)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert chosen.name == "eager"
    assert chosen.why == "compiled steps of this model do not come to the same"
    timed(0.0076, 0.0042, loss=1.0001)  # rounding, grown in a few steps
    assert choose(_config(), data, CPU, epochs=10).name == "compiled"
    timed(0.0076, 0.0042, size=0.7)  # moving statistics that were left behind
    assert choose(_config(), data, CPU, epochs=10).name == "eager"
    timed(0.0076, 0.0042, loss=float("nan"))
    assert choose(_config(), data, CPU, epochs=10).name == "eager"


def test_a_deterministic_run_leaves_nothing_to_a_measurement(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    asked = timed(0.0076, 0.0042)
    chosen = choose(_config(deterministic=True), data, CPU, epochs=10)
    assert (chosen.name, asked) == ("eager", [])
    assert "training.deterministic" in chosen.why


def test_where_nothing_can_be_compiled_auto_says_why_and_compiled_is_refused(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> bool:
        raise EngineError("training.engine: there is no c++. apt install g++.")

    monkeypatch.setattr(kernels, "is_compiled", none)
    monkeypatch.setattr(kernels, "enabled", none)
    chosen = choose(_config(), data, CPU, epochs=10)
    assert (chosen.name, chosen.why) == ("eager", "there is no c++. apt install g++.")
    with pytest.raises(EngineError, match=r"no c\+\+"):
        choose(_config(engine="compiled"), data, CPU, epochs=1)


def test_on_mps_there_is_eager_alone(data: Dataset) -> None:
    with pytest.raises(EngineError, match="on mps there is eager"):
        choose(_config(engine="compiled"), data, torch.device("mps"), epochs=1)


def test_what_is_asked_for_is_taken_unmeasured(
    data: Dataset, timed: Callable[..., list[str]]
) -> None:
    asked = timed(0.0076, 0.0042)
    assert choose(_config(engine="eager"), data, CPU, epochs=100) == EAGER
    assert choose(_config(engine="compiled"), data, CPU, epochs=1) == COMPILED
    assert asked == []


def test_a_real_measurement_changes_nothing_of_the_run(data: Dataset) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    chosen = choose(_config(batch_size=64), data, CPU, epochs=4)
    assert chosen.why
    assert torch.equal(torch.get_rng_state(), before)


def test_a_norm_that_raises_is_left_for_training_to_tell(
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
    stated = [
        Assignment("model.norm", f"{tmp_path}/mine.py:Raises", "test"),
        Assignment("training.batch_size", 64, "test"),
    ]
    assert choose(resolve(None, stated).config, data, CPU, epochs=10) == EAGER


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


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_both_engines_train_the_same_network(data: Dataset, activation: str, pool: str) -> None:
    """Twenty steps, the tenth and twentieth of an odd size; and what the two predict.

    Gentle ones: what rounding puts on the other side of a ReLU's 0 has another gradient.
    """
    stated = [
        Assignment("model.activation", activation, "test"),
        Assignment("model.pool", pool, "test"),
        Assignment("optimizer.lr", 0.0005, "test"),
    ]
    config = resolve(None, stated).config
    train_split = Split(data.train.images[:617], data.train.labels[:617])
    found = []
    try:
        for engine in (EAGER, COMPILED):
            model = build_model(config)
            steps = make_steps(engine, model, build_optimizer(config, model), train_split, 64)
            losses = []
            with running(engine, CPU):
                for _ in range(2):
                    steps.begin(torch.arange(617))
                    for step in range(10):
                        steps.fetch(step)
                        steps.take(step)
                    losses += steps.losses.tolist()
                model.eval()
                with torch.no_grad():
                    logits = model(data.test.images[:100].float() / 255)
            found.append((torch.tensor(losses), logits, model.state_dict()))
    except EngineError as error:
        pytest.skip(str(error))
    eager, compiled = found
    torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-3)
