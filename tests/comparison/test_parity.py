"""Parity tells the same function from another, whatever a norm calls its parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnrun.comparison.outcome import Arm, Parity
from bnrun.comparison.parity import STEPS, measure_parity
from bnrun.data.dataset import Dataset

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")
ROUNDING = 1e-10

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
    """Raises at its twentieth batch."""
    seen = 0
    def forward(self, x):
        GivesUp.seen += 1
        if GivesUp.seen > 20:
            raise ValueError("enough")
        return self.bn(x)
'''


@pytest.fixture
def norms(tmp_path: Path) -> Path:
    (tmp_path / "norms.py").write_text(NORMS)
    return tmp_path / "norms.py"


def _parity(arms: tuple[Arm, ...], data: Dataset) -> Parity:
    return measure_parity(arms[0], arms[1], data, CPU)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_scratch_and_builtin_are_the_same_function(
    small: Dataset, arms_of: Arms, pool: str
) -> None:
    found = _parity(arms_of(f"a=scratch,model.pool={pool}", f"b=builtin,model.pool={pool}"), small)
    assert (found.first, found.arm, found.dtype, found.steps) == ("a", "b", "float64", STEPS)
    for difference in vars(found).values():
        if isinstance(difference, float):
            assert difference < ROUNDING
    assert found.max_moving_difference is not None
    assert found.max_prediction_difference is not None
    assert found.error is None


def test_an_arm_is_at_parity_with_itself_to_the_bit(small: Dataset, arms_of: Arms) -> None:
    found = _parity(arms_of("a=scratch", "b=scratch"), small)
    assert (found.max_loss_difference, found.max_weight_difference) == (0.0, 0.0)
    assert found.max_moving_difference == 0.0


def test_the_textbook_trains_alike_but_keeps_another_moving_variance(
    small: Dataset, arms_of: Arms
) -> None:
    found = _parity(arms_of("builtin", "textbook"), small)
    assert found.max_loss_difference is not None
    assert found.max_loss_difference < ROUNDING
    assert found.max_weight_difference is not None
    assert found.max_weight_difference < ROUNDING  # its gamma and beta are compared, too
    assert found.max_moving_difference is not None
    assert found.max_moving_difference > 1e-4  # biased


def test_a_wrapped_layer_is_compared_part_by_part(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _parity(arms_of("builtin", f"w={norms}:Wrapped"), small)
    assert found.max_moving_difference == 0.0
    assert found.max_weight_difference == 0.0


def test_another_eps_is_another_function(small: Dataset, arms_of: Arms, norms: Path) -> None:
    found = _parity(arms_of("builtin", f"e={norms}:Eps"), small)
    assert found.max_loss_difference is not None
    assert found.max_loss_difference > 1e-6


def test_no_norm_has_no_moving_statistics_to_compare(small: Dataset, arms_of: Arms) -> None:
    found = _parity(arms_of("scratch", "none"), small)
    assert found.max_moving_difference is None
    assert found.max_loss_difference is not None
    assert found.max_loss_difference > 0.01


def test_an_arm_that_raises_is_told_with_the_steps_before_it(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _parity(arms_of("builtin", f"g={norms}:GivesUp"), small)
    assert found.steps == 5  # four norms a step
    assert found.max_loss_difference == 0.0
    assert found.error is not None
    assert "arm g, epoch 1, step 6 of 10, a batch of 32: ValueError: enough" in found.error
    assert "norms.py:" in found.error  # the user's own line


def test_what_is_not_finite_ends_it_and_is_named(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _parity(arms_of("builtin", f"n={norms}:NanVar"), small)
    assert found.error == "norm1 moving_var is not finite any more"
    assert found.steps == 0
    found = _parity(arms_of("builtin", f"i={norms}:NanOut"), small)
    assert found.error == "the loss of arm i became nan at step 1"


def test_a_layer_that_trains_right_and_predicts_wrong_is_caught(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    found = _parity(arms_of("builtin", f"d={norms}:Doubles"), small)
    assert (found.max_loss_difference, found.max_moving_difference) == (0.0, 0.0)
    assert found.max_prediction_difference is not None
    assert found.max_prediction_difference > 0.01


def test_another_optimizer_or_batch_size_is_the_same_function(
    small: Dataset, arms_of: Arms
) -> None:
    wild = "b=builtin,optimizer.lr=50,optimizer.momentum=0.9,training.batch_size=17"
    found = _parity(arms_of("scratch", wild), small)
    assert found.max_prediction_difference is not None
    assert found.max_prediction_difference < ROUNDING


def test_both_start_from_one_state_and_attributes_are_widened(
    small: Dataset, arms_of: Arms, norms: Path
) -> None:
    """A gamma that starts elsewhere is no other function, nor are statistics kept in float32."""
    found = _parity(arms_of("builtin", f"p={norms}:Plain"), small)
    for difference in vars(found).values():
        if isinstance(difference, float):
            assert difference < ROUNDING
    assert found.error is None
