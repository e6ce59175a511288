"""`--explain`: every check has a paragraph, and small inputs are what torch gives."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bnrun.errors import ConfigError
from bnrun.verification.check_descriptions import DOES
from bnrun.verification.explanations import explain, find_check
from bnrun.verification.report import Example, Report
from bnrun.verification.topics import CHECKS

ReportOn = Callable[..., Report]


def test_every_check_has_a_paragraph() -> None:
    assert set(DOES) == {check.base for check in CHECKS}


def test_a_check_is_found_as_it_is_written_and_as_it_is_typed() -> None:
    for name in ("first update", "first-update", "First Update"):
        assert find_check(name, CHECKS).name == "first update"
    assert [find_check(check.name, CHECKS) for check in CHECKS] == list(CHECKS)
    assert find_check("forward-in-training-n-l-c", CHECKS).name == "forward in training, (N, C, L)"
    with pytest.raises(ConfigError, match=r"no check 'momentums'\. Did you mean 'momentum'"):
        find_check("momentums", CHECKS)


def test_a_check_is_explained_for_all_layouts_or_for_one(report_on: ReportOn) -> None:
    report = report_on("scratch")
    for name, many in (("forward-in-training", 4), ("forward-in-training-n-c", 1)):
        assert len(explain(name, CHECKS, "batch", report).results) == many


def _example(report: Report, name: str) -> Example:
    example = explain(name, CHECKS, "batch", report).example
    assert example is not None
    return example


def test_what_a_small_input_expects_is_what_torch_computes(report_on: ReportOn) -> None:
    example = _example(report_on("scratch", examples=True), "forward-in-training")
    given = {name: torch.tensor(value) for name, value in example.given.items()}
    x, gamma, beta = (given[name].double() for name in ("x", "gamma", "beta"))
    y = nn.functional.batch_norm(x, None, None, gamma, beta, True, eps=example.given["eps"])
    assert [row.name for row in example.rows[:3]] == ["y[0, 0]", "y[1, 0]", "y[2, 0]"]
    expected = [row.expected for row in example.rows]
    assert expected == pytest.approx(y.T.flatten().tolist(), abs=1e-12)
    assert not example.differs


def test_the_smallest_input_is_one_that_shows_the_fault(report_on: ReportOn) -> None:
    ghost = report_on("faulty_norms.py:GhostHalves").findings[0].example
    assert ghost is not None
    assert len(ghost.given["x"]) == 4  # three examples are not split
    within = report_on("faulty_norms.py:WithinImages").findings[0]
    assert within.example is not None
    assert within.example.differs
    update = _example(report_on("faulty_norms.py:Reversed"), "first-update")
    assert [row.name for row in update.rows] == [
        "moving mean[0]", "moving mean[1]", "moving variance[0]", "moving variance[1]",
    ]  # fmt: skip
    assert all(row.differs for row in update.rows)


def test_the_evidence_of_an_explanation_is_of_its_own_check(report_on: ReportOn) -> None:
    report = report_on("faulty_norms.py:NoRoot")
    seen = {
        name: explain(name, CHECKS, "batch", report).findings[0].seen
        for name in ("forward-in-training", "forward-when-predicting", "gradients-in-training")
    }
    assert seen["forward-in-training"] != seen["forward-when-predicting"]
    assert seen["gradients-in-training"].startswith("the gradient of ")
    assert explain("mode", CHECKS, "batch", report).findings == ()
