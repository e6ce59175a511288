"""The registry of norms: its names, and that checking one does not load torch."""

import inspect
import subprocess
import sys

import pytest
import torch
from torch import nn

from bnrun import kernels
from bnrun.config import parse_override, resolve
from bnrun.errors import NormError
from bnrun.norms import NORMS, BatchNorm, check_norm, checked_config, norm_factory
from bnrun.norms.descriptions import DESCRIPTIONS
from bnrun.norms.textbook import TextbookBatchNorm


def test_the_names():
    family = "layer group instance rms mean-only variance-only l1 linf renorm noisy noise dyt"
    assert list(NORMS) == ["scratch", "builtin", "textbook", "none", *family.split()]


def test_every_name_is_described():
    assert list(DESCRIPTIONS) == list(NORMS)
    assert all(one.formula and one.averages for one in DESCRIPTIONS.values())


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
def test_an_unknown_name_gets_the_command_that_lists_the_norms(unknown):
    with pytest.raises(
        NormError, match="`bnrun norms` lists the norms; your own is written path/to/file.py:Class"
    ):
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


# ---- options


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_a_factory_hands_options_on_to_the_class(norm: str) -> None:
    layer = norm_factory(norm, {"eps": 0.5, "momentum": None})(6, 4, affine=False)
    assert (layer.eps, layer.momentum, layer.weight) == (0.5, None, None)


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_the_declared_options_are_those_of_the_class(norm: str) -> None:
    """They are declared a second time, so that they can be checked without torch."""
    declared = inspect.signature(NORMS[norm]).parameters
    taken = inspect.signature(type(norm_factory(norm)(6, 4))).parameters
    names = set(taken) - {"num_features", "device", "dtype"} | {"bias"}  # older torch has none
    assert set(declared) == names | {"num_features", "num_dims"}
    assert all(declared[name].default == taken[name].default for name in names & set(taken))


@pytest.mark.parametrize(
    ("norm", "options", "reason"),
    [
        (
            "builtin",
            {"epz": 1},
            "norm builtin takes no option 'epz'. Did you mean 'eps'? It takes: eps, momentum, "
            "affine, track_running_stats, bias.",
        ),
        ("scratch", {"momentum": "high"}, "received norm scratch(momentum=high); momentum must be "
         "a number or none."),
        ("scratch", {"momentum": "none"}, "received norm scratch(momentum='none'); momentum must "
         "be a number or none. YAML's none is written null."),
        ("scratch", {"eps": True}, "received norm scratch(eps=true); eps must be a number."),
        ("scratch", {"eps": None}, "received norm scratch(eps=none); eps must be a number."),
        ("builtin", {"affine": 1}, "received norm builtin(affine=1); affine must be true or "
         "false."),
        ("textbook", {"eps": 1}, "norm textbook takes no option 'eps'. It takes none at all."),
        ("none", {"eps": 1}, "norm none takes no option 'eps'. It takes none at all."),
        ("builtin", {"num_features": 6}, "received norm builtin(num_features=6); num_features "
         "comes from the network, at each place of it. Leave it out."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ask", [check_norm, norm_factory])
def test_an_option_is_checked_against_the_signature(ask, norm, options, reason) -> None:
    with pytest.raises(NormError) as refused:
        ask(norm, options)
    assert refused.value.reason == reason


@pytest.mark.parametrize("options", [{"eps": 1}, {"eps": 1e-3, "momentum": None}, {}])
def test_options_of_the_right_type_pass(options) -> None:
    check_norm("builtin", options)


def test_an_error_names_where_an_option_was_set() -> None:
    with pytest.raises(NormError) as refused:
        checked_config(resolve(None, parse_override("model.norm_options={epz: 1}")))
    assert str(refused.value).startswith("--set: model.norm: norm scratch takes no option 'epz'.")


@pytest.mark.parametrize("options", [{"eps": 0.1, "momentum": 0.3}, {"momentum": None}])
@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_scratch_with_options_is_torchs_layer_with_them(request, engine, options):
    if engine == "compiled":
        request.getfixturevalue("compilable")
    switch = kernels.enabled if engine == "compiled" else kernels.disabled
    x = torch.randn(3, 8, 6, 5, 5, generator=torch.Generator().manual_seed(0)) * 0.2
    results = []
    for norm in ("scratch", "builtin"):
        layer = norm_factory(norm, options)(6, 4)
        leaf = x.clone().requires_grad_()
        with switch():
            y = layer(leaf[0]) + layer(leaf[1])
            y.square().sum().backward()
            with torch.no_grad():
                predicted = layer.eval()(x[2])
        results.append([y, leaf.grad, predicted, *layer.state_dict().values()])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("norm", "options", "words"),
    [
        ("group", {"groups": 4}, r"group\(groups=4\): the channels \(=6\) must be a multiple"),
        ("renorm", {"r_max": 0.5}, r"renorm\(r_max=0.5\): r_max \(=0.5\) must be 1 or more"),
    ],
)
def test_a_named_norm_that_refuses_its_options_is_an_error_of_the_config(norm, options, words):
    with pytest.raises(NormError, match=words) as error:
        norm_factory(norm, options)(6, 4)
    assert error.value.key == "model.norm_options"


def test_instance_norm_leaves_vectors_alone():
    assert type(norm_factory("instance")(84, 2)) is nn.Identity
