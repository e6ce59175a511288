"""What trains is what is verified: the compiled kernels too, in rows of their own."""

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bnrun import kernels
from bnrun.errors import EngineError
from bnrun.events import drain
from bnrun.verification.report import CheckResult, Report
from bnrun.verification.verify import verify

ReportOn = Callable[..., Report]
KERNEL = importlib.import_module("bnrun.kernels.batch_norm")


@pytest.fixture
def both(report_on: ReportOn) -> Report:
    return report_on("scratch", engine=None)


def _rows(report: Report, engine: str) -> dict[str, CheckResult]:
    return {check.name: check for check in report.checks if check.engine == engine}


def test_scratch_is_verified_eagerly_in_float64_and_compiled_in_float32(both: Report) -> None:
    assert [(one.engine, one.dtype) for one in both.measurements] == [
        ("eager", "float64"),
        ("compiled", "float32"),
    ]
    assert (both.verdict, both.findings, both.dtype) == ("pass", (), "float64")
    assert len(_rows(both, "eager")) == 54
    compiled = _rows(both, "compiled")
    assert {check.dtype for check in compiled.values()} == {"float32"}
    errors = [check.max_error for check in compiled.values() if check.max_error]
    assert 1e-9 < sorted(errors)[len(errors) // 2] < 1e-6  # those of float32


def test_only_what_called_a_kernel_is_a_row_of_the_compiled_engine(both: Report) -> None:
    assert both.measurements[0].kernel_calls == 0
    assert both.measurements[1].kernel_calls > 100
    compiled = set(_rows(both, "compiled"))
    assert {"gradients in training, (N, C, H, W)", "mode", "deepcopy", "momentum="} <= compiled
    # With gradients enabled, predicting is computed by the formula; float64 has no kernel; what is
    # refused, and what runs no forward pass, calls none.
    others = {"gradients when predicting, (N, C)", "finite differences in training", ".double()"}
    others |= {"float64 kept", "one value per channel", "wrong channel count", "starting values"}
    assert not others & compiled


def test_a_document_says_which_engine_each_check_is_of(both: Report) -> None:
    document = both.to_dict()
    assert document["dtype"] == "float64"
    assert [one["engine"] for one in document["measurements"]] == ["eager", "compiled"]
    assert document["measurements"][1]["kernel_calls"] > 100
    assert {(c["engine"], c["dtype"]) for c in document["checks"]} == {
        ("eager", "float64"),
        ("compiled", "float32"),
    }


def _tampered(monkeypatch: pytest.MonkeyPatch, change: Callable[[str, list[Any]], None]) -> None:
    """Let the kernels of the norm be called with changed arguments."""
    real = KERNEL.call

    def call(name: str, *arguments: Any) -> None:
        changed = list(arguments)
        change(name, changed)
        real(name, *changed)

    monkeypatch.setattr(KERNEL, "call", call)


def _reverses_momentum(name: str, arguments: list[Any]) -> None:
    if name == "batch_norm":
        momentum = next(at for at, value in enumerate(arguments) if isinstance(value, float))
        arguments[momentum] = 1 - arguments[momentum]


def _squares_eps(name: str, arguments: list[Any]) -> None:
    arguments[-1] = arguments[-1] ** 2


def _swaps_statistics(name: str, arguments: list[Any]) -> None:
    if name == "batch_norm_evaluation":
        arguments[3:5] = arguments[4], arguments[3]


def _forgets_gamma_in_the_gradient(name: str, arguments: list[Any]) -> None:
    if name == "batch_norm_gradient" and arguments[1] is not None:
        arguments[1] = torch.ones_like(arguments[1])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_reverses_momentum, "momentum-reversed"),
        (_squares_eps, "eps-squared"),
        (_swaps_statistics, "moving-statistics-swapped-in-use"),
        (_forgets_gamma_in_the_gradient, "gradient-of-x-misses-gamma"),
    ],
)
def test_a_wrong_kernel_is_found_in_the_compiled_rows_alone(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[str, list[Any]], None], fault: str
) -> None:
    _tampered(monkeypatch, change)
    report = drain(verify("scratch", isolated=False))
    (finding,) = report.findings
    assert finding.fault.name == fault
    assert finding.where.endswith("compiled only")
    assert report.verdict == "fail"
    assert {check.status for check in _rows(report, "eager").values()} == {"pass"}
    failed = [name for name, check in _rows(report, "compiled").items() if check.status == "fail"]
    assert tuple(failed) == finding.checks


def test_a_kernel_that_refuses_what_the_layer_accepts_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(name: str, arguments: list[Any]) -> None:
        if arguments[0].dim() == 5:
            raise RuntimeError("no volumes")

    _tampered(monkeypatch, refuse)
    report = drain(verify("scratch", isolated=False))
    row = _rows(report, "compiled")["forward in training, (N, C, D, H, W)"]
    assert row.status == "fail"
    assert "no volumes" in row.message
    assert {check.status for check in _rows(report, "eager").values()} == {"pass"}


@pytest.mark.parametrize("norm", ["builtin", "textbook", "none", "right_norms.py:Right"])
def test_a_norm_without_kernels_has_eager_rows_alone_and_says_why_when_asked(
    report_on: ReportOn, norm: str
) -> None:
    report = report_on(norm, few_steps=True, engine=None)
    assert [one.engine for one in report.measurements] == ["eager"]
    assert report.not_measured == ""
    with pytest.raises(EngineError, match=r"kernels do not compute .*: its own code") as error:
        report_on(norm, few_steps=True, engine="compiled")
    assert error.value.key == "engine"


def test_a_class_that_uses_the_layer_of_bnrun_is_verified_on_the_kernels_too(
    report_on: ReportOn, write: Callable[[str], str]
) -> None:
    spec = write("from bnrun.norms import BatchNorm\nclass Norm(BatchNorm):\n    pass\n")
    report = report_on(spec, engine=None)
    assert [one.engine for one in report.measurements] == ["eager", "compiled"]
    assert report.verdict == "pass"


def test_the_compiled_engine_alone_has_its_rows_alone(report_on: ReportOn) -> None:
    report = report_on("scratch", engine="compiled")
    assert {check.engine for check in report.checks} == {"compiled"}
    assert (report.dtype, report.verdict) == ("float32", "pass")


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def enabled() -> Any:
        raise EngineError("there is no c++", key="training.engine")

    monkeypatch.setattr(kernels, "enabled", enabled)


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_report_says_why_compiled_was_not_checked() -> None:
    report = drain(verify("scratch", isolated=False))
    assert [one.engine for one in report.measurements] == ["eager"]
    assert report.not_measured == report.to_dict()["not_measured"] == "there is no c++"
    with pytest.raises(EngineError, match="^engine: there is no c"):
        drain(verify("scratch", isolated=False, engine="compiled"))


def test_in_other_dtypes_the_kernels_compute_nothing(report_on: ReportOn) -> None:
    report = report_on("scratch", engine=None, dtype=torch.bfloat16)
    assert "float32 alone" in report.not_measured
    float32 = report_on("scratch", engine=None, dtype=torch.float32)
    assert [(one.engine, one.dtype) for one in float32.measurements] == [
        ("eager", "float32"),
        ("compiled", "float32"),
    ]
    with pytest.raises(EngineError, match="float32 alone"):
        report_on("scratch", engine="compiled", dtype=torch.float64)
    with pytest.raises(EngineError, match="for the CPU"):
        drain(verify("scratch", isolated=False, engine="compiled", device="meta"))


def test_between_two_events_no_kernel_is_enabled_and_torch_is_as_it_was() -> None:
    def states() -> Iterator[tuple[bool, bool, Any, torch.dtype]]:
        for _ in verify("scratch", isolated=False):
            random = int(torch.get_rng_state().sum())
            yield kernels.is_enabled(), torch.is_grad_enabled(), random, torch.get_default_dtype()

    with torch.no_grad():
        (only,) = set(states())
    assert only[:2] == (False, False)
    assert only[3] == torch.float32
