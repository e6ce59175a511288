"""`bnrun export`: a tidy table, and files of TensorBoard."""

import csv
import io
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import pytest
from typer.testing import CliRunner

from bnrun import runs
from bnrun.cli import app
from bnrun.config import resolve
from bnrun.events import DataUsed, EpochEnded, Probed, RunEnded, RunStarted
from bnrun.runs.exported_values import as_csv, exported_values

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
NAME = "20260101T000000Z-lenet_bn-scratch-s0"


def _export(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export", *map(str, words)])
    return done.exit_code, done.output


def _keep(out: Path, name: str) -> Path:
    run = runs.create(out, resolve(None, []))
    with run:
        run.record(RunStarted("scratch", "cpu", "a machine", 0, 2, 3, DATA))
        run.record(Probed("gradients", 1, {"fc1": {"rms": 0.5}}))
        run.record(EpochEnded(1, 0.5, 0.75, 0.625, None, 9_000.0, None, 1.5, 0.75))
        run.record(EpochEnded(2, float("nan"), 0.25, 0.125, None, None, None, 1.5))
        run.record(RunEnded("completed", None, None))
    return run.path.rename(out / name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two epochs with a look of a probe."""
    return _keep(tmp_path / "runs", NAME)


def test_the_table_has_a_line_for_each_value(run: Path) -> None:
    code, shown = _export(run, "--csv")
    assert code == 0
    of_run = f"{NAME},scratch,0"
    assert shown.splitlines() == [
        "run,norm,seed,step,epoch,series,value",
        f"{of_run},3,1.0,loss,0.5",
        f"{of_run},3,1.0,train_acc,0.75",
        f"{of_run},3,1.0,test_acc,0.625",
        f"{of_run},3,1.0,examples_per_second,9000.0",
        f"{of_run},3,1.0,seconds,1.5",
        f"{of_run},3,1.0,test_acc_population,0.75",
        f"{of_run},6,2.0,loss,nan",
        f"{of_run},6,2.0,train_acc,0.25",
        f"{of_run},6,2.0,test_acc,0.125",
        f"{of_run},6,2.0,seconds,1.5",
        f"{of_run},1,0.333333,gradients/fc1/rms,0.5",
    ]
    file = run.parent / "metrics.csv"
    assert _export(NAME, "--out", run.parent, "--csv", "-o", file) == (0, f"{file}\n")
    assert file.read_text() == shown


def test_a_comparison_has_the_values_of_all_its_trials(tmp_path: Path) -> None:
    comparison = tmp_path / "20260101T000000Z-compare-a-b"
    for name in ("a-s0", "b-s0"):
        _keep(comparison / "trials", name)
    (comparison / "compare.yaml").touch()
    rows = csv.DictReader(io.StringIO(as_csv(exported_values(comparison))))
    assert {row["run"] for row in rows} == {"a-s0", "b-s0"}


class Writer:
    """Stands for TensorBoard's, which need not be installed: it keeps what it is given."""

    def __init__(self, folder: str) -> None:
        self.file = Path(folder) / "events.out.tfevents.1"
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("\n".join(self.lines))

    def add_scalar(self, *values: Any) -> None:
        self.lines.append(" ".join(map(str, values)))


def test_tensorboard_gets_every_series(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    folder = run / "tensorboard"
    for _ in range(2):  # the second time, the files are replaced
        assert _export(run, "--tensorboard") == (0, f"{folder}\n")
    (file,) = folder.iterdir()
    lines = file.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("loss 0.5 3", "gradients/fc1/rms 0.5 1")

    mine = run.parent / "mine"
    assert _export(run, "--tensorboard", "-o", mine)[0] == 0
    code, shown = _export(run, "--tensorboard", "-o", mine)
    assert code == 2
    assert "holds event files already" in shown


def test_without_the_package_the_line_that_installs_it_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, shown = _export(run, "--tensorboard")
    assert code == 2
    assert shown == (
        "error: --tensorboard: TensorBoard's package is not installed. Fix: pip install "
        "tensorboard\n"
    )


def test_a_format_must_be_named_and_something_must_be_there(tmp_path: Path, run: Path) -> None:
    for words in ((), ("--csv", "--tensorboard")):
        code, shown = _export(run, *words)
        assert (code, shown) == (2, "error: --csv, --tensorboard: name one of the two.\n")
    empty = runs.create(tmp_path, resolve(None, []))
    code, shown = _export(empty.path, "--csv")
    assert code == 2
    assert "there is nothing to export" in shown
