"""Layer, group, instance and RMS norms: recognized, judged by their own formula, and named."""

from collections.abc import Callable
from typing import Any

import faulty_layers as faulty
import faulty_norms
import pytest
import right_layers
import torch
from right_layers import STYLES
from torch import nn
from torch.nn import functional as F

from bnrun.verification.catalogue import known_faults
from bnrun.verification.distance import distance
from bnrun.verification.fault import FAMILIES
from bnrun.verification.formula.families import BATCH
from bnrun.verification.recipe import right, simulate
from bnrun.verification.recognition import constructions, family_named
from bnrun.verification.report import Report
from bnrun.verification.situations import GROUPS, plain
from bnrun.verification.subject import Construction

ReportOn = Callable[..., Report]
FLOAT64 = torch.float64
TORCHS = [
    (nn.LayerNorm, "layer"),
    (nn.GroupNorm, "group"),
    (nn.InstanceNorm1d, "instance"),
    (nn.InstanceNorm2d, "instance"),
    (nn.InstanceNorm3d, "instance"),
    (nn.RMSNorm, "rms"),
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:(var|std)\\(\\):UserWarning"),  # torch's, of one value
    pytest.mark.filterwarnings("ignore:input's size at dim=1:UserWarning"),
]


def _names(report: Report) -> set[str]:
    return {found.fault.name for found in report.findings}


# ---- the oracle


def _torchs(construction: Construction, x: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
    gamma, beta = affine
    given = construction.given(x)
    match construction.family:
        case "layer":
            y = F.layer_norm(given, gamma.shape, gamma, beta)
        case "group":
            y = F.group_norm(given, GROUPS, gamma, beta)
        case "instance":
            y = F.instance_norm(given, None, None, gamma, beta)
        case _:
            y = F.rms_norm(given, gamma.shape, gamma)
    return construction.taken(y)


@pytest.mark.parametrize(
    "construction",
    [
        Construction("layer", last=True),
        Construction("group"),
        Construction("instance"),
        Construction("rms", last=True),
    ],
    ids=lambda one: one.family,
)
def test_what_is_right_is_what_torch_computes(construction: Construction) -> None:
    recipe = right("torch", construction.ways(FLOAT64))
    for rank in construction.ranks:
        made = plain(rank, FLOAT64, family=construction.family)
        x, gamma, beta = (t.clone().requires_grad_() for t in (made.x, made.gamma, made.beta))
        y = _torchs(construction, x, gamma, beta)
        gradients = torch.autograd.grad(y, (x, gamma, beta), made.g, materialize_grads=True)
        played = simulate(recipe, made, training=True, grad=True)
        if construction.family == "rms":  # which has no beta
            played = simulate(
                recipe, made.without(gamma=False, beta=True, moving=False), training=True, grad=True
            )
        expected = dict(zip(("d_x", "d_gamma", "d_beta"), gradients, strict=True)) | {"y": y}
        for name in expected.keys() - ({"d_beta"} if construction.family == "rms" else set()):
            assert distance(played[name], expected[name].detach()) < 1e-9, (name, rank)


def test_any_two_axes_of_a_family_can_be_told_apart() -> None:
    for family in FAMILIES[1:]:
        construction = Construction(family, last=True)
        recipe = right("torch", construction.ways(FLOAT64))
        outputs = [
            [
                simulate(
                    recipe.having(training=recipe.training.having(over=over)),
                    plain(rank, FLOAT64, family=family),
                    training=True,
                    grad=False,
                )["y"]
                for rank in construction.ranks
            ]
            for over in construction.ways(FLOAT64).over
        ]
        for at, first in enumerate(outputs):
            for second in outputs[at + 1 :]:
                assert any(
                    distance(one, other) > 1e-7 for one, other in zip(first, second, strict=True)
                )


# ---- what is right


@pytest.mark.parametrize(("norm", "family"), TORCHS, ids=lambda one: getattr(one, "__name__", one))
def test_torchs_own_layers_pass(report_on: ReportOn, norm: Any, family: str) -> None:
    report = report_on(norm)
    assert (report.family, report.verdict, report.findings) == (family, "pass", ())
    assert report.to_dict()["family"] == family


@pytest.mark.parametrize("norm", FAMILIES[1:])
def test_bnruns_own_layers_pass(report_on: ReportOn, norm: str) -> None:
    report = report_on(norm, one_rank=True)
    dialects = {"eps-value"} if norm == "rms" else set()  # PyTorch's depends on the dtype
    assert (report.family, report.verdict, _names(report)) == (norm, "pass", dialects)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.cls.__name__)
def test_right_ones_pass_or_speak_a_dialect(report_on: ReportOn, style: right_layers.Style) -> None:
    report = report_on(style.cls, one_rank=True)
    assert (report.family, report.verdict) == (style.family, "pass")
    assert _names(report) == style.dialects
    assert all(found.fault.speakers for found in report.findings)


def test_there_are_eight_styles_and_five_public_ones_of_each_family() -> None:
    for family in FAMILIES[1:]:
        styles = [style for style in STYLES if style.family == family]
        assert len(styles) >= 8, family
        assert len([style for style in styles if style.after]) >= 5, family


def test_layers_pass_in_narrower_dtypes(report_on: ReportOn) -> None:
    for norm, dtype in ((nn.RMSNorm, torch.bfloat16), (nn.GroupNorm, torch.float32)):
        report = report_on(norm, dtype=dtype)
        assert (report.verdict, report.findings) == ("pass", ())


# ---- what is wrong


@pytest.mark.parametrize("name", faulty.FAULTS)
def test_a_class_with_one_fault_has_that_diagnosis_and_no_other(
    report_on: ReportOn, name: str
) -> None:
    family, fault = faulty.FAULTS[name]
    report = report_on(getattr(faulty, name), one_rank=True)
    assert (report.family, report.verdict) == (family, "fail")
    assert [found.fault.name for found in report.faults] == [fault]
    said = [f"{found.sentence} {found.fault.fix}" for found in report.findings]
    assert all("moving" not in words for words in said) or "moving" in fault
    groups = {check.group for check in report.checks}
    assert groups == {"mathematics", "module contract"}


@pytest.mark.parametrize(("first", "second"), faulty.PAIRS)
def test_both_faults_are_named(report_on: ReportOn, first: str, second: str) -> None:
    both = type("Norm", (getattr(faulty, first), getattr(faulty, second)), {})
    family = faulty.FAULTS[first][0]
    both.__name__ = f"{first}And{second}"
    report = report_on(both, one_rank=True)
    assert report.family == family
    found = {one.fault.name for one in report.faults}
    assert found == {faulty.FAULTS[first][1], faulty.FAULTS[second][1]}


def test_there_is_a_class_for_every_fault_that_is_known() -> None:
    tried = {fault for _, fault in faulty.FAULTS.values()}
    tried |= {name for style in STYLES for name in style.dialects}
    tried |= set(faulty_norms.FAULTS.values())  # the same in all families
    tried |= {"sums-in-half-precision"}  # test_faults.py
    known = {fault.name for family in FAMILIES[1:] for fault in known_faults(family)}
    assert known <= tried
    assert len(faulty.FAULTS) >= 25
    assert len(faulty.PAIRS) >= 15


# ---- recognition


def test_a_name_says_what_a_class_is_meant_to_be() -> None:
    said = {
        "LayerNorm": "layer",
        "ConvNeXtLayerNorm": "layer",
        "BertSelfOutputLN": "layer",
        "LlamaRMSNorm": "rms",
        "rms_norm": "rms",
        "NormSum": None,
        "GroupNorm32": "group",
        "SwitchableNorm": None,
        "MyBatchNorm2d": "batch",
        "GroupNormAsBatchNorm": "group",
        "instance": "instance",
    }
    assert {name: family_named(name) for name in said} == said


class Unnamed(right_layers.LayerNorm):
    """Of no telling name."""


class Statistics(right_layers.GroupNorm):
    """Of no telling name, and of a (num_groups, num_channels)."""


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (Unnamed, "Judged as layer normalization: a value of its output depends on all channels."),
        (
            Statistics,
            "Judged as group normalization: a value of its output depends on some channels, all "
            "positions.",
        ),
        (
            faulty.GroupNormOfAll,
            "Judged as group normalization, as its name says; a value of its output depends on all "
            "channels, all positions.",
        ),
    ],
)
def test_without_a_telling_name_a_family_is_measured(
    report_on: ReportOn, cls: type[nn.Module], says: str
) -> None:
    assert report_on(cls, one_rank=True).recognized == says


def test_a_family_that_is_named_decides(report_on: ReportOn) -> None:
    report = report_on(nn.LayerNorm, one_rank=True, family="rms")
    assert (report.family, report.recognized) == ("rms", "")
    assert "mean-subtracted" in _names(report)
    by_batch = report_on(Unnamed, few_steps=True, family="batch")
    assert "statistics-per-example" in _names(by_batch)


def test_constructors_are_called_as_people_write_them() -> None:
    def options(target: Any, **given: Any) -> list[dict[str, Any]]:
        return [dict(one.options) for one in constructions(target, given, "group")]

    assert options(nn.GroupNorm)[0] == {"num_groups": GROUPS}
    assert options(nn.GroupNorm, num_groups=4)[0] == {}
    assert constructions(nn.GroupNorm, {"num_groups": 4}, "group")[0].groups == 4
    assert options(right_layers.UnnamedArguments)[:2] == [{"n": GROUPS}, {"c": GROUPS}]
    assert dict(constructions(nn.InstanceNorm2d, {}, "instance")[0].options) == {"affine": True}
    assert [one.as_shape for one in constructions(nn.LayerNorm, {}, "layer")] == [False, True]
    assert constructions(nn.SyncBatchNorm, {}, "batch") == [Construction()]


def test_what_does_not_normalize_is_judged_as_a_batch_norm(report_on: ReportOn) -> None:
    assert report_on("none").family == "batch"
    assert Construction().ways(FLOAT64) is BATCH
