"""Parity tells the same function from another, whatever a norm calls its parts."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnrun.data.dataset import Dataset
from bnrun.experiments.comparison import Arm, Parity
from bnrun.experiments.parity import STEPS, measure_parity

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")
ROUNDING = 1e-10

NORMS = '''
from torch import nn

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
    assert "arm g, step 6: ValueError: enough" in found.error
    assert "norms.py:" in found.error  # the user's own line


def test_a_loss_that_is_not_finite_ends_it(small: Dataset, arms_of: Arms) -> None:
    wild = "wild=none,model.activation=relu,optimizer.lr=1e30"
    found = _parity(arms_of("scratch", wild), small)
    assert found.steps < STEPS
    assert found.error is not None
    assert "the loss became" in found.error
