"""torch's own norms: their formulas, and the result of a cell that is wrong."""

from typing import Any

import pytest
import torch
from torch import nn

from bnrun.events import Stage, drain
from bnrun.verification import doctor
from bnrun.verification.doctor import NORMS, cells, examine
from bnrun.verification.doctor_result import SUSPECT, Cell, CellResult, Examination
from bnrun.verification.report import DTYPES
from bnrun.verification.situations import plain

EAGER = Cell("BatchNorm2d", "training", "channels_last", "float32", "cpu", "eager")


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_this_machine_every_eager_norm_is_right(dtype: str) -> None:
    mine = [cell for cell in cells(["cpu"], ["eager"]) if cell.dtype == dtype]
    assert {cell.norm for cell in mine} == {norm.name for norm in NORMS}
    for cell in mine:
        one = doctor.examine_here(cell)
        assert (one.status, one.reason) == ("pass", "")
        assert one.units is not None
        assert 0 < one.units < SUSPECT


def test_the_formulas_are_torchs_functions() -> None:
    made = plain(4, torch.float64)
    x, gamma, beta = made.x, made.gamma, made.beta
    instance = nn.functional.instance_norm(x, weight=gamma, bias=beta)
    group = nn.functional.group_norm(x, 2, gamma, beta)
    for norm, y in (("InstanceNorm2d", instance), ("GroupNorm", group)):
        torch.testing.assert_close(doctor.formula(norm, made, True)["y"], y)
    rows = plain(2, torch.float64)
    layer = nn.functional.layer_norm(rows.x, (4,), rows.gamma, rows.beta)
    torch.testing.assert_close(doctor.formula("LayerNorm", rows, True)["y"], layer)


def test_there_is_a_cell_for_everything_that_is_here() -> None:
    every = list(cells(["cuda:0", "cpu"], ["eager", "compiled"]))
    assert len(every) == len(set(every)) == 2 * 2 * len(DTYPES) * 16
    formats = {(cell.norm, cell.format) for cell in every}
    assert ("BatchNorm3d", "channels_last_3d") in formats
    modes = {(cell.norm, cell.mode) for cell in every}
    assert {("BatchNorm1d", "predicting"), ("GroupNorm", "any")} <= modes


class _Off(nn.BatchNorm2d):
    """Off by one part in a thousand."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.001 * super().forward(x)


class _NotANumber(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.nan


class _Refusing(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("not for channels_last\nand more")


class _NotForHalf(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("\"batch_norm\" not implemented for 'Half'")


class _Broken(nn.BatchNorm2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("an internal assertion failed")


@pytest.mark.parametrize(
    ("layer", "status", "reason"),
    [
        (nn.BatchNorm2d, "pass", ""),
        (_Off, "fail", ""),
        (_NotANumber, "fail", "the error is not finite"),
        (_Refusing, "skip", "NotImplementedError: not for channels_last"),
        (_NotForHalf, "skip", "RuntimeError: \"batch_norm\" not implemented for 'Half'"),
        (_Broken, "fail", "RuntimeError: an internal assertion failed"),
    ],
)
def test_a_cell_is_right_or_wrong_or_not_offered(
    monkeypatch: pytest.MonkeyPatch, layer: Any, status: str, reason: str
) -> None:
    monkeypatch.setattr(doctor, "_layer", lambda norm, channels: layer(channels))
    one = doctor.examine_here(EAGER)
    assert (one.status, one.reason) == (status, reason)
    assert _verdict(one) == ("pass" if status == "pass" else "fail")


def _verdict(*examined: CellResult) -> str:
    return Examination(examined, "2.15.0", {"cpu": "Some CPU"}).verdict


def test_a_machine_on_which_nothing_ran_does_not_pass() -> None:
    skipped, passed = CellResult(EAGER, "skip"), CellResult(EAGER, "pass", 1.0)
    assert _verdict(skipped) == _verdict() == "fail"
    assert _verdict(skipped, passed) == "pass"


def test_cells_are_examined_apart_in_order_with_a_stage_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "NORMS", NORMS[3:4])
    stages: list[Stage] = []
    examination = drain(examine({"cpu": "Some CPU"}, ["eager"]), stages.append)
    assert [one.cell.dtype for one in examination.results] == list(DTYPES)
    assert stages[0] == Stage("loading torch in a process", 0, 4)
    assert stages[3] == Stage("LayerNorm, bfloat16, eager", 2, 4)
    assert examination.verdict == "pass"
    document = examination.to_dict()
    assert document["machines"] == {"cpu": "Some CPU"}
    assert len(document["cells"]) == 4


def test_what_mps_lacks_is_said() -> None:
    cell = Cell("LayerNorm", "any", "contiguous", "float64", "mps", "eager")
    assert doctor.examine_here(cell) == CellResult(cell, "skip", None, "there is no float64 on mps")
