"""A run, or a comparison, is found by a path, a name, the start of one, or `latest`."""

import os
from pathlib import Path

import pytest

from bnrun import runs
from bnrun.config import resolve
from bnrun.errors import RunError
from bnrun.events import DataUsed, RunEnded, RunStarted
from bnrun.runs.lookup import find_any, find_comparison, find_either, find_study_directory
from bnrun.runs.obstacles import fails_at_once, no_epoch, nothing_left_to_train, nothing_to_draw

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return runs.create(tmp_path / "runs", resolve(None)).path


def test_a_run_is_found_by_its_path_and_by_its_name(run: Path) -> None:
    assert runs.find(str(run), Path("elsewhere")) == run
    assert runs.find(run.name, run.parent) == run


def test_a_mistyped_latest_is_no_name_of_a_run(run: Path) -> None:
    for find in (runs.find, find_either, find_any):
        with pytest.raises(RunError, match=r" Did you mean 'latest'\?$"):
            find("latset", run.parent)


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


def test_a_run_is_found_by_the_start_of_its_name(tmp_path: Path) -> None:
    old, new, longer = _make(tmp_path, OLD, NEW, f"{NEW}-2")
    assert runs.find("20260", tmp_path) == old
    assert runs.find(NEW, tmp_path) == new  # a whole name, though another one begins so
    assert runs.find(f"{NEW}-", tmp_path) == longer
    assert runs.find(f"{tmp_path}/20260", Path("elsewhere")) == old


def test_a_start_of_several_names_is_refused_and_a_handful_of_them_named(tmp_path: Path) -> None:
    _make(tmp_path, OLD, *(f"20261121T19595{n}Z-a-none-s0" for n in range(7)))
    with pytest.raises(RunError) as refused:
        runs.find("2026", tmp_path)
    assert str(refused.value) == (
        "8 runs start with '2026'; give more of the name:\n"
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
        with pytest.raises(RunError) as refused:
            runs.find(name, tmp_path)
        assert str(refused.value) == (
            f"{comparison} is a comparison. Ask for a trial of it, as in {comparison.name}/{NEW}. "
            f"Its trials: {NEW}."
        )
    assert runs.find("latest", tmp_path) == old
    assert runs.find("2026", tmp_path) == old
    assert runs.find(f"{comparison.name}/trials/{NEW}", tmp_path) == trial
    assert runs.find(f"{comparison.name}/trials/2026", tmp_path) == trial


def test_where_there_is_no_run_at_all_it_says_what_makes_one(tmp_path: Path) -> None:
    for name in ("latest", "20261121"):
        with pytest.raises(RunError, match="No run is there yet: `bnrun train` makes one"):
            runs.find(name, tmp_path)


def test_an_empty_name_is_the_start_of_no_run(run: Path) -> None:
    with pytest.raises(RunError, match="there is no run ''"):
        runs.find("", run.parent)


def test_an_unknown_run_is_an_error_with_the_closest_name(run: Path) -> None:
    with pytest.raises(RunError, match=f"Did you mean '{run.name}'"):
        runs.find(run.name[:-1] + "7", run.parent)
    with pytest.raises(RunError, match="there is no run 'x'"):
        runs.find("x", Path("no such folder"))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no config.yaml"):
        runs.find(str(tmp_path), Path("runs"))


def test_where_there_are_only_trials_the_latest_run_is_the_newest_of_them(tmp_path: Path) -> None:
    old, new = _make(
        tmp_path, "20260101T000000Z-compare-a-b", "20261231T000000Z-compare-a-b",
        file="compare.yaml",
    )  # fmt: skip
    _make(old / "trials", "20270101T000000Z-b")
    _, second = _make(new / "trials", "20261231T000001Z-a", "20261231T000002Z-a")
    assert runs.find("latest", tmp_path) == second
    (run,) = _make(tmp_path, OLD)
    assert runs.find("latest", tmp_path) == run


def test_a_trial_is_found_by_whatever_names_its_comparison(tmp_path: Path) -> None:
    (comparison,) = _make(tmp_path, "20261231T000000Z-compare-a-b", file="compare.yaml")
    assert "None of its trials was started yet" in _refusal(comparison.name, tmp_path)
    one, ten, _ = _make(comparison / "trials", "mine-s1", "mine-s10", "b-s1")
    for name in ("latest", "2026", comparison.name, str(comparison)):
        assert runs.find(f"{name}/mine-s1", tmp_path) == one  # though another one begins so
        assert runs.find(f"{name}/mine-s10", tmp_path) == ten
        assert find_either(f"{name}/mine-s10", tmp_path) == ten
    assert "2 runs start with 'latest/mine'" in _refusal("latest/mine", tmp_path)
    _make(tmp_path, "20261230T000000Z-compare-a-b", file="compare.yaml")
    assert "2 comparisons start with '2026'" in _refusal("2026/mine-s1", tmp_path)
    refusal = _refusal("latest/mime-s1", tmp_path)
    assert refusal.startswith(f"there is no trial 'mime-s1' in {comparison}. Did you mean 'mine-s1")
    assert "Its trials: " in refusal


def _refusal(name: str, out: Path) -> str:
    with pytest.raises(RunError) as refused:
        runs.find(name, out)
    return str(refused.value)


def test_latest_passes_over_what_cannot_be_asked_and_says_so(tmp_path: Path) -> None:
    names = [f"2026112{day}T000000Z-a-none-s0" for day in range(1, 7)]
    first, second, *others = _make(tmp_path, *names)
    for path in (first, second):
        (path / "checkpoint.pt").touch()
    _make(tmp_path, "20261122T000001Z-compare-a-b", "20261127T000000Z-compare-c-d",
          file="compare.yaml")  # fmt: skip
    notices: list[str] = []
    assert runs.find("latest", tmp_path, no_epoch, notices.append) == second
    assert notices == [
        f"latest is {second.name}; passed over: 20261127T000000Z-compare-c-d (a comparison; for a "
        f"trial of it: latest/TRIAL), {names[5]} (it has finished no epoch), {names[4]} (it has "
        "finished no epoch), 3 more"
    ]
    assert runs.find(names[5], tmp_path, no_epoch, notices.append) == others[-1]  # as named
    assert find_either("latest", tmp_path, nothing_to_draw, notices.append) == second
    (second / "checkpoint.pt").unlink()
    (first / "checkpoint.pt").unlink()
    assert runs.find("latest", tmp_path, no_epoch, notices.append) == others[-1]
    assert len(notices) == 2


def test_the_latest_to_draw_is_a_comparison_with_a_trial_that_has_an_epoch(tmp_path: Path) -> None:
    (run,) = _make(tmp_path, NEW)
    (comparison,) = _make(tmp_path, "20261231T000000Z-compare-a-b", file="compare.yaml")
    (trial,) = _make(comparison / "trials", "a-s0")
    (run / "checkpoint.pt").touch()
    assert find_either("latest", tmp_path) == comparison
    assert find_either("latest", tmp_path, nothing_to_draw) == run
    (trial / "checkpoint.pt").touch()
    assert find_either("latest", tmp_path, nothing_to_draw) == comparison


def test_a_run_that_is_complete_or_at_work_has_nothing_left_to_train(run: Path) -> None:
    assert nothing_left_to_train(run) is None
    locked = runs.Run(run, resolve(None).config)
    with locked:
        locked.record(RunStarted("scratch", "cpu", "CPU", 0, 1, 1, DATA))
        assert nothing_left_to_train(run) == "a process is training in it"
        locked.record(RunEnded("completed", None, None))
        assert nothing_left_to_train(run) == "it is complete"
        assert fails_at_once(run) is None
    (run / "config.yaml").write_text("model: [")
    assert nothing_left_to_train(run) is None


def test_the_latest_comparison_to_continue_is_not_complete(tmp_path: Path) -> None:
    plan = "arms: [{name: scratch}]\nseeds: [0]"
    old, new = _make(tmp_path, "20260101T000000Z-compare-a-b", "20261101T000000Z-compare-a-b",
                     file="compare.yaml")  # fmt: skip
    for path, status in ((old, "interrupted"), (new, "completed")):
        (path / "compare.yaml").write_text(plan)
        (path / "summary.json").write_text(f'{{"status": "{status}"}}')
    notices: list[str] = []
    assert find_comparison("latest", tmp_path, nothing_left_to_train, notices.append) == old
    assert notices == [f"latest is {old.name}; passed over: {new.name} (it is complete)"]


def test_a_comparison_is_found_as_a_run_is(tmp_path: Path) -> None:
    (run,) = _make(tmp_path, NEW)
    old, new = _make(
        tmp_path, "20260101T000000Z-compare-a-b", "20261101T000000Z-compare-a-b",
        file="compare.yaml",
    )  # fmt: skip
    assert find_comparison(str(old), Path("elsewhere")) == old
    assert find_comparison("202601", tmp_path) == old
    assert find_comparison("latest", tmp_path) == new
    with pytest.raises(RunError, match="is a run, not a comparison"):
        find_comparison(run.name, tmp_path)
    with pytest.raises(RunError, match="`bnrun compare scratch builtin` makes one"):
        find_comparison("latest", tmp_path / "none")
    assert find_either("202601", tmp_path) == old
    assert find_either("latest", tmp_path) == run


def test_a_run_that_failed_before_its_first_epoch_is_the_last_one_to_continue(
    tmp_path: Path,
) -> None:
    interrupted, failed, complete = _make(
        tmp_path, *(f"2026112{day}T000000Z-a-none-s0" for day in (1, 2, 3))
    )
    for path in (interrupted, failed, complete):
        (path / "config.yaml").write_text(resolve(None).config.yaml())
    started = RunStarted("scratch", "cpu", "CPU", 0, 1, 1, DATA)
    for path, status in ((failed, "failed"), (complete, "completed")):
        with runs.Run(path, resolve(None).config) as run:
            run.record(started)
            run.record(RunEnded(status, None, None))  # type: ignore[arg-type]
    notices: list[str] = []

    def latest() -> Path:
        return runs.find("latest", tmp_path, nothing_left_to_train, notices.append, fails_at_once)

    assert latest() == interrupted
    assert notices.pop() == (
        f"latest is {interrupted.name}; passed over: {complete.name} (it is complete), "
        f"{failed.name} (it failed before an epoch was finished)"
    )
    (interrupted / "config.yaml").unlink()
    assert latest() == failed
    assert notices == [f"latest is {failed.name}; passed over: {complete.name} (it is complete)"]


def test_what_is_no_study_is_called_by_its_kind(tmp_path: Path) -> None:
    _make(tmp_path, "run")
    _make(tmp_path, "comparison", file="compare.yaml")
    for word in ("run", "comparison"):
        with pytest.raises(RunError, match=f"{word} is a {word}, not a study"):
            find_study_directory(word, tmp_path)


def test_a_study_is_no_run_and_the_error_has_the_command_that_shows_it(tmp_path: Path) -> None:
    (study,) = _make(tmp_path, "study", file="study.json")
    with pytest.raises(RunError, match=f"is a study: `bnrun study --judge {study}` shows it"):
        runs.find("study", tmp_path)
