"""A stepper takes the steps of one training, and leaves nothing switched on between them."""

from pathlib import Path

import pytest
import torch

from bnrun import kernels
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset, Split
from bnrun.data.synthetic import synthetic
from bnrun.errors import EngineError, TrainingFailed
from bnrun.norms.population import predicting
from bnrun.training.engine import COMPILED, EAGER, Engine
from bnrun.training.optimizer import SGD
from bnrun.training.stepper import Stepper

NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(num_features))

    def forward(self, x):
        return x + 0.01 * torch.randn_like(x) * self.weight.sum()
"""


def _config(*overrides: str) -> Config:
    return resolve(None, [a for text in overrides for a in parse_override(text)]).config


@pytest.fixture
def compiled() -> None:
    try:
        kernels.is_compiled()
    except EngineError as error:
        pytest.skip(str(error))


def test_batches_sizes_and_rates_continue_from_epoch_to_epoch(small: Dataset) -> None:
    config = _config("training.batch_size=128", "optimizer.schedule=one-cycle", "training.epochs=2")
    stepper = Stepper(config, small.train)
    sizes, rates = [], []
    for _ in range(7):  # one beyond the run's end, as a measurement may go
        sizes.append(stepper.step()[1])
        rates.append(stepper.optimizer.lr)
    assert sizes == [128, 128, 44, 128, 128, 44, 128]
    assert len(set(rates[:6])) == 6
    assert rates[6] == rates[5]
    assert stepper.steps_taken == 7


@pytest.mark.parametrize("deterministic", ["true", "false"])
@pytest.mark.parametrize("engine", [EAGER, COMPILED], ids=["eager", "compiled"])
def test_nothing_is_switched_on_outside_computing(
    small: Dataset, compiled: None, engine: Engine, deterministic: str
) -> None:
    config = _config("training.batch_size=32", f"training.deterministic={deterministic}")
    torch.manual_seed(7)
    random_state = torch.get_rng_state()
    stepper = Stepper(config, small.train, engine=engine)
    with stepper.computing():
        with stepper.computing():  # a block inside another changes nothing
            stepper.step()
        assert kernels.is_enabled() == (engine is COMPILED)
        assert torch.are_deterministic_algorithms_enabled() == (deterministic == "true")
    assert not kernels.is_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), random_state)


def test_eager_steps_call_no_kernels_inside_a_block_that_enables_them(
    small: Dataset, compiled: None
) -> None:
    stepper = Stepper(_config("training.batch_size=32"), small.train)
    with kernels.enabled():
        stepper.step()
        with stepper.computing():
            assert not kernels.is_enabled()
        assert kernels.is_enabled()


def test_a_layers_random_numbers_are_its_trainings_own(small: Dataset, tmp_path: Path) -> None:
    """They depend on the seed alone, whatever the process draws in between."""
    (tmp_path / "noisy.py").write_text(NOISY)
    config = _config(f"model.norm={tmp_path}/noisy.py:Noisy", "training.batch_size=32")
    losses: list[list[float]] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        stepper = Stepper(config, small.train)
        losses.append([])
        for _ in range(5):
            losses[-1].append(float(stepper.step()[0]))
            torch.rand(seed)
    assert losses[0] == losses[1]


def test_a_model_that_raises_names_the_training_and_the_step(small: Dataset) -> None:
    stepper = Stepper(_config("training.batch_size=299"), small.train, name="arm mine")
    stepper.step()
    with pytest.raises(
        TrainingFailed, match="^arm mine, epoch 1, step 2 of 2, a batch of 1: Value"
    ):
        stepper.step()


def test_a_train_method_of_the_users_own_that_raises_is_a_failed_training(
    small: Dataset, tmp_path: Path
) -> None:
    source = "from torch import nn\nclass Own(nn.Identity):\n    def train(self): ...\n"
    (tmp_path / "own.py").write_text(source)
    stepper = Stepper(_config(f"model.norm={tmp_path}/own.py:Own"), small.train)
    with pytest.raises(TrainingFailed, match="^epoch 1: TypeError: .*train"):
        stepper.step()


def test_parameters_without_a_shape_are_a_failed_training(small: Dataset, tmp_path: Path) -> None:
    (tmp_path / "lazy.py").write_text(
        "from torch import nn\n"
        "class Lazy(nn.LazyBatchNorm2d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__()\n"
    )
    config = _config(f"model.norm={tmp_path}/lazy.py:Lazy", "optimizer.momentum=0.9")
    with pytest.raises(TrainingFailed, match="before the first step: ValueError: .*uninitialized"):
        Stepper(config, small.train)


def test_a_captured_state_continues_at_the_same_bits(small: Dataset) -> None:
    config = _config("training.batch_size=100", "optimizer.momentum=0.9")
    stepper = Stepper(config, small.train)
    for _ in range(3):
        stepper.step()
    state = stepper.capture()
    expected = [float(stepper.step()[0]) for _ in range(3)]
    other = Stepper(config, small.train)
    other.restore(state, epochs=1)
    assert [float(other.step()[0]) for _ in range(3)] == expected


def test_both_engines_compute_pieces_dropout_and_a_norm_after_the_activation(
    small: Dataset, compiled: None
) -> None:
    config = _config(
        "model={norm_places: [1, 3], norm_position: after, dropout: 0.2}",
        "training={batch_size: 64, norm_batch: 20}",
        "optimizer.lr=0.01",
    )
    losses, calls = [], []
    for engine in (EAGER, COMPILED):
        stepper, before = Stepper(config, small.train, engine=engine), kernels.calls()
        losses.append([float(stepper.step()[0]) for _ in range(3)])
        calls.append(kernels.calls() - before)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    norms = 2 * 2 * 2  # at two places, three pieces at once and the rest, forward and backward
    assert calls[0] == 0
    assert calls[1] > 3 * norms
    assert stepper.model.norm3.num_batches_tracked == 3 * 4


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_both_engines_train_the_same_network(compiled: None, activation: str, pool: str) -> None:
    """Twenty steps, the tenth and twentieth on a smaller batch; and what the two predict.

    The learning rate is small: an input that rounding moves across a ReLU's 0 has another gradient.
    """
    config = _config(
        f"model={{activation: {activation}, pool: {pool}}}",
        "optimizer.lr=0.0005",
        "training.batch_size=32",
    )
    data = synthetic()
    train = Split(data.train.images[:305], data.train.labels[:305])
    results = []
    for engine in (EAGER, COMPILED):
        stepper = Stepper(config, train, engine=engine)
        with stepper.computing():
            losses = [float(stepper.step()[0]) for _ in range(20)]
            with predicting(stepper.model):
                logits = stepper.model(data.test.images[:100].float() / 255)
        results.append((torch.tensor(losses), logits, stepper.model.state_dict()))
    eager, fast = results
    torch.testing.assert_close(fast, eager, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("norm", "engine", "dtype", "expected"),
    [
        ("scratch", COMPILED, None, True),
        ("none", COMPILED, None, True),
        ("builtin", COMPILED, None, False),
        ("scratch", EAGER, None, False),
        ("scratch", COMPILED, torch.float64, False),
    ],
)
def test_a_step_is_in_one_call_where_it_says_so(
    compiled: None,
    small: Dataset,
    norm: str,
    engine: Engine,
    dtype: torch.dtype | None,
    expected: bool,
) -> None:
    stepper = Stepper(_config(f"model.norm={norm}"), small.train, engine=engine, dtype=dtype)
    assert stepper.is_in_one_call == expected
    before = kernels.calls()
    stepper.step()
    assert (kernels.calls() - before == 1) == (expected or dtype is not None)  # or the batch alone


def test_a_hook_is_called_from_the_next_block_of_computing_on(
    compiled: None, small: Dataset
) -> None:
    stepper = Stepper(_config(), small.train, engine=COMPILED)
    stepper.step()
    called: list[int] = []
    stepper.model.norm2.register_forward_hook(lambda *_: called.append(1))
    stepper.step()
    assert called == [1]
    assert stepper.model.conv1.weight.grad is not None  # the layers were called


def test_phases_of_a_step_in_one_call_are_those_of_its_layers(
    compiled: None, small: Dataset
) -> None:
    """Both ways to the same weights, and neither leaves old gradients to the other."""
    whole, parts = (Stepper(_config(), small.train, engine=COMPILED) for _ in range(2))
    phases: list[str] = []
    for _ in range(3):
        whole.step()
        with parts.computing():
            parts.fetch()
            parts.take(phases.append)
    assert phases == ["forward", "backward", "optimizer"] * 3
    torch.testing.assert_close(whole.losses, parts.losses)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert all(p.grad is None for p in whole.model.parameters())


def test_a_hook_that_an_epoch_finds_is_called_also_inside_a_block(
    compiled: None, small: Dataset
) -> None:
    stepper = Stepper(_config("training.batch_size=128"), small.train, engine=COMPILED)
    called: list[int] = []
    with stepper.computing():
        for _ in range(stepper.steps_per_epoch):
            stepper.step()
        stepper.model.conv2.register_forward_hook(lambda *_: called.append(1))
        stepper.step()
    assert called == [1]


@pytest.mark.parametrize("change", ["class", "attribute"])
def test_an_optimizer_with_a_step_of_its_own_takes_it(
    compiled: None, small: Dataset, change: str
) -> None:
    class Counting(SGD):
        def step(self) -> None:
            steps.append(1)

    steps: list[int] = []
    stepper = Stepper(_config(), small.train, engine=COMPILED)
    if change == "class":
        stepper.optimizer = Counting(stepper.model.parameters(), 0.1)
    else:
        stepper.optimizer.step = lambda: steps.append(1)  # type: ignore[method-assign]
    stepper.step()
    assert steps == [1]


def test_a_batch_of_one_image_calls_the_layers(compiled: None) -> None:
    images = synthetic().train.take(torch.arange(9))
    stepper = Stepper(_config("training.batch_size=8", "model.norm=none"), images, engine=COMPILED)
    with stepper.computing():
        ways = []
        for _ in range(2):
            stepper.fetch()
            ways.append(stepper.calls_layers)
            stepper.take()
    assert ways == [False, True]
