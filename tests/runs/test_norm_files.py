"""The file of a user's norm: a run continues with what it began with, and says so."""

import hashlib
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import cast

import pytest

from bnrun import runs
from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.plan import make_plan
from bnrun.config import Config, parse_override, resolve
from bnrun.data.dataset import Dataset
from bnrun.errors import BnrunError, NormError, RunError
from bnrun.events import DataUsed, Event, RunStarted, drain
from bnrun.norms import checked_config, user_module
from bnrun.runs import trial_directory
from bnrun.runs.comparison_directory import create_comparison, reopen_comparison
from bnrun.runs.norm_files import config_with_norm, find_norm, keep_norm
from bnrun.runs.trial_directory import open_trial, train_trial
from bnrun.training.model import build_model

SOURCE = "from torch import nn\n\n\nclass Norm(nn.Identity):\n    version = {}\n"
STARTED = RunStarted(
    "a norm", "cpu", "a machine", 0, 1, 1, DataUsed("synthetic", "", None, 1, 0, 1)
)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's file, in the working folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    file = tmp_path / "work" / "mine.py"
    file.write_text(SOURCE.format(1))
    return file


def _start(norm: str = "mine.py:Norm") -> runs.Run:
    """Start a run in the folder `runs`, and leave it."""
    config = checked_config(resolve(None, parse_override(f"model.norm={norm}")))
    with runs.create(Path("runs"), config) as run:
        run.record(STARTED)
    return run


def _reopen(path: Path, **arguments: str) -> tuple[runs.Run, list[str]]:
    notices: list[str] = []
    run, _ = runs.reopen(path.absolute(), on_notice=notices.append, **arguments)  # type: ignore[arg-type]
    with run:
        run.record(STARTED)
    return run, notices


def _version(config: Config) -> object:
    return build_model(config).norm1.version


def _files(run: Path) -> list[dict[str, object]]:
    files: list[dict[str, object]] = json.loads((run / "norm" / "files.json").read_text())["files"]
    return files


def test_a_run_keeps_the_path_as_resolved_and_a_copy(mine: Path) -> None:
    run = _start("../work/mine.py:Norm")
    assert resolve(run.path / "config.yaml").config.model.norm == f"{mine}:Norm"
    assert (run.path / "norm" / "mine.py").read_bytes() == mine.read_bytes()
    (file,) = _files(run.path)
    assert file["file"] == str(mine)
    assert len(str(file["sha256"])) == 64


def test_the_same_file_is_taken_from_where_it_is_without_a_word(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _start().path.absolute()
    monkeypatch.chdir(tmp_path)
    run, notices = _reopen(path)
    assert notices == []
    assert run.config.model.norm_source.copy is None
    assert len(_files(path)) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.write_text(SOURCE.format(2)), "has changed since training began"),
        (lambda file: file.rename("moved.py"), "is not there any more"),
        (lambda file: file.unlink(), "is not there any more"),
    ],
)
def test_of_a_file_that_changed_or_moved_the_copy_is_taken(
    mine: Path, change: Callable[[Path], object], reason: str
) -> None:
    path = _start().path.absolute()
    change(mine)
    run, notices = _reopen(path)
    copy = path / "norm" / "mine.py"
    assert notices == [f"{mine} {reason}: the norm is taken from the copy, {copy}"]
    assert _version(run.config) == 1
    assert run.config.model.norm == f"{mine}:Norm"
    assert len(_files(path)) == 1


def test_another_file_is_taken_where_the_user_says_so_and_from_then_on(mine: Path) -> None:
    path = _start().path.absolute()
    mine.write_text(SOURCE.format(2))
    other = mine.with_name("other.py")
    other.write_text(SOURCE.format(3))
    for norm, version in [("mine.py:Norm", 2), ("other.py:Norm", 3), (None, 3)]:
        run, notices = _reopen(path, **({"norm": norm} if norm else {}))
        assert (notices, _version(run.config)) == ([], version)
        assert resolve(path / "config.yaml").config.model.norm == f"{mine}:Norm"
    assert [file["copy"] for file in _files(path)] == ["mine.py", "mine-2.py", "other.py"]


@pytest.mark.parametrize(
    ("own", "other", "reason"),
    [
        ("scratch", "mine.py:Norm", "the run's norm is scratch. Of a run, this can only name the "
         "file of a norm of your own"),
        ("mine.py:Norm", "builtin", "Of a run, this can only name the file of a norm of your own"),
        ("mine.py:Norm", "mine.py:Norm(a=1)", "but the run's options are none, and stay so"),
        ("mine.py:Norm", "none.py:Norm", "none.py is no such file"),
    ],
)  # fmt: skip
def test_what_cannot_stand_for_a_runs_norm_is_refused(
    mine: Path, own: str, other: str, reason: str
) -> None:
    config = resolve(None, parse_override(f"model.norm={own}")).config
    with pytest.raises(BnrunError) as refused:
        config_with_norm(Path("run"), config, other, print)
    assert reason in str(refused.value)


def test_an_older_run_without_a_copy_says_what_is_gone(mine: Path) -> None:
    config = resolve(None, parse_override("model.norm=mine.py:Norm")).config
    assert config_with_norm(Path("run"), config, None, print) == config
    mine.unlink()
    with pytest.raises(RunError) as refused:
        config_with_norm(Path("run"), config, None, print)
    assert str(refused.value) == (
        f"run was trained with mine.py:Norm; {mine} is not there, and the run has no copy of it. "
        "Put it back, or name the file to take: --norm path/to/file.py:Class."
    )


def test_a_copy_finds_what_lies_beside_the_original_and_says_where_it_must_be(mine: Path) -> None:
    beside = mine.with_name("beside_it_for_bnrun.py")
    beside.write_text("VERSION = 7\n")
    head = "from beside_it_for_bnrun import VERSION\n"
    mine.write_text(head + SOURCE.format("VERSION"))
    path = _start().path.absolute()
    mine.unlink()
    run, _ = _reopen(path)
    assert _version(run.config) == 7
    beside.unlink()
    with pytest.raises(NormError, match="The file is a copy. What it imports from beside it is lo"):
        build_model(run.config)


def test_norms_without_a_file_of_the_users_leave_nothing(mine: Path) -> None:
    for norm in ("scratch", "torch.nn:BatchNorm2d", "__main__:Norm"):
        keep_norm(Path("run"), resolve(None, parse_override(f"model.norm={norm}")).config)
    assert not Path("run").exists()


def test_a_module_that_changed_is_told_of(
    mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(mine.parent))
    mine.rename("importable_for_bnrun.py")
    config = resolve(None, parse_override("model.norm=importable_for_bnrun:Norm")).config
    build_model(config)
    keep_norm(tmp_path, config)
    assert find_norm(tmp_path, config)[1] is None
    file = Path("importable_for_bnrun.py")
    file.write_text("")
    assert find_norm(tmp_path, config)[1] is None  # this process has imported it as it was
    monkeypatch.delitem(user_module._contents, file.resolve())  # as in a new process
    notice = str(find_norm(tmp_path, config)[1])
    assert notice.endswith("has changed since training began; it is taken as it is now")


def test_a_damaged_record_is_an_error(mine: Path) -> None:
    path = _start().path
    (path / "norm" / "files.json").write_text("{}")
    with pytest.raises(RunError, match=r"files\.json is damaged"):
        runs.reopen(path)


def test_all_trials_of_an_arm_train_with_the_file_as_the_comparison_began(mine: Path) -> None:
    arms = build_arms(["mine.py:Norm(a=1)", "none"], None)
    with create_comparison(Path("runs"), make_plan(arms, [0, 1])) as directory:
        first, _, second, _ = directory.unfinished_trials()
        mine.write_text(SOURCE.format(2))
        notices: list[str] = []
        run, _ = open_trial(second, notices.append)
        assert run.path.name == "Norm_a_1-s1"
        assert [notice.partition(":")[0] for notice in notices] == [
            f"{mine} has changed since training began"
        ]
        assert run.config.model.norm_source.copy is not None
    told: list[str] = []
    with reopen_comparison(directory.path, told.append) as again:
        assert [text.partition(":")[0] for text in told] == ["arm Norm(a=1)"]
        first = again.unfinished_trials()[0]
        run, _ = open_trial(first, told.append)
    assert len(told) == 1  # said once, for the arm
    assert "version = 1" in Path(str(run.config.model.norm_source.copy)).read_text()


def test_the_copy_is_what_was_imported(mine: Path, tmp_path: Path) -> None:
    config = resolve(None, parse_override(f"model.norm={mine}:Norm")).config
    build_model(config)
    mine.write_text(SOURCE.format(2))  # just before the training says that it starts
    keep_norm(tmp_path, config)
    assert (tmp_path / "norm" / "mine.py").read_text() == SOURCE.format(1)


NO_DATA = cast(Dataset, object())

CHANGES: list[Callable[[Path], object]] = [
    lambda file: file.write_text(SOURCE.format(2)),
    lambda file: file.write_text("class ("),
    lambda file: file.unlink(),
]


@pytest.mark.parametrize("change", CHANGES, ids=["changed", "broken", "gone"])
def test_what_becomes_of_the_file_while_a_comparison_runs_changes_no_trial(
    mine: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[object] = []

    def train(config: Config, *_: object) -> Generator[Event]:
        trained.append(_version(config))
        yield STARTED

    monkeypatch.setattr(trial_directory, "train", train)
    arms = build_arms(["mine.py:Norm", "other=mine.py:Norm,optimizer.lr=2"], None)
    with create_comparison(Path("runs"), make_plan(arms, [0, 1])) as directory:
        first, second, third, _ = directory.unfinished_trials()
        drain(train_trial(first, NO_DATA))
        change(mine)
        drain(train_trial(second, NO_DATA))
        assert trained == [1, 1]
        (arm, other) = (result.arm for result in directory.comparison.arms)
        assert _version(arm.config) == 1  # as parity and throughput build it
        assert arm.has_network_of(other)
        made = Path(str(third.run))  # as a trial leaves it that was not built
        made.mkdir()
        (made / "config.yaml").write_text(third.config.yaml())
    config = config_with_norm(made, third.config, None, print)  # as `bnrun train --resume` does
    assert _version(config) == 1
    with reopen_comparison(directory.path) as again:
        drain(train_trial(again.unfinished_trials()[2], NO_DATA))
    assert trained == [1, 1, 1]
    assert {file["sha256"] for file in _files(made)} == {
        hashlib.sha256(SOURCE.format(1).encode()).hexdigest()
    }
