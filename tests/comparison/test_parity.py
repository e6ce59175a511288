"""Parity distinguishes the same function from another, whatever its parts are called and run on."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnrun import kernels
from bnrun.comparison import parity
from bnrun.comparison.arms import Arm
from bnrun.comparison.parity import STEPS, compare_formulas, measure_parity
from bnrun.comparison.parity_verdict import KINDS, Agreement, Parity
from bnrun.data.dataset import Dataset
from bnrun.kernels import dispatch
from bnrun.training.stepper import Stepper

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")
ROUNDING = 1e-10
FEW_STEPS = 3

NORMS = '''
import torch
from torch import nn
from torch.nn import functional as F

class Wrapped(nn.Module):
    """PyTorch's layer inside another module."""
    def __init__(self, n, num_dims):
        super().__init__()
        self.bn = nn.BatchNorm1d(n) if num_dims == 2 else nn.BatchNorm2d(n)
    def forward(self, x):
        return self.bn(x)

class Eps(nn.Module):
    """PyTorch's layer with another eps."""
    def __init__(self, n, num_dims):
        super().__init__()
        self.bn = (nn.BatchNorm1d if num_dims == 2 else nn.BatchNorm2d)(n, eps=1e-3)
    def forward(self, x):
        return self.bn(x)

class NanVar(Wrapped):
    """Spoils its moving variance."""
    def forward(self, x):
        y = self.bn(x)
        if self.training:
            self.bn.running_var = self.bn.running_var * float("nan")
        return y

class NanOut(Wrapped):
    def forward(self, x):
        return self.bn(x) * float("nan")

class NanGradient(Wrapped):
    def forward(self, x):
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * float("nan"))
        return self.bn(x)

class Doubles(Wrapped):
    """Right in training, and twice as much in prediction."""
    def forward(self, x):
        return self.bn(x) if self.training else 2 * self.bn(x)

class Plain(nn.Module):
    """Its moving statistics are plain attributes, moved in place; its gamma starts at random."""
    def __init__(self, n):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(n) + 0.5)
        self.beta = nn.Parameter(torch.zeros(n))
        self.moving_mean, self.moving_var = torch.zeros(n), torch.ones(n)
    def forward(self, x):
        return F.batch_norm(
            x, self.moving_mean, self.moving_var, self.gamma, self.beta, self.training
        )

class GivesUp(Wrapped):
    """Raises after eight batches."""
    seen = 0
    def forward(self, x):
        GivesUp.seen += 1
        if GivesUp.seen > 8:
            raise ValueError("enough")
        return self.bn(x)
'''


@pytest.fixture
def norms(tmp_path: Path) -> Path:
    (tmp_path / "norms.py").write_text(NORMS)
    return tmp_path / "norms.py"


@pytest.fixture(autouse=True)
def few_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare over few steps, which is cheap, where a test does not ask for all."""
    if "all_steps" not in request.fixturenames:
        monkeypatch.setattr(parity, "STEPS", FEW_STEPS)


@pytest.fixture
def all_steps() -> None:
    """Compare over as many steps as a comparison does."""


def _parity(arms: tuple[Arm, ...], data: Dataset) -> Parity:
    return measure_parity(arms[0], arms[1], data, CPU)


def _exact(arms: tuple[Arm, ...], data: Dataset) -> Agreement:
    return compare_formulas(arms[0], arms[1], data, CPU)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_scratch_and_builtin_are_the_same_function(
    small: Dataset, arms_of: Arms, all_steps: None, pool: str
) -> None:
    exact = _exact(arms_of(f"a=scratch,model.pool={pool}", f"b=builtin,model.pool={pool}"), small)
    assert (exact.dtype, exact.steps, exact.engines) == ("float64", STEPS, ("eager", "eager"))
    assert exact.differences().keys() == KINDS.keys()
    assert max(exact.differences().values()) < ROUNDING


@pytest.mark.parametrize("network", ["", ",model={pool: max, activation: relu}"])
def test_what_trains_is_compared_in_single_steps_on_the_arms_own_engines(
    small: Dataset, arms_of: Arms, all_steps: None, compilable: None, network: str
) -> None:
    """Also with ReLU and maxima, where rounding grows over the steps into any difference."""
    arms = arms_of(
        f"a=scratch,training.engine=compiled{network}", f"b=builtin,training.engine=eager{network}"
    )
    before = kernels.calls()
    found = _parity(arms, small)
    trained = found.as_trained
    assert kernels.calls() > before
    assert (found.first, found.arm) == ("a", "b")
    assert trained is not None
    assert (trained.dtype, trained.steps, trained.per_step) == ("float32", STEPS, True)
    assert trained.engines == ("compiled", "eager")
    assert min(trained.differences().values()) > 0  # it is other code
    assert trained.beyond_rounding() == {}
    assert found.verdict == "same function"
    assert found.is_complete


def _scale(values: torch.Tensor) -> None:
    values.data.mul_(1.01)


def _set(arguments: list[Any], place: int, value: float) -> None:
    arguments[place] = value


KERNEL_FAULTS: dict[str, tuple[str, Callable[[list[Any]], None]]] = {
    "another eps": ("lenet_step", lambda a: a[7][1::2].fill_(1e-3)),
    "a moving variance 1 % off": ("lenet_step", lambda a: _scale(a[6][1])),
    "steps 1 % too long": ("lenet_step", lambda a: _set(a, 10, 1.01 * a[10])),
    "a weight 1 % off": ("lenet_step", lambda a: _scale(a[5][0])),
    "predictions 1 % off": ("lenet_prediction", lambda a: _scale(a[7])),
}
"""Each fault: the kernel that has it, and what it does to the arguments of a call."""


@pytest.mark.parametrize("network", ["", ",model={pool: max, activation: relu}"])
@pytest.mark.parametrize("fault", KERNEL_FAULTS)
def test_a_kernel_that_computes_wrongly_is_caught_where_the_formulas_agree(
    small: Dataset,
    arms_of: Arms,
    compilable: None,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    network: str,
) -> None:
    kernel, spoil = KERNEL_FAULTS[fault]

    def call_wrongly(name: str, *arguments: Any) -> None:
        given = list(arguments)
        is_input = fault in ("another eps", "steps 1 % too long")
        if name == kernel and is_input:
            spoil(given)
        dispatch.call(name, *given)
        if name == kernel and not is_input:
            spoil(given)

    for module in ("lenet", "lenet_step"):
        found = importlib.import_module(f"bnrun.kernels.{module}")
        monkeypatch.setattr(found, "call", call_wrongly)
    monkeypatch.setattr(parity, "STEPS", 2)  # more could only show more
    arms = arms_of(*(f"{n}={n},training.engine=compiled{network}" for n in ("scratch", "builtin")))
    found = _parity(arms, small)
    assert max(found.exact.differences().values()) < ROUNDING
    assert found.verdict == "same function in float64 only"
    assert "is not the same function" in found.sentence


def test_examples_normalized_together_are_part_of_the_function(
    small: Dataset, arms_of: Arms
) -> None:
    whole, in_pieces = arms_of("a=scratch", "b=scratch,training.norm_batch=16")
    assert not in_pieces.has_network_of(whole)
    found = _exact((whole, in_pieces), small)
    assert found.loss is not None
    assert found.loss > ROUNDING


def test_an_arm_is_at_parity_with_itself_to_the_bit(small: Dataset, arms_of: Arms) -> None:
    found = _parity(arms_of("a=scratch", "b=scratch"), small)
    for measurement in (found.exact, found.as_trained):
        assert measurement is not None
        assert set(measurement.differences().values()) == {0.0}


def test_the_textbook_trains_alike_but_keeps_another_moving_variance(
    small: Dataset, arms_of: Arms
) -> None:
    found = _parity(arms_of("builtin", "textbook"), small)
    exact = found.exact.differences()
    assert exact["loss"] < ROUNDING
    assert exact["weight"] < ROUNDING  # its gamma and beta are compared, too
    assert exact["moving"] > 1e-4  # biased
    assert found.verdict == "same function in training only"


def test_a_wrapped_layer_is_compared_part_by_part(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _exact(arms_of("builtin", f"w={norms}:Wrapped"), small)
    assert (found.moving, found.weight) == (0.0, 0.0)


def test_another_eps_is_another_function(small: Dataset, arms_of: Arms, norms: Path) -> None:
    found = _parity(arms_of("builtin", f"e={norms}:Eps"), small)
    assert found.exact.differences()["loss"] > 1e-6
    assert found.as_trained is not None
    assert found.as_trained.beyond_rounding().keys() == KINDS.keys()
    assert found.verdict == "different functions"


def test_no_norm_has_no_moving_statistics_to_compare(small: Dataset, arms_of: Arms) -> None:
    found = _exact(arms_of("scratch", "none"), small)
    assert found.moving is None
    assert found.differences()["loss"] > 0.01


def test_an_arm_that_raises_is_reported_with_the_steps_before_it(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _exact(arms_of("builtin", f"g={norms}:GivesUp"), small)
    assert found.steps == 2  # four norms a step
    assert found.loss == 0.0
    assert found.error is not None
    assert "arm g, epoch 1, step 3 of 10, a batch of 32: ValueError: enough" in found.error
    assert "norms.py:" in found.error  # the user's own line


def test_what_is_not_finite_ends_it_and_is_named(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _exact(arms_of("builtin", f"n={norms}:NanVar"), small)
    assert found.error == "norm1 moving_var is no longer finite"
    assert found.steps == 0
    found = _exact(arms_of("builtin", f"i={norms}:NanOut"), small)
    assert found.error == "the loss of arm i became nan at step 1"
    found = _exact(arms_of("builtin", f"g={norms}:NanGradient"), small)
    assert found.error == "conv1 weight is no longer finite"


def test_a_layer_that_trains_right_and_predicts_wrong_is_caught(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _exact(arms_of("builtin", f"d={norms}:Doubles"), small)
    assert (found.loss, found.moving) == (0.0, 0.0)
    assert found.differences()["prediction"] > 0.01


def test_another_optimizer_or_batch_size_is_the_same_function(
    small: Dataset, arms_of: Arms
) -> None:
    wild = "b=builtin,optimizer.lr=50,optimizer.momentum=0.9,training.batch_size=17"
    found = _parity(arms_of("scratch", wild), small)
    assert found.exact.differences()["prediction"] < ROUNDING
    assert found.verdict == "same function"


def test_both_start_from_one_state_and_attributes_are_widened(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    """A gamma that starts elsewhere is no other function, nor are statistics kept in float32."""
    found = _exact(arms_of("builtin", f"p={norms}:Plain"), small)
    assert max(found.differences().values()) < ROUNDING
    assert found.error is None


def test_a_loss_in_float64_is_not_rounded_to_float32(small: Dataset, arms_of: Arms) -> None:
    """Else two arms' losses would agree where they do not."""
    arm, _ = arms_of("scratch", "none")
    loss, count = Stepper(arm.config, small.train, dtype=torch.float64).step()
    assert (loss.dtype, count) == (torch.float64, 32)
    assert float(loss) != float(loss.float())
