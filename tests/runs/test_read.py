"""A run is found by path or name, and its checkpoint is refused where it cannot be trusted."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from bnrun import runs
from bnrun.config import resolve
from bnrun.errors import ConfigError, RunError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = runs.create(tmp_path / "runs", resolve(None)).path
    state = {"format": 1, "config": resolve(None).config.document(), "epochs": []}
    torch.save(state, path / "checkpoint.pt")
    return path


def test_a_run_is_found_by_its_path_and_by_its_name(run: Path) -> None:
    assert runs.find(str(run), Path("elsewhere")) == run
    assert runs.find(run.name, run.parent) == run


def test_a_folder_of_the_same_name_does_not_hide_a_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / run.name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert runs.find(run.name, Path("runs")) == Path("runs", run.name)


def _make(out: Path, *names: str, file: str = "config.yaml") -> list[Path]:
    for name in names:
        (out / name).mkdir(parents=True)
        (out / name / file).touch()
    return [out / name for name in names]


OLD, NEW = "20260101T000000Z-lenet_bn-scratch-s0", "20261121T195959Z-lenet_bn-none-s0"


def test_a_run_is_found_by_a_beginning_that_is_its_own(tmp_path: Path) -> None:
    old, new, longer = _make(tmp_path, OLD, NEW, f"{NEW}-2")
    assert runs.find("20260", tmp_path) == old
    assert runs.find(NEW, tmp_path) == new  # a whole name, though another one begins so
    assert runs.find(f"{NEW}-", tmp_path) == longer
    assert runs.find(f"{tmp_path}/20260", Path("elsewhere")) == old


def test_a_beginning_of_several_is_refused_and_a_handful_of_them_named(tmp_path: Path) -> None:
    _make(tmp_path, OLD, *(f"20261121T19595{n}Z-a-none-s0" for n in range(7)))
    with pytest.raises(RunError) as refused:
        runs.find("2026", tmp_path)
    assert str(refused.value) == (
        "'2026' begins 8 runs; give more of the name:\n"
        "  20261121T195956Z-a-none-s0\n"
        "  20261121T195955Z-a-none-s0\n"
        "  20261121T195954Z-a-none-s0\n"
        "  20261121T195953Z-a-none-s0\n"
        "  20261121T195952Z-a-none-s0\n"
        "  and 3 more"
    )


def test_the_latest_run_is_the_one_started_last(tmp_path: Path) -> None:
    old, new = _make(tmp_path, OLD, NEW)
    os.utime(old / "config.yaml")  # written to later
    assert runs.find("latest", tmp_path) == new
    (renamed,) = _make(tmp_path, "a name of my own")
    assert runs.find("latest", tmp_path) == renamed  # by its file's time
    started = '{"event": "run_started", "time": "2026-11-20T00:00:00Z"}\n'
    (renamed / "metrics.jsonl").write_text(started)
    assert runs.find("latest", tmp_path) == new
    (real,) = _make(tmp_path, "latest")
    assert runs.find("latest", tmp_path) == real


def test_a_comparison_is_no_run_but_its_trials_are(tmp_path: Path) -> None:
    (old,) = _make(tmp_path, OLD)
    (comparison,) = _make(tmp_path, "20261231T000000Z-compare-a-b", file="compare.yaml")
    (trial,) = _make(comparison / "trials", NEW)
    for name in (comparison.name, str(comparison), "20261231"):
        with pytest.raises(RunError, match=r"is a comparison; its runs are in .*/trials/"):
            runs.find(name, tmp_path)
    assert runs.find("latest", tmp_path) == old
    assert runs.find("2026", tmp_path) == old
    assert runs.find(f"{comparison.name}/trials/{NEW}", tmp_path) == trial
    assert runs.find(f"{comparison.name}/trials/2026", tmp_path) == trial


def test_where_there_is_no_run_at_all_it_says_what_makes_one(tmp_path: Path) -> None:
    for name in ("latest", "20261121"):
        with pytest.raises(RunError, match="There is none at all: `bnrun train` makes one"):
            runs.find(name, tmp_path)


def test_nothing_is_the_beginning_of_no_run(run: Path) -> None:
    with pytest.raises(RunError, match="there is no run ''"):
        runs.find("", run.parent)


def test_a_run_that_another_process_trains_is_refused_before_it_is_read(run: Path) -> None:
    held, _ = runs.reopen(run)
    with pytest.raises(RunError, match="another process"):
        runs.reopen(run)
    with held:
        pass
    again, _ = runs.reopen(run)
    with again:
        pass


def test_a_run_that_is_not_there_is_told_with_a_near_miss(run: Path) -> None:
    with pytest.raises(RunError, match=f"Did you mean '{run.name}'"):
        runs.find(run.name[:-1] + "7", run.parent)
    with pytest.raises(RunError, match="there is no run 'x'"):
        runs.find("x", Path("no such folder"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no config.yaml"):
        runs.find(str(tmp_path), Path("runs"))


def test_a_run_without_a_finished_epoch_starts_from_the_beginning(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    assert runs.reopen(run)[1] is None


def test_a_checkpoint_that_was_taken_away_is_missed(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    (run / "metrics.jsonl").write_text('{"event": "epoch_ended"}\n')
    with pytest.raises(RunError, match="checkpoint.pt is missing"):
        runs.reopen(run)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_checkpoint_cut_short_is_refused_and_left_as_it_is(run: Path, part: float) -> None:
    file = run / "checkpoint.pt"
    cut = file.read_bytes()[: int(file.stat().st_size * part)]
    file.write_bytes(cut)
    with pytest.raises(RunError, match="is damaged, or no checkpoint"):
        runs.reopen(run)
    assert file.read_bytes() == cut


class Harmful:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_cannot_run_code(run: Path, tmp_path: Path) -> None:
    torch.save({"format": 1, "x": Harmful(tmp_path / "harm")}, run / "checkpoint.pt")
    with pytest.raises(RunError, match="is damaged, or no checkpoint"):
        runs.reopen(run)
    (run / "checkpoint.pt").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    with pytest.raises(RunError, match="is damaged, or no checkpoint"):
        runs.reopen(run)
    assert not (tmp_path / "harm").exists()


def test_another_programs_checkpoint_is_refused(run: Path) -> None:
    torch.save({"state_dict": {}}, run / "checkpoint.pt")
    with pytest.raises(RunError, match="no checkpoint of this version"):
        runs.reopen(run)


def test_a_checkpoint_of_another_config_is_refused_and_the_keys_named(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("lr: 1.0", "lr: 0.5"))
    with pytest.raises(RunError, match=r"is from another config: optimizer.lr differs"):
        runs.reopen(run)


def test_a_damaged_config_is_refused(run: Path) -> None:
    (run / "config.yaml").write_text("model: {norms: scratch}")
    with pytest.raises(ConfigError, match="Did you mean 'norm'"):
        runs.reopen(run)
