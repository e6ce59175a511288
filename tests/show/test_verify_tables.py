"""Whole verifications as tables, at 80 columns, from records made by hand."""

import dataclasses
import io
from typing import Any

from rich.console import Console, RenderableType

from bnrun.show.doctor_tables import doctor_view
from bnrun.show.verify_tables import catalogue_view, report_view
from bnrun.verification.catalogue import known_faults
from bnrun.verification.doctor_result import Cell, CellResult, Examination
from bnrun.verification.fault import Fault
from bnrun.verification.report import (
    NO_MOVING_STATISTICS,
    CheckResult,
    Finding,
    Measurement,
    Report,
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
        Finding(ROOT, "in training only", ("a", "b", "c", "d", "e"), seen="y[0] is 3"),
    )
    checks = (CHECK_ROOT, CHECK_RANK, CHECK_BOTH, CHECK_BIASED, CHECK_MODE, CHECK_EPS, CHECK_PICKLE)
    assert _render(report_view(_report(*checks, found=found, printed=2))) == (
        "my_norm.py:Norm against PyTorch's layer: eager, float64; on cpu\n"
        "\n"
        "check                                        largest error   cause\n"
        "──────────────────────────────────────────────────────────────────\n"
        "mathematics\n"
        "  forward in training, (N, C)      fail              3e-01   1\n"
        "  forward in training, (N, C, L)   skip\n"
        "  tiny and odd shapes              fail         not finite   1 a\n"
        "\n"
        "moving statistics\n"
        "  first update                     dialect           2e-02   a\n"
        "\n"
        "module contract\n"
        "  mode                             pass\n"
        "  eps=                             skip\n"
        "  pickle                           pass              2e-16\n"
        "\n"
        "skipped  forward in training, (N, C, L): not accepted: ValueError: 3D\n"
        "skipped  eps=: the class takes no eps\n"
        "\n"
        "1  The root is missing: it divides by var + eps (in training only).\n"
        "   Seen: y[0] is 3\n"
        "   Fix: Divide by the root.\n"
        "   Shows in: a; b; c and 2 more.\n"
        "\n"
        "a  The moving variance is biased.\n"
        "   A dialect, not a mistake; used by Flax.\n"
        "   To change it: Multiply by n / (n - 1).\n"
        "   Shows in: tiny and odd shapes; first update.\n"
        "\n"
        "fail: 1 fault, 1 dialect (3 checks passed, 2 failed, 2 skipped, in 1.2 s)\n"
        "1 root-missing, a biased\n"
        "The norm printed 2 lines, not shown here."
    )


def test_a_report_without_a_fault_is_short() -> None:
    shown = _render(report_view(_report(CHECK_MODE, CHECK_PICKLE)))
    assert shown.endswith(
        "  mode     pass\n"
        "  pickle   pass           2e-16\n"
        "\n"
        "pass (2 checks passed, 0 failed, 0 skipped, in 1.2 s)"
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
        "scratch against PyTorch's layer: eager, float64; compiled, float32; on cpu\n"
        "\n"
        "check                      largest error   cause\n"
        "────────────────────────────────────────────────\n"
        "moving statistics: eager, float64\n"
        "  first update   dialect           2e-02\n"
        "\n"
        "module contract: eager, float64\n"
        "  pickle         pass              2e-16\n"
        "\n"
        "module contract: compiled, float32\n"
        "  pickle         fail              3e-01   1\n"
        "\n"
        "1  The root is missing: it divides by var + eps (compiled only).\n"
        "   Fix: Divide by the root.\n"
        "   Shows in: pickle.\n"
        "\n"
        "fail: 1 fault (2 checks passed, 1 failed, 0 skipped, in 1.2 s)\n"
        "1 root-missing\n"
        "compiled: 1 check (1234 kernel calls)"
    )


def test_the_verdict_names_more_faults_than_a_screen_explains() -> None:
    faults = known_faults()[:10]
    found = tuple(Finding(fault, "", (CHECK_PICKLE.name,)) for fault in faults)
    report = _report(dataclasses.replace(CHECK_PICKLE, status="fail"), found=found)
    closing = _render(report_view(report), 50).rpartition("\n\n")[2]
    assert closing == (
        "fail: 10 faults (0 checks passed, 1 failed, 0\n"
        "skipped, in 1.2 s)\n"
        "1 moves-when-predicting,\n"
        "2 statistics-over-batch-alone,\n"
        "3 statistics-per-image, 4 statistics-per-example,\n"
        "5 statistics-over-everything,\n"
        "6 statistics-miss-a-dimension,\n"
        "7 statistics-of-parts, 8 predicts-with-batch,\n"
        "9 trains-with-moving, 10 renormalizes"
    )


def test_a_report_says_why_the_compiled_engine_was_not_checked() -> None:
    report = dataclasses.replace(_report(CHECK_MODE), not_measured="There is no c++.")
    lines = _render(report_view(report)).splitlines()
    assert "compiled: not checked. There is no c++." in lines


def test_a_report_says_which_inputs_the_verdict_does_not_cover() -> None:
    report = dataclasses.replace(_report(CHECK_MODE), takes=("(N, C)",))
    lines = _render(report_view(report)).splitlines()
    assert lines[-2] == "pass in part (1 checks passed, 0 failed, 0 skipped, in 1.2 s)"
    assert lines[-1] == "Not covered: (N, C, H, W), which the class does not accept (see above)."


def test_a_report_says_that_moving_statistics_were_not_judged() -> None:
    skipped = CheckResult("first update", "moving statistics", "skip", None, NO_MOVING_STATISTICS)
    report = _report(CHECK_MODE, skipped)
    lines = _render(report_view(report)).splitlines()
    assert lines[-2].startswith("pass in part (")
    assert lines[-1] == "Not judged: its moving statistics, which are not found (see above)."
    assert report.to_dict()["not_judged"] == ["moving statistics"]


def test_a_report_for_json_has_the_keys_of_the_contract() -> None:
    found = (Finding(ROOT, "in training only", (CHECK_ROOT.name,)), Finding(BIASED, "", ("x",)))
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
    assert document["dialects"][0]["speakers"] == "Flax"


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
