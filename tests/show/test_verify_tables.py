"""Whole verifications as tables, at 80 columns, from records made by hand."""

import dataclasses
import io
from typing import Any

from rich.console import Console, RenderableType

from bnrun.show.doctor_tables import doctor_view
from bnrun.show.verify_tables import catalogue_view, explanation_view, report_view
from bnrun.verification.catalogue import known_faults
from bnrun.verification.doctor_result import Cell, CellResult, Examination
from bnrun.verification.explanations import explain
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import UNEXPLAINED
from bnrun.verification.report import (
    NO_MOVING_STATISTICS,
    CheckResult,
    Example,
    Finding,
    Measurement,
    Report,
    Row,
    Status,
)
from bnrun.verification.topics import CHECKS

ROOT = Fault("root-missing", "The root is missing: it divides by var + eps.", "Divide by the root.")
BIASED = Fault("biased", "The moving variance is biased.", "Multiply by n / (n - 1).", "Flax")
CHECK_ROOT = CheckResult("forward in training, (N, C)", "mathematics", "fail", 0.31, "…", (ROOT,))
CHECK_BOTH = CheckResult(
    "tiny and odd shapes", "mathematics", "fail", float("inf"), "…", (BIASED, ROOT)
)
CHECK_RANK = CheckResult(
    "forward in training, (N, C, L)", "mathematics", "skip", None, "not accepted: ValueError: 3D"
)
CHECK_BIASED = CheckResult("first update", "moving statistics", "pass", 0.02, "…", (BIASED,))
CHECK_MODE = CheckResult("mode", "module contract", "pass")
CHECK_EPS = CheckResult("eps=", "module contract", "skip", None, "the class takes no eps")
CHECK_PICKLE = CheckResult("pickle", "module contract", "pass", 2.4e-16)
SMALL = Example(
    True,
    {"x": [[1, 0], [2, 3], [6, 9]], "gamma": [2, -3], "beta": [1, -1], "eps": 1e-05},
    (Row("y[0, 0]", -0.851638215, -0.851638215), Row("y[2, 1]", -1.25, -1.2500004, True)),
    left_out=4,
)


def _report(*checks: CheckResult, found: tuple[Finding, ...] = (), printed: int = 0) -> Report:
    eager = (Measurement("eager", "float64"),)
    return Report("folder/my_norm.py:Norm", "torch", "cpu", eager, checks, found, printed, 1.23)


def _render(view: RenderableType, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width, no_color=True, highlight=False).print(view)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_a_report_with_a_fault_and_a_dialect() -> None:
    found = (
        Finding(BIASED, "", (CHECK_BOTH.name, CHECK_BIASED.name)),
        Finding(ROOT, "in training only", ("a, (N, C)", "a, (N, C, L)", *"bcde"), "y[0] is 3", "a"),
    )
    checks = (CHECK_ROOT, CHECK_RANK, CHECK_BOTH, CHECK_BIASED, CHECK_MODE, CHECK_EPS, CHECK_PICKLE)
    assert _render(report_view(_report(*checks, found=found, printed=2))) == (
        "my_norm.py:Norm: fail, 1 fault, 1 dialect\n"
        "By PyTorch's batch normalization: eager, float64; on cpu.\n"
        "3 checks passed, 2 failed, 2 skipped, in 1.2 s.\n"
        "The norm printed 2 lines, not shown here.\n"
        "\n"
        "1  The root is missing: it divides by var + eps (in training only).\n"
        "   Evidence: y[0] is 3 (a)\n"
        "   Fix: Divide by the root.\n"
        "   root-missing, in a; b; c and 2 more\n"
        "\n"
        "a  The moving variance is biased.\n"
        "   A dialect, not a mistake; used by Flax.\n"
        "   To change it: Multiply by n / (n - 1).\n"
        "   biased, in tiny and odd shapes; first update\n"
        "\n"
        "failed               inputs  largest error  cause\n"
        "─────────────────────────────────────────────────\n"
        "forward in training  (N, C)          3e-01  1\n"
        "tiny and odd shapes             not finite  1 a\n"
        "\n"
        "passed in a dialect  largest error  cause\n"
        "─────────────────────────────────────────\n"
        "first update                 2e-02  a\n"
        "\n"
        "passed   2 of the module contract; largest error 2e-16, pickle\n"
        "skipped  1 check for (N, C, L): not accepted: ValueError: 3D\n"
        "skipped  eps=: the class has no such option\n"
        "more     --explain forward-in-training: what it does, what was seen"
    )


def test_a_report_without_a_fault_is_short() -> None:
    assert _render(report_view(_report(CHECK_MODE, CHECK_PICKLE))) == (
        "my_norm.py:Norm: pass\n"
        "By PyTorch's batch normalization: eager, float64; on cpu.\n"
        "2 checks passed, 0 failed, 0 skipped, in 1.2 s.\n"
        "\n"
        "passed  2 of the module contract; largest error 2e-16, pickle"
    )


def test_checks_that_differ_in_their_layout_alone_share_a_row() -> None:
    layouts = ("(N, C)", "(N, C, H, W)", "(N, C, L)")
    names = [f"{kind}, {layout}" for kind in ("forward", "gradients") for layout in layouts]
    checks = [dataclasses.replace(CHECK_ROOT, name=name) for name in names]
    checks[2] = dataclasses.replace(checks[2], status="skip", faults=(), message="not accepted")
    checks[4] = dataclasses.replace(checks[4], status="pass", faults=())
    shown = _render(report_view(_report(*checks)))
    table = shown.partition("\n\n")[2].partition("\n\n")[0]
    assert table == (
        "failed     inputs             largest error  cause\n"
        "──────────────────────────────────────────────────\n"
        "forward    all                        3e-01\n"
        "gradients  (N, C), (N, C, L)          3e-01"
    )


def test_a_report_on_two_engines_has_sections_of_each() -> None:
    fault = Finding(ROOT, "compiled only", (CHECK_PICKLE.name,))
    compiled = dataclasses.replace(
        CHECK_PICKLE, status="fail", max_error=0.3, faults=(ROOT,), engine="compiled"
    )
    measurements = (Measurement("eager", "float64"), Measurement("compiled", "float32", 1234))
    checks = (CHECK_BIASED, CHECK_PICKLE, compiled)
    report = Report("scratch", "torch", "cpu", measurements, checks, (fault,), 0, 1.23)
    assert _render(report_view(report)) == (
        "scratch: fail, 1 fault\n"
        "By PyTorch's batch normalization: eager, float64; compiled, float32; on cpu.\n"
        "2 checks passed, 1 failed, 0 skipped, in 1.2 s.\n"
        "compiled: 1 check (1234 kernel calls).\n"
        "\n"
        "1  The root is missing: it divides by var + eps (compiled only).\n"
        "   Fix: Divide by the root.\n"
        "   root-missing, in pickle\n"
        "\n"
        "failed  largest error  cause\n"
        "────────────────────────────\n"
        "compiled, float64\n"
        "pickle          3e-01  1\n"
        "\n"
        "passed in a dialect  largest error  cause\n"
        "─────────────────────────────────────────\n"
        "eager, float64\n"
        "first update                 2e-02\n"
        "\n"
        "passed  eager, float64: 1 of the module contract; largest error 2e-16, pickle\n"
        "more    --explain pickle: what it does, what was seen"
    )


def test_what_no_known_mistake_explains_is_shown_by_a_small_input() -> None:
    found = Finding(UNEXPLAINED, "", (CHECK_ROOT.name,), "y[5, 2] is 3", CHECK_ROOT.name, SMALL)
    check = dataclasses.replace(CHECK_ROOT, faults=(UNEXPLAINED,))
    shown = _render(report_view(_report(check, found=(found,))), 60)
    assert shown.partition("\n\n")[2].rpartition("\n\nfailed")[0] == (
        "1  No known mistake gives these numbers, and no combination\n"
        "   of mistakes that was tried.\n"
        "   Evidence: y[5, 2] is 3 (forward in training)\n"
        "   Fix: Work the small input out by hand, part by part, and\n"
        "   compare: mean, variance, (x - mean) / sqrt(var + eps),\n"
        "   gamma * x_hat + beta. `--explain CHECK` has the formula.\n"
        "   unexplained, in forward in training\n"
        "   Smallest input, in training:\n"
        "   x = [[1, 0], [2, 3], [6, 9]], gamma = [2, -3],\n"
        "   beta = [1, -1], eps = 1e-05\n"
        "            observed    expected\n"
        "   ─────────────────────────────\n"
        "   y[0, 0]  -0.85164    -0.85164\n"
        "   y[2, 1]     -1.25  -1.2500004\n"
        "   and 4 more"
    )


def test_a_verdict_that_has_scrolled_away_stands_at_the_end_too() -> None:
    found = tuple(Finding(fault, "", (CHECK_PICKLE.name,)) for fault in known_faults()[:9])
    view = report_view(_report(dataclasses.replace(CHECK_PICKLE, status="fail"), found=found))
    verdict = "my_norm.py:Norm: fail, 9 faults"

    def screen(height: int) -> list[str]:
        file = io.StringIO()
        Console(
            file=file,
            width=80,
            height=height,
            force_terminal=True,
            no_color=True,
            color_system=None,
        ).print(view)
        return [line.rstrip() for line in file.getvalue().splitlines()]

    assert (screen(24)[0], screen(24)[-1]) == (verdict, verdict)
    assert screen(99)[-1] != verdict
    assert _render(view).count(verdict) == 1  # a file has no end of a screen


def test_an_explanation_without_a_class_is_what_is_done_and_the_formula() -> None:
    assert _render(explanation_view(explain("first-update", CHECKS, "batch"))) == (
        "first update\n"
        "moving statistics: the moving statistics after one batch, from random ones\n"
        "\n"
        "Does     A new layer gets random parameters and statistics, and a random batch\n"
        "         in training. The moving statistics are compared with the formula's.\n"
        "Formula  moving_mean <- (1 - momentum) * moving_mean + momentum * mean\n"
        "         moving_var <- (1 - momentum) * moving_var + momentum * var * n / (n -\n"
        "         1)\n"
        "         momentum = 0.1; n values per channel"
    )


def test_an_explanation_with_a_class_has_the_evidence_the_fix_and_a_small_input() -> None:
    check = dataclasses.replace(CHECK_ROOT, seen=("y[5, 2] is 3, expected 4",), example=SMALL)
    found = (Finding(ROOT, "", (check.name, "mode"), "elsewhere", "mode"),)
    report = _report(check, CHECK_RANK, found=found)
    explanation = explain("forward in training", CHECKS, "batch", report)
    assert _render(explanation_view(explanation)) == (
        "forward in training\n"
        "mathematics: the output, from random parameters and statistics\n"
        "\n"
        "Does     A new layer gets random parameters and statistics, and a random batch\n"
        "         in training. Its output is compared with the formula's.\n"
        "Formula  y = gamma * x_hat + beta, x_hat = (x - mean) / sqrt(var + eps)\n"
        "         mean and var of each channel: over batch and positions, (0, 2, 3) of\n"
        "         (N, C, H, W)\n"
        "         var = sum((x - mean)²) / n: biased, not divided by n - 1\n"
        "Result   fail for (N, C), largest error 3e-01\n"
        "         skip for (N, C, L): not accepted: ValueError: 3D\n"
        "\n"
        "1  The root is missing: it divides by var + eps.\n"
        "   Evidence: y[5, 2] is 3, expected 4\n"
        "   Fix: Divide by the root.\n"
        "   root-missing, in forward in training; mode\n"
        "\n"
        "Smallest input, in training:\n"
        "x = [[1, 0], [2, 3], [6, 9]], gamma = [2, -3], beta = [1, -1], eps = 1e-05\n"
        "         observed    expected\n"
        "─────────────────────────────\n"
        "y[0, 0]  -0.85164    -0.85164\n"
        "y[2, 1]     -1.25  -1.2500004\n"
        "and 4 more"
    )


def test_a_report_says_why_the_compiled_engine_was_not_checked() -> None:
    report = dataclasses.replace(_report(CHECK_MODE), not_measured="There is no c++.")
    lines = _render(report_view(report)).splitlines()
    assert "compiled: not checked. There is no c++." in lines


def test_a_report_says_which_inputs_the_verdict_does_not_cover() -> None:
    report = dataclasses.replace(_report(CHECK_MODE), takes=("(N, C)",))
    lines = _render(report_view(report)).splitlines()
    assert lines[0] == "my_norm.py:Norm: pass in part"
    assert lines[3] == "Not covered: (N, C, H, W), which the class does not accept."


def test_a_report_says_that_moving_statistics_were_not_judged() -> None:
    skipped = CheckResult("first update", "moving statistics", "skip", None, NO_MOVING_STATISTICS)
    report = _report(CHECK_MODE, skipped)
    lines = _render(report_view(report)).splitlines()
    assert lines[0] == "my_norm.py:Norm: pass in part"
    assert lines[3] == "Not judged: its moving statistics, which are not found."
    assert report.to_dict()["not_judged"] == ["moving statistics"]


def test_a_report_for_json_has_the_keys_of_the_contract() -> None:
    shown = Finding(ROOT, "in training only", (CHECK_ROOT.name,), example=SMALL)
    found = (shown, Finding(BIASED, "", ("x",)))
    document = _report(CHECK_BOTH, CHECK_BIASED, found=found).to_dict()
    assert document["implementation"] == "folder/my_norm.py:Norm"
    assert document["verdict"] == "fail"
    assert document["checks"][0] == {
        "name": "tiny and odd shapes",
        "group": "mathematics",
        "engine": "eager",
        "dtype": "float64",
        "status": "fail",
        "max_error": None,  # JSON has no word for infinity
        "message": "…",
        "faults": ["biased", "root-missing"],
    }
    assert [fault["name"] for fault in document["faults"]] == ["root-missing"]
    assert document["faults"][0]["fault"].endswith("var + eps (in training only).")
    small = document["faults"][0]["smallest_input"]
    assert small["given"]["x"] == [[1, 0], [2, 3], [6, 9]]
    assert small["rows"][1] == {"name": "y[2, 1]", "observed": -1.25, "expected": -1.2500004}
    assert document["dialects"][0]["speakers"] == "Flax"
    assert document["dialects"][0]["smallest_input"] is None


def test_the_list_names_every_check_and_every_known_mistake() -> None:
    lines = _render(catalogue_view(CHECKS, known_faults())).splitlines()
    for kind in CHECKS:
        assert any(line.startswith(f"  {kind.name}  ") for line in lines)
    for fault in known_faults():
        assert any(line.startswith(f"  {fault.name}  ") for line in lines)
    assert all(len(line) <= 80 for line in lines)
    dialects = sum(fault.is_dialect for fault in known_faults())
    assert f"{len(known_faults()) - dialects} known mistakes" in lines
    assert f"{dialects} known dialects" in lines


def test_a_matrix_with_a_wrong_cell_and_some_that_cannot_be_run() -> None:
    def examined_as(dtype: str, status: Status, *rest: Any) -> CellResult:
        return CellResult(
            Cell("LayerNorm", "any", "contiguous", dtype, "cpu", "eager"), status, *rest
        )

    volume = Cell("BatchNorm3d", "predicting", "channels_last_3d", "float16", "cpu", "eager")
    compiled = Cell("LayerNorm", "any", "contiguous", "float64", "cpu", "compiled")
    examined = (
        examined_as("float64", "pass", 1.25),
        examined_as("float32", "fail", 123.4),
        examined_as("bfloat16", "skip", None, "no"),
        examined_as("float16", "skip", None, "no"),
        CellResult(volume, "pass", 0.4),
        CellResult(compiled, "fail", None, "it does not come back"),
    )
    examination = Examination(examined, "2.15.0", {"cpu": "Some CPU, 2 threads"})
    assert _render(doctor_view(examination)) == (
        "torch 2.15.0, its own norms against formulas in float64\n"
        "Largest error of output, gradients and moving statistics, in units of the\n"
        "dtype's rounding (its eps, times the largest value expected); over 32 is a\n"
        "fault.\n"
        "\n"
        "cpu (Some CPU, 2 threads), eager:\n"
        "norm        mode       memory format    float64 float32 bfloat16 float16\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "LayerNorm   any        contiguous           1.2   123.4        -       -\n"
        "BatchNorm3d predicting channels_last_3d       -       -        -     0.4\n"
        "\n"
        "cpu (Some CPU, 2 threads), compiled:\n"
        "norm      mode memory format float64 float32 bfloat16 float16\n"
        "─────────────────────────────────────────────────────────────\n"
        "LayerNorm any  contiguous          -       -        -       -\n"
        "\n"
        "fail  LayerNorm any contiguous float32, cpu eager: 123.4 units\n"
        "skip  LayerNorm any contiguous bfloat16, cpu eager and 1 more: no\n"
        "fail  LayerNorm any contiguous float64, cpu compiled: it does not come back\n"
        "\n"
        "fail: 2 of 4 cells are wrong, 2 are not offered here"
    )
