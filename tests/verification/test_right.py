"""What is right passes, in whatever style; what differs by choice is called a dialect."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bnrun.errors import ConfigError, NormError
from bnrun.events import drain
from bnrun.verification.report import Report
from bnrun.verification.verify import verify

ReportOn = Callable[..., Report]
NAMES = ("scratch", "builtin", "textbook")


def _found(report: Report) -> dict[str, tuple[str, ...]]:
    return {found.fault.name: found.checks for found in report.findings}


def _skipped(report: Report) -> list[str]:
    return [check.name for check in report.checks if check.status == "skip"]


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_scratch_and_builtin_pass_every_check_there_is(report_on: ReportOn, norm: str) -> None:
    report = report_on(norm)
    assert report.verdict == "pass"
    assert {check.status for check in report.checks} == {"pass"}
    assert report.findings == ()
    errors = [check.max_error for check in report.checks if check.max_error is not None]
    assert max(errors) < 1e-6  # at a mean of 1e6
    assert sorted(errors)[len(errors) // 2] < 1e-14


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_they_pass_in_every_dtype(report_on: ReportOn, norm: str, dtype: torch.dtype) -> None:
    report = report_on(norm, dtype=dtype)
    assert report.verdict == "pass"
    assert report.dtype == str(dtype).removeprefix("torch.")
    assert report.findings == ()
    assert "finite differences in training" in _skipped(report)


@pytest.mark.parametrize(
    ("name", "dialects"),
    [
        ("Right", set()),
        ("Functional", set()),
        ("InPlace", set()),
        ("Fused", set()),
        ("RankTwo", set()),
        ("RankFour", set()),
        ("Wrapping", set()),
        ("Subclass", set()),
        ("OtherNames", set()),
        ("AffineByConvolution", set()),
        ("StatisticsAsParameters", set()),
        ("TwoInside", set()),
        ("Domains", set()),
        ("Tied", set()),
        ("WithoutAffine", {"without-affine"}),
        ("Lazy", set()),
        ("LazyInside", set()),
        ("WithoutStart", {"average-without-start"}),
        ("FirstBatch", {"first-batch-initializes"}),
        ("TextbookSignature", {"biased-moving-variance", "one-value-accepted"}),
        ("KerasLike", {"biased-moving-variance", "eps-value", "momentum-value"}),
    ],
)
def test_right_ones_pass_or_speak_a_dialect(
    report_on: ReportOn, name: str, dialects: set[str]
) -> None:
    report = report_on(f"right_norms.py:{name}")
    assert report.verdict == "pass"
    assert set(_found(report)) == dialects
    assert report.faults == []
    assert all(found.fault.speakers for found in report.dialects)


@pytest.mark.filterwarnings("ignore:var\\(\\):UserWarning")  # torch's, of one value per channel
@pytest.mark.parametrize(
    ("name", "findings"),
    [
        ("Chainer", {"eps-value", "one-value-accepted"}),
        ("Gluon", {"biased-moving-variance", "one-value-accepted"}),
        ("Cs231n", {"moving-var-starts-wrong", "biased-moving-variance", "one-value-accepted"}),
        ("FastaiFromScratch", {"unbiased-variance-normalizes"}),
    ],
)
def test_public_implementations_get_their_verdict(
    report_on: ReportOn, name: str, findings: set[str]
) -> None:
    """Beside the textbook's, and Keras's above."""
    report = report_on(f"right_norms.py:{name}", few_steps=True)
    assert set(_found(report)) == findings
    assert (report.verdict == "pass") == (report.faults == [])


class Unreadable(nn.BatchNorm2d):
    """A right layer that bnrun cannot give a state."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.weight.copy_ = None


def test_an_error_of_our_own_inspection_is_no_fault_of_the_class(report_on: ReportOn) -> None:
    with pytest.raises(NormError) as error:
        report_on(Unreadable)
    assert error.value.reason == (
        "bnrun cannot inspect it: TypeError: 'NoneType' object is not callable. Nothing of it was "
        "judged."
    )


def test_a_device_without_float64_says_so() -> None:
    with pytest.raises(ConfigError, match=r"^dtype: mps has no float64\. Leave the dtype out"):
        verify("builtin", device="mps", dtype=torch.float64)


def test_a_tensor_of_a_class_of_its_own_is_an_output_like_any_other(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write(
        "import torch\n"
        "from torch import nn\n"
        "class Own(torch.Tensor):\n"
        "    pass\n"
        "class Norm(nn.BatchNorm1d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__(num_features)\n"
        "    def _check_input_dim(self, x):\n"
        "        pass\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).as_subclass(Own)\n"
    )
    report = report_on(spec, isolated=True)  # what cannot cross from the worker is lost
    assert (report.verdict, report.findings) == ("pass", ())


def test_a_class_for_rows_skips_what_is_of_images_and_says_so(report_on: ReportOn) -> None:
    report = report_on("right_norms.py:RankTwo")
    (images,) = [c for c in report.checks if c.name == "forward in training, (N, C, H, W)"]
    assert images.status == "skip"
    assert images.message.startswith("not accepted: ValueError: too many values")


def test_an_input_that_a_class_raises_on_by_mistake_is_a_fault(report_on: ReportOn) -> None:
    report = report_on("right_norms.py:RankTwoThatRaises")
    (found,) = report.findings
    assert found.sentence.startswith("It raises RuntimeError: The size of tensor a")
    assert found.fault.fix.endswith(
        "If the class is not for (N, C, H, W), let it say so: raise a ValueError where x.dim() is "
        "4; or name what it is for: --shapes 2d is (N, C)."
    )


def test_a_class_is_judged_by_the_inputs_that_are_named(report_on: ReportOn) -> None:
    rows = report_on("right_norms.py:RankTwoThatRaises", shapes="2d")
    assert (rows.verdict, rows.findings, rows.not_judged) == ("pass", (), [])
    assert rows.remarks == ("Judged for (N, C) alone, as asked.",)
    assert not any("H, W" in check.name for check in rows.checks)
    refused = report_on("right_norms.py:RankFour", shapes="2d,4d")
    assert [found.fault.name for found in refused.faults] == ["raised"]
    assert refused.faults[0].checks[0] == "forward in training, (N, C)"
    with pytest.raises(ConfigError, match="instance has no inputs of 2d"):
        report_on("instance", shapes="2d")


def test_the_verdict_is_restricted_to_what_is_taken(report_on: ReportOn) -> None:
    report = report_on("right_norms.py:RankTwo")
    assert (report.takes, report.not_taken) == (("(N, C)",), ["(N, C, H, W)"])
    whole = report_on("scratch")
    assert len(whole.takes) == 4
    assert whole.not_taken == []


def test_moving_statistics_of_other_names_are_read_from_predictions(report_on: ReportOn) -> None:
    by_name = {check.name: check for check in report_on("right_norms.py:OtherNames").checks}
    for check in ("first update", "updates in order, (N, C, H, W)", "left alone when predicting"):
        assert by_name[check].status == "pass"
        assert by_name[check].max_error is not None


def test_what_goes_by_no_known_name_is_skipped_and_said(report_on: ReportOn) -> None:
    parts = {check.name: check for check in report_on("right_norms.py:AffineByConvolution").checks}
    assert parts["parameters"].status == "skip"
    assert parts["parameters"].message.startswith("no gamma under the usual names")


def test_a_class_for_images_offers_what_pytorchs_does(report_on: ReportOn) -> None:
    report = report_on("right_norms.py:RankFour")
    skipped = _skipped(report)
    assert "forward in training, (N, C)" in skipped
    for offered in ("eps=", "momentum=", "momentum=None", "affine=False", "track_running_stats="):
        assert not any(name.startswith(offered) for name in skipped)


@pytest.mark.parametrize(
    ("name", "layout"), [("Volumes", "(N, C, D, H, W)"), ("Sequences", "(N, C, L)")]
)
def test_a_class_for_one_other_rank_is_judged_by_that(
    report_on: ReportOn, name: str, layout: str
) -> None:
    report = report_on(f"right_norms.py:{name}")
    assert (report.verdict, report.findings) == ("pass", ())
    passed = [check.name for check in report.checks if check.status == "pass"]
    assert {f"forward in training, {layout}", "one value per channel", "mode"} <= set(passed)
    assert "finite differences in training" in passed
    assert "forward in training, (N, C)" in _skipped(report)


def test_the_textbook_fails_on_what_the_textbook_does_differently(report_on: ReportOn) -> None:
    report = report_on("textbook")
    assert report.verdict == "fail"
    assert [found.fault.name for found in report.faults] == [
        "mode-follows-gradients",
        "statistics-not-in-state-dict",
    ]
    assert [found.fault.name for found in report.dialects] == [
        "biased-moving-variance",
        "one-value-accepted",
    ]
    assert [check.name for check in report.checks if check.status == "fail"] == [
        "gradients when predicting, (N, C)",
        "gradients when predicting, (N, C, H, W)",
        "mode",
        "gradients on and off",
        "state_dict",
        ".double()",
    ]


def test_by_its_own_contract_the_textbook_passes(report_on: ReportOn) -> None:
    report = report_on("textbook", contract="textbook")
    assert (report.verdict, report.findings) == ("pass", ())


@pytest.mark.parametrize("norm", ["scratch", "builtin"])
def test_by_the_textbooks_contract_pytorchs_mode_is_a_fault(report_on: ReportOn, norm: str) -> None:
    report = report_on(norm, contract="textbook")
    assert [found.fault.name for found in report.faults] == ["mode-follows-module"]
    assert [found.fault.name for found in report.dialects] == ["unbiased-moving-variance"]


def test_no_norm_at_all_has_one_diagnosis(report_on: ReportOn) -> None:
    report = report_on("none")
    assert list(_found(report)) == ["identity"]


def test_two_verifications_find_the_same_to_the_bit(report_on: ReportOn) -> None:
    again = drain(verify("textbook", engine="eager", isolated=False))  # `report_on` is cached
    assert report_on("textbook") == dataclasses.replace(again, seconds=0.0)


def test_every_check_is_in_every_report_in_one_order(report_on: ReportOn) -> None:
    names = [[check.name for check in report_on(norm).checks] for norm in (*NAMES, "none")]
    assert all(these == names[0] for these in names)
    assert len(set(names[0])) == len(names[0]) > 40
