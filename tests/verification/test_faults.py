"""Every known mistake, made in a class, is called by its name, and by no other."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faulty_norms as faulty
import pytest
import torch

from bnrun.events import drain
from bnrun.verification import observer
from bnrun.verification.catalogue import known_faults
from bnrun.verification.experiment import Observation
from bnrun.verification.observer import InProcess, Job
from bnrun.verification.outcome import UNEXPLAINED
from bnrun.verification.report import Report
from bnrun.verification.situations import STEPS
from bnrun.verification.topics import CHECKS, EXPERIMENTS
from bnrun.verification.verify import verify_by

ReportOn = Callable[..., Report]
FOLDER = Path(__file__).parent

LOST = {name for name, fault in faulty.FAULTS.items() if fault in ("hung", "exited")}

SHOW_AFTER_MANY_STEPS = {
    *("SavesNormalized", "RecomputesInPart", "BackwardWithoutGraph", "StopsMoving", "MovesLess"),
    *("FreezesAfterAWhile", "GrowsEps", "TeacherAndStudent", "PredictsWithTheFirst"),
    *("FoldsIntoParameters", "DecaysBeta", "KeepsBatches", "KeepsMeans", "HoldsLastInput"),
}
"""Classes whose fault shows after many steps, or in second derivatives."""


def _names(report: Report) -> list[str]:
    return [found.fault.name for found in report.findings]


@pytest.mark.filterwarnings("ignore:var\\(\\):UserWarning")  # torch's, of one value per channel
@pytest.mark.parametrize("name", [name for name in faulty.FAULTS if name not in LOST])
def test_a_class_with_one_fault_has_that_diagnosis_and_no_other(
    report_on: ReportOn, name: str
) -> None:
    few = "main_ranks" if name in SHOW_AFTER_MANY_STEPS else "few_steps"
    report = report_on(f"faulty_norms.py:{name}", **{few: True})
    also = getattr(getattr(faulty, name), "also", ())  # what its fault is never without
    assert sorted(_names(report)) == sorted([faulty.FAULTS[name], *also])
    found = next(one for one in report.findings if one.fault.name == faulty.FAULTS[name])
    assert report.verdict == ("pass" if found.fault.is_dialect else "fail")
    shown = [check for check in report.checks if found.fault in check.faults]
    assert found.checks == tuple(check.name for check in shown)
    assert all(found.fault.sentence in check.message for check in shown)
    if not found.fault.is_dialect:
        assert all(check.status == "fail" for check in shown)


def test_there_is_a_class_for_every_fault_that_is_known() -> None:
    known = {fault.name for fault in known_faults("batch")}
    elsewhere = {"mode-follows-module", "unbiased-moving-variance"}  # against the textbook
    elsewhere |= {"eps-value", "without-affine"}  # classes of right_norms.py
    elsewhere |= {"sums-in-half-precision"}  # in float16
    assert known - elsewhere == set(faulty.FAULTS.values()) - {"raised", "hung", "exited"}
    assert len(faulty.FAULTS) > 120


def test_every_experiment_has_a_name_of_its_own() -> None:
    used = {experiment for check in CHECKS for experiment in check.experiments}
    assert used <= set(EXPERIMENTS.values())


def test_texts_state_the_numbers_that_are_used(report_on: ReportOn) -> None:
    order = next(check for check in CHECKS if check.name == "updates in order, (N, C)")
    assert order.about == f"the moving statistics after each of {STEPS} batches"
    assert STEPS == 12
    (grows,) = report_on("faulty_norms.py:KeepsBatches", main_ranks=True).findings
    assert grows.seen == "192 bytes more with each batch, whose input has 192 bytes"  # 6 x 4 x 8
    (graph,) = report_on("faulty_norms.py:KeepsGraph", few_steps=True).findings
    assert graph.seen == "a grad_fn after a step, of running_mean"  # and of no dict of torch's own
    assert "two or three" not in UNEXPLAINED.sentence  # other ranks and noisy layers get fewer


def test_each_known_fault_says_two_whole_sentences() -> None:
    for fault in known_faults():
        for sentence in (fault.sentence, fault.fix):
            assert sentence.endswith((".", ")")), fault.name
            assert "  " not in sentence
        assert fault.sentence != fault.fix


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("NoRootWhenPredicting", "when predicting only"),
        ("VarianceNeverMoves", "the moving variance only"),
        ("BackwardOfBetaAveraged", "in training only"),
        ("EpsOutside", ""),
        ("MeanDetached", ""),
        ("OverBatchAlone", ""),
        ("Reversed", ""),
    ],
)
def test_a_fault_says_where_alone_it_is_found(report_on: ReportOn, name: str, where: str) -> None:
    (found,) = report_on(f"faulty_norms.py:{name}", few_steps=True).findings
    assert found.where == where
    assert found.sentence.endswith(f" ({where})." if where else found.fault.sentence)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ClipsNormalized", "The normalized input is clipped at ±8."),
        ("ClipsOutput", "The output is clipped at ±20.5."),
        (
            "BackwardHasTwoWrongFactors",
            "In the gradient of x, gamma / sqrt(var + eps) * (...), mean(g) has the factor -0.5, "
            "expected -1 and x_hat * mean(g * x_hat) has the factor -2, expected -1.",
        ),
    ],
)
def test_a_number_that_is_found_is_said(report_on: ReportOn, name: str, sentence: str) -> None:
    (found,) = report_on(f"faulty_norms.py:{name}", main_ranks=True).findings
    assert found.sentence == sentence


def test_a_norm_of_single_examples_is_not_said_to_depend_on_the_batch(report_on: ReportOn) -> None:
    report = report_on("layer", few_steps=True, family="batch")
    said = {found.fault.name: found.sentence for found in report.faults}
    assert said["predicts-with-batch"] == (
        "When predicting, too, it normalizes each example with its own statistics, not with the "
        "moving ones."
    )


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("GhostSplits", "num_splits"),
        ("VirtualBatches", "virtual_batches"),
        ("Workers", "world_size"),
    ],
)
def test_a_parameter_that_may_be_no_rank_is_named(
    report_on: ReportOn, name: str, parameter: str
) -> None:
    report = report_on(f"faulty_norms.py:{name}", few_steps=True)
    assert report.remarks == (
        f"The constructor's {parameter} was given the rank of the input: 2 for (N, C), 4 for "
        f"(N, C, H, W). If it is something else, give it: {name}({parameter}=...).",
    )


def test_a_parameter_of_the_rank_has_no_remark(report_on: ReportOn) -> None:
    assert report_on("right_norms.py:TextbookSignature").remarks == ()


def test_a_fault_in_images_alone_says_so(report_on: ReportOn, write: Callable[[str], str]) -> None:
    spec = write(
        "import torch\n"
        "from torch import nn\n"
        "class Norm(nn.BatchNorm1d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__(num_features)\n"
        "    def _check_input_dim(self, x):\n"
        "        assert x.dim() in (2, 4)\n"
        "    def forward(self, x):\n"
        "        if self.training and x.dim() == 4 and x.numel() > x.shape[1]:\n"
        "            super().forward(x)\n"  # for the moving statistics
        "            var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)\n"
        "            shape = (1, -1, 1, 1)\n"
        "            y = (x - mean) / (var + self.eps).sqrt()\n"
        "            return y * self.weight.view(shape) + self.bias.view(shape)\n"
        "        return super().forward(x)\n"
    )
    (found,) = report_on(spec).findings
    assert found.fault.name == "unbiased-variance-normalizes"
    assert found.where == "for (N, C, H, W) only"


def test_what_no_known_mistake_explains_is_shown_with_numbers(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write(
        "from torch import nn\n"
        "class Norm(nn.BatchNorm1d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__(num_features)\n"
        "    def forward(self, x):\n"
        "        return super().forward(x).tanh()\n"
    )
    report = report_on(spec, few_steps=True)
    assert [found.fault.name for found in report.findings] == ["unexplained"]
    seen = report.findings[0].seen
    assert re.match(r"y\[\d, \d\] is ", seen)
    assert ", expected " in seen
    by_name = {check.name: check for check in report.checks}
    assert by_name["finite differences in training"].status == "pass"
    gradients = by_name["gradients in training, (N, C)"]
    assert gradients.status == "fail"
    assert "the gradients follow from the fault in that" in gradients.message


def test_an_error_is_shown_with_the_users_own_line(report_on: ReportOn) -> None:
    (found,) = report_on("faulty_norms.py:RaisesOnImages", few_steps=True).findings
    assert found.fault.sentence.startswith("It raises RuntimeError: The size of tensor a (4)")
    assert "faulty_norms.py:" in found.fault.sentence
    assert "return self.weight * x_hat + self.bias" in found.fault.sentence


def test_a_state_dict_that_is_refused_is_shown_with_the_key(report_on: ReportOn) -> None:
    (found,) = report_on("faulty_norms.py:ChangesShape", few_steps=True).findings
    assert found.seen.startswith("RuntimeError: Error(s) in loading state_dict for ChangesShape: ")
    assert "running_mean" in found.seen


def test_an_output_that_is_no_tensor_is_named_without_the_error_of_bnrun(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write(
        "from torch import nn\n"
        "class Norm(nn.BatchNorm1d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__(num_features)\n"
        "    def forward(self, x):\n"
        "        return x, None\n"
    )
    (found,) = report_on(spec, few_steps=True).findings
    assert found.sentence == (
        "Norm.forward returned a tuple for an input of shape (6, 4); it must return one tensor of "
        "that shape."
    )


def test_a_negative_eps_is_no_dialect(report_on: ReportOn, write: Callable[[str], str]) -> None:
    spec = write("from right_norms import Right\nclass Norm(Right):\n    eps = -1e-8\n")
    report = report_on(spec, few_steps=True)
    assert [found.fault.name for found in report.faults] == ["not-finite-at-zero-variance"]
    assert report.faults[0].checks == ("channels of one value",)


def test_a_scale_beside_a_whole_layer_is_not_taken_for_its_gamma(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write(
        "import torch\n"
        "from torch import nn\n"
        "class Norm(nn.Module):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__()\n"
        "        self.norm = nn.BatchNorm2d(num_features)\n"
        "        self.scale = nn.Parameter(torch.ones(1))\n"
        "    def forward(self, x):\n"
        "        return self.scale * self.norm(x)\n"
    )
    report = report_on(spec, few_steps=True)
    assert {"gamma-shared"} <= set(_names(report)) <= {"gamma-shared", "unexplained"}
    (images,) = [c for c in report.checks if c.name == "forward in training, (N, C, H, W)"]
    assert images.status == "pass"


def test_a_layer_of_another_width_fails_from_its_own_error(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write(
        "from torch import nn\n"
        "class Norm(nn.BatchNorm1d):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__(num_features + 1)\n"
    )
    said = [found.sentence for found in report_on(spec, few_steps=True).findings]
    assert any("running_mean should contain 4 elements not 5" in sentence for sentence in said)
    assert not any("is invalid for input of size" in sentence for sentence in said)


class SeesHanging(InProcess):
    """Takes `faulty_norms.Hangs` for hanging: whatever the machine does meanwhile, and at once."""

    def observe(self, job: Job) -> Observation[Any]:
        seen = super().observe(job)
        if not seen.message.startswith("Hangs"):
            return seen
        return Observation(trouble="hung", message="does not come back")


def _seen_hanging(name: str) -> Report:
    observer = SeesHanging(f"{FOLDER}/faulty_norms.py:{name}", {}, "cpu")
    return drain(verify_by(observer, name))


def _others_stand(report: Report, name: str, checks: tuple[str, ...]) -> None:
    assert _names(report) == [faulty.FAULTS[name]]
    assert report.findings[0].checks == checks
    failed = [check.name for check in report.checks if check.status == "fail"]
    assert tuple(failed) == checks
    assert sum(check.status == "pass" for check in report.checks) > 30


def test_code_that_hangs_leaves_the_other_checks_standing() -> None:
    _others_stand(_seen_hanging("HangsInDouble"), "HangsInDouble", ("float64 kept", ".double()"))


def test_code_that_exits_leaves_the_other_checks_standing(report_on: ReportOn) -> None:
    report = report_on("faulty_norms.py:ExitsWhenCopied", isolated=True, time_limit=60.0)
    _others_stand(report, "ExitsWhenCopied", ("deepcopy",))


def test_code_that_always_hangs_is_given_up_in_a_few_time_limits(
    report_on: ReportOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "IMPATIENT_SECONDS", 0.1)
    monkeypatch.setattr(observer, "MOST_LIMITS", 1.1)
    report = report_on("faulty_norms.py:HangsAlways", isolated=True, time_limit=1.2)
    assert _names(report) == ["hung"]
    assert report.verdict == "fail"
    left = [check for check in report.checks if check.message.startswith("not run")]
    assert left != []
    assert {check.status for check in left} == {"skip"}


def test_what_a_class_prints_is_counted_and_not_shown(
    report_on: ReportOn, capfd: pytest.CaptureFixture[str]
) -> None:
    report = report_on("faulty_norms.py:Prints", isolated=True)
    assert report.verdict == "pass"
    assert report.printed > 100
    assert capfd.readouterr() == ("", "")


def test_what_hangs_before_it_is_known_what_the_class_has_still_has_a_table() -> None:
    report = _seen_hanging("HangsOnImages")
    by_name = {check.name: check for check in report.checks}
    assert by_name["forward in training, (N, C)"].status == "pass"
    assert by_name["forward in training, (N, C, H, W)"].status == "fail"
    assert "predicts-with-batch" in _names(report)


def test_errors_of_other_kinds_are_findings_of_their_own(report_on: ReportOn) -> None:
    report = report_on("faulty_norms.py:FailsInThreeWays")
    said = [found.fault.sentence for found in report.findings if found.fault.name == "raised"]
    assert len(said) == len(set(said)) == 2
    assert "RuntimeError: one" in said[0]
    assert "RuntimeError: two" in said[1]
    assert "cannot-be-copied" in _names(report)
    (skipped,) = [c.message for c in report.checks if c.name == "left alone when predicting"]
    assert skipped == "no pass of this kind works"  # rather than a refusal of the input


def test_a_sum_that_overflows_in_float16_is_named(report_on: ReportOn) -> None:
    report = report_on("faulty_norms.py:SumsInHalfPrecision", dtype=torch.float16)
    assert _names(report) == ["sums-in-half-precision"]
    assert report.faults[0].checks == ("many values in half precision",)


@pytest.mark.parametrize("name", ["EpsOutside", "OverBatchAlone", "Reversed", "MeanDetached"])
def test_faults_are_named_in_float32_too(report_on: ReportOn, name: str) -> None:
    report = report_on(f"faulty_norms.py:{name}", few_steps=True, dtype=torch.float32)
    assert _names(report) == [faulty.FAULTS[name]]


def test_faults_are_named_by_the_textbooks_contract_too(report_on: ReportOn) -> None:
    report = report_on("faulty_norms.py:KeyedAndOutside", few_steps=True, contract="textbook")
    assert _names(report) == ["eps-outside-root", "unbiased-moving-variance"]
    report = report_on("faulty_norms.py:KeyedAndWriting", few_steps=True, contract="textbook")
    assert "writes-into-input" in _names(report)
