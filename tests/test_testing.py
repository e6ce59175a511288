"""`assert_normalizes`, for other projects' tests."""

import warnings

import pytest
import torch
from torch import nn

from bnrun.errors import ConfigError
from bnrun.testing import assert_normalizes


class TutorialNorm(nn.Module):
    """A layer normalization as a much-copied tutorial has it."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.gamma * (x - mean) / (std + self.eps) + self.beta


class NoStatistics(nn.BatchNorm1d):
    """It stores no moving statistics that can be found, or read from predictions."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, track_running_stats=False)


def test_a_right_layer_passes() -> None:
    assert_normalizes(nn.LayerNorm, family="layer", shapes="3d")
    assert_normalizes(nn.BatchNorm1d, shapes="2d")


def test_a_wrong_layer_fails_with_the_report() -> None:
    with pytest.raises(AssertionError) as error:
        assert_normalizes(TutorialNorm, family="layer", shapes="3d")
    message = str(error.value)
    assert message.startswith("it does not normalize as it should.\n\n")
    assert "TutorialNorm: fail, 2 faults, 1 dialect\n" in message
    assert "\n1  It normalizes with the unbiased variance " in message
    assert "\n2  eps is added outside the root" in message
    assert max(map(len, message.splitlines())) <= 88


class Warns(nn.LayerNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        warnings.warn("an odd input", UserWarning, stacklevel=1)
        return super().forward(x)


def test_a_warning_is_no_error_of_the_layer_where_warnings_are_errors() -> None:
    assert_normalizes(Warns, family="layer", shapes="3d")


def test_what_cannot_be_judged_does_not_pass() -> None:
    with pytest.raises(AssertionError):
        assert_normalizes(NoStatistics, shapes="2d")
    with pytest.raises(ConfigError, match="Did you mean 'layer'"):
        assert_normalizes(nn.LayerNorm, family="layers")
