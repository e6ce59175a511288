"""A class object is verified as a file's class is: in this process, or in a worker."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import right_norms
import torch
from torch import nn

from bnrun.errors import NormError
from bnrun.verification.report import Report

ReportOn = Callable[..., Report]


class Scaled(nn.BatchNorm1d):
    """Of this module: it doubles the output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def _answer(report: Report) -> tuple[object, ...]:
    return (
        report.verdict,
        report.takes,
        report.findings,
        [(c.name, c.status) for c in report.checks],
    )


def test_a_class_has_the_report_of_its_file(report_on: ReportOn) -> None:
    report = report_on(right_norms.TextbookSignature)
    assert report.implementation == "right_norms:TextbookSignature"
    file = Path(__file__).with_name("right_norms.py")
    assert _answer(report) == _answer(report_on(f"{file}:TextbookSignature"))


def test_a_class_is_run_in_this_process_unless_a_worker_is_asked_for(
    report_on: ReportOn, capfd: pytest.CaptureFixture[str]
) -> None:
    class Prints(right_norms.Right):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sys.stdout.write("here")
            return super().forward(x)

    threads = torch.get_num_threads()
    report = report_on(Prints, isolated=None)
    assert torch.get_num_threads() == threads
    assert [one.fault.name for one in report.findings] == ["cannot-be-pickled"]  # as it is local
    assert report.implementation.endswith("<locals>.Prints")
    assert (report.printed, "here" in capfd.readouterr().out) == (0, True)


def test_a_class_of_a_module_is_verified_in_a_worker_too(report_on: ReportOn) -> None:
    report = report_on(right_norms.TextbookSignature, isolated=True)
    assert _answer(report) == _answer(report_on(right_norms.TextbookSignature))


def test_a_class_that_no_other_process_can_load_is_an_error(
    report_on: ReportOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Local(nn.BatchNorm1d):
        pass

    with pytest.raises(NormError, match=r"Local can't be found again"):
        report_on(Local, isolated=True)
    notebook = type(sys)("__main__")  # has no __file__
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    monkeypatch.setattr(Scaled, "__module__", "__main__")
    monkeypatch.setattr(notebook, "Scaled", Scaled, raising=False)
    with pytest.raises(NormError, match="exists in this session only"):
        report_on(Scaled, isolated=True)
    report = report_on(Scaled)
    assert report.implementation == "__main__:Scaled"
    assert report.verdict == "fail"


def test_an_interruption_ends_a_verification_in_this_process(report_on: ReportOn) -> None:
    class Interrupted(right_norms.Right):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report_on(Interrupted)
