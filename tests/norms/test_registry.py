"""The registry of norms: its names, and that checking one does not load torch."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from bnrun.errors import NormError
from bnrun.norms import NORMS, BatchNorm, check_norm, norm_factory
from bnrun.norms.textbook import TextbookBatchNorm


def test_the_names():
    assert list(NORMS) == ["scratch", "builtin", "textbook", "none"]


@pytest.mark.parametrize(
    ("num_features", "num_dims", "shape"), [(6, 4, (2, 6, 3, 3)), (84, 2, (2, 84))]
)
@pytest.mark.parametrize("name", NORMS)
def test_every_name_builds_a_layer_for_both_ranks(name, num_features, num_dims, shape):
    check_norm(name)
    layer = norm_factory(name)(num_features, num_dims)
    assert isinstance(layer, nn.Module)
    assert layer(torch.randn(shape)).shape == shape


@pytest.mark.parametrize(
    ("name", "num_dims", "kind"),
    [
        ("scratch", 2, BatchNorm),
        ("scratch", 4, BatchNorm),
        ("builtin", 2, nn.BatchNorm1d),
        ("builtin", 3, nn.BatchNorm1d),
        ("builtin", 4, nn.BatchNorm2d),
        ("builtin", 5, nn.BatchNorm3d),
        ("textbook", 2, TextbookBatchNorm),
        ("textbook", 4, TextbookBatchNorm),
        ("none", 2, nn.Identity),
        ("none", 4, nn.Identity),
    ],
)
def test_a_name_stands_for_its_class(name, num_dims, kind):
    assert type(norm_factory(name)(6, num_dims)) is kind


def test_each_call_builds_a_layer_of_its_own():
    factory = norm_factory("scratch")
    assert factory(6, 4).weight is not factory(6, 4).weight


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("scrach", "scratch"), ("buildin", "builtin"), ("text-book", "textbook")],
)
def test_a_mistyped_name_gets_a_suggestion(ask, mistyped, meant):
    with pytest.raises(NormError) as error:
        ask(mistyped)
    assert f"'{mistyped}'" in str(error.value)
    assert f"Did you mean '{meant}'?" in str(error.value)


@pytest.mark.parametrize("unknown", ["quantum", "", "Scratch Norm!"])
def test_an_unknown_name_gets_the_list(unknown):
    with pytest.raises(NormError, match="scratch, builtin, textbook, none; or your own"):
        check_norm(unknown)


@pytest.mark.process
def test_checking_a_norm_does_not_load_torch(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch\n\n\nclass Norm(torch.nn.Identity): ...\n")
    code = f"""
import sys
from bnrun.errors import NormError
from bnrun.norms import check_norm
check_norm("scratch")
check_norm({f"{file}:Norm"!r})
check_norm("torch.nn:BatchNorm2d")
try:
    check_norm("scrach")
except NormError:
    print("torch" in sys.modules)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "False\n"


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_a_factory_hands_options_on_to_the_class(norm: str) -> None:
    layer = norm_factory(norm)(6, 4, eps=0.5, momentum=None, affine=False)
    assert (layer.eps, layer.momentum, layer.weight) == (0.5, None, None)
