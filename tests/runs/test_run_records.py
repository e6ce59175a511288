"""What is read of a run directory: all that the run has reached, and nothing else."""

import dataclasses
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bnrun import runs
from bnrun.config import Assignment, resolve
from bnrun.errors import BnrunError
from bnrun.events import DataUsed, EpochEnded, Event, Notice, RunEnded, RunStarted
from bnrun.runs.lookup import COMPARISON
from bnrun.runs.run_difference import Difference, difference
from bnrun.runs.run_records import (
    ComparisonRecord,
    DamagedRun,
    RunRecord,
    list_runs,
    read_run,
    records,
)

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
STARTED = RunStarted("scratch", "cpu", "a machine", 3, 2, 3, DATA)
ENDED = RunEnded("completed", 10_000.0, 12_000.0)


def _epoch(number: int) -> EpochEnded:
    return EpochEnded(number, 0.5 / number, 0.8, 0.7, None, 9_000.0, 11_000.0, 1.5, 0.75)


def _create(out: Path, **values: object) -> runs.Run:
    assignments = [Assignment(key.replace("__", "."), values[key], "test") for key in values]
    return runs.create(out, resolve(None, assignments))


def _session(run: runs.Run, *events: Event) -> runs.Run:
    """Record one session, to its end."""
    with run:
        for event in events:
            run.record(event)
    return run


def _kill(run: runs.Run, *events: Event) -> None:
    """Record one session that is killed: no summary of it is written."""
    for event in events:
        run.record(event)


def _again(run: runs.Run) -> runs.Run:
    return runs.Run(run.path, run.config)


def test_a_completed_run_is_read_back_as_it_was(tmp_path: Path) -> None:
    run = _session(_create(tmp_path), STARTED, Notice("a"), _epoch(1), _epoch(2), ENDED)
    kept = read_run(run.path)
    assert kept.summary == run.summary
    assert kept.status == "completed"
    assert kept.config_name == "lenet_bn"
    assert kept.environment["machine"] == "a machine"
    assert kept.started is not None
    assert abs((datetime.now(UTC) - kept.started).total_seconds()) < 60


@pytest.mark.parametrize(
    ("norm", "name"),
    [
        ("scratch", "lenet_bn"),
        ("my dir/a file.py:Größe", "lenet_bn"),
        ("file.py:s0", "a-scratch-s0"),
        ("none", "-s0-none-s0-2"),
    ],
)
def test_the_config_is_known_by_the_directorys_name(tmp_path: Path, norm: str, name: str) -> None:
    resolved = resolve(None, [Assignment("model.norm", norm, "test")])
    resolved = dataclasses.replace(resolved, name=name)
    for _ in range(3):  # the copies of one second, too
        assert read_run(runs.create(tmp_path, resolved).path).config_name == name


def test_a_renamed_run_has_its_time_from_its_metrics_and_no_config_name(tmp_path: Path) -> None:
    run = _session(_create(tmp_path), STARTED, _epoch(1), ENDED)
    renamed = read_run(run.path.rename(tmp_path / "mine"))
    assert renamed.config_name is None
    assert renamed.summary.run == str(tmp_path / "mine")
    assert renamed.started is not None


def test_a_killed_run_has_its_epochs_and_a_partial_line_is_ignored(tmp_path: Path) -> None:
    run = _create(tmp_path)
    assert read_run(run.path).status == "unfinished"  # before it began
    _kill(run, STARTED, _epoch(1))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "epoch_e')
    kept = read_run(run.path)
    assert (kept.status, kept.summary.status) == ("unfinished", "interrupted")
    assert kept.summary.epochs == (_epoch(1),)
    assert not (run.path / ".lock").exists()  # looking makes no file


def test_a_run_is_running_while_a_process_holds_it(tmp_path: Path) -> None:
    run = _create(tmp_path)
    with run:
        run.record(STARTED)
        run.record(_epoch(1))
        assert read_run(run.path).status == "running"
    assert read_run(run.path).status == "interrupted"
    with _again(run) as again:
        again.record(dataclasses.replace(STARTED, finished=(_epoch(1),)))
        assert read_run(run.path).status == "running"  # whatever its summary says


@pytest.mark.parametrize("new_epochs", [0, 1])
def test_the_summary_of_an_earlier_session_is_ignored_after_a_kill(
    tmp_path: Path, new_epochs: int
) -> None:
    run = _session(_create(tmp_path), STARTED, _epoch(1))
    assert read_run(run.path).status == "interrupted"
    on = dataclasses.replace(STARTED, finished=(_epoch(1),))
    _kill(_again(run), on, *(_epoch(n + 2) for n in range(new_epochs)))
    kept = read_run(run.path)
    assert kept.status == "unfinished"
    assert [epoch.epoch for epoch in kept.summary.epochs] == [1, 2][: new_epochs + 1]


def test_a_run_that_continued_to_its_end_reads_as_if_never_interrupted(tmp_path: Path) -> None:
    run = _session(_create(tmp_path), STARTED, _epoch(1))
    on = dataclasses.replace(STARTED, finished=(_epoch(1),))
    _session(_again(run), on, _epoch(2), ENDED)
    kept = read_run(run.path)
    assert kept.status == "completed"
    assert kept.summary.epochs == (_epoch(1), _epoch(2))
    assert kept.summary.examples_per_second == 10_000


def test_a_record_has_the_reason_of_a_failure_or_divergence(tmp_path: Path) -> None:
    run = _create(tmp_path)
    with pytest.raises(BnrunError), run:
        run.record(STARTED)
        raise BnrunError("why")
    kept = read_run(run.path)
    assert (kept.status, kept.summary.reason) == ("failed", "why")
    diverged = RunEnded("diverged", None, None, "the loss became nan")
    kept = read_run(_session(_create(tmp_path), STARTED, diverged).path)
    assert (kept.status, kept.summary.reason) == ("diverged", "the loss became nan")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("config.yaml", b"model: {norms: scratch}", "there is no key 'model.norms'"),
        ("config.yaml", b"\xff\xfe", "is not UTF-8"),
        ("metrics.jsonl", b"\0\0\n", "metrics.jsonl:1: this line is not an event"),
        ("metrics.jsonl", b"[]\n", "metrics.jsonl:1: this line"),
        (
            "metrics.jsonl",
            b'{"event": "notice", "message": ""}\n{"event": "run_started"}\n',
            "metrics.jsonl:2: ",
        ),
        ("metrics.jsonl", b'{"event": "epoch_ended", "epoch": "x"}\n', "metrics.jsonl:1: "),
        ("summary.json", b"{", "summary.json is damaged"),
        ("summary.json", b'{"status": "fine"}', "summary.json is damaged"),
        ("summary.json", b'{"status": "failed", "epochs": 3}', "its epochs are no list"),
        ("environment.json", b"[]", "environment.json is damaged"),
        ("environment.json", b'{"command": 3}', "its command is no list of words"),
        ("environment.json", b'{"command": [3]}', "its command is no list of words"),
        ("environment.json", b'{"git": 7}', "its git state is no object"),
    ],
)
def test_a_damaged_run_is_in_its_place_in_the_list(
    tmp_path: Path, file: str, content: bytes, problem: str
) -> None:
    whole, damaged = _create(tmp_path), _create(tmp_path, training__seed=1)
    (damaged.path / file).write_bytes(content)
    listed = {run.path: run for run in list_runs(tmp_path)}
    assert isinstance(listed[whole.path], RunRecord)
    found = listed[damaged.path]
    assert isinstance(found, DamagedRun)
    assert problem in found.problem


def test_runs_are_listed_newest_first_and_other_things_not_at_all(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    made = _create(tmp_path).path
    names = ["20260301T000000Z-b-scratch-s0", "20260201T000000Z-a-scratch-s0"]
    made.rename(tmp_path / names[1])
    _create(tmp_path).path.rename(tmp_path / names[0])
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").touch()
    assert [run.path.name for run in list_runs(tmp_path)] == names
    assert [run.path.name for run in list_runs(tmp_path, limit=1)] == names[:1]


def test_comparisons_have_their_arms_and_seeds(tmp_path: Path) -> None:
    plans = {
        "a": "arms: [{name: scratch, config: {}}, {name: none}]\nseeds: [0, 1]",
        "b": "arms: 3",
        "c": "arms: [{name: max, config: {}}]\nseeds: [0]",
    }
    for name, plan in plans.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "compare.yaml").write_text(plan)
    (tmp_path / "a" / "summary.json").write_text('{"status": "completed"}')
    (tmp_path / "c" / "summary.json").write_text('{"status": 3}')
    c, b, a = (one for one in records(tmp_path, COMPARISON) if isinstance(one, ComparisonRecord))
    assert (a.arms, a.seeds, a.status) == (("scratch", "none"), (0, 1), "completed")
    assert (b.arms, b.seeds, b.status) == ((), (), "damaged")
    assert (c.arms, c.seeds, c.status) == (("max",), (0,), "damaged")
    assert list_runs(tmp_path) == []


def test_the_difference_of_two_runs_is_what_differs_and_nothing_else(tmp_path: Path) -> None:
    a = _session(_create(tmp_path), STARTED, _epoch(1), _epoch(2), ENDED)
    b = _create(tmp_path, model__norm="none", training__seed=4)
    _kill(b, dataclasses.replace(STARTED, norm="none", seed=4), _epoch(1))
    found = difference(read_run(a.path), read_run(b.path))
    assert found.config == (
        Difference("model.norm", "scratch", "none"),
        Difference("training.seed", 0, 4),
    )
    assert found.result == (
        Difference("status", "completed", "unfinished"),
        Difference("epochs", 2, 1),
        Difference("loss", 0.25, 0.5),
        Difference("examples_per_second", 10_000.0, 9_000.0),
    )
    assert found.environment == ()
    assert found.remarks == (
        "b is unfinished: its figures are those of epoch 1 of 10.",
        "One seed each (3 and 4): two runs with different seeds differ by chance, too. `bnrun "
        "compare` pairs seeds.",
    )


@pytest.mark.parametrize(
    ("other", "data", "remark"),
    [
        ({}, DATA, "Both train the same, with seed 3: their results differ by what they ran on"),
        ({"training__engine": "eager"}, DATA, "Both train the same, with seed 3: their results"),
        ({"optimizer__lr": 0.5}, DATA, "Both have seed 3: they share initial weights and the"),
        ({}, dataclasses.replace(DATA, train_images=60), "They have different images: their fig"),
    ],
)
def test_what_a_difference_comes_from_is_said_truly(
    tmp_path: Path, other: dict[str, object], data: DataUsed, remark: str
) -> None:
    a = _session(_create(tmp_path, training__seed=3), STARTED, _epoch(1), ENDED)
    b = _create(tmp_path, training__seed=3, **other)
    assert difference(read_run(a.path), read_run(a.path)).remarks == ()
    worse = dataclasses.replace(_epoch(1), loss=1.0)
    _session(b, dataclasses.replace(STARTED, data=data), worse, ENDED)
    (found,) = difference(read_run(a.path), read_run(b.path)).remarks
    assert found.startswith(remark)


def test_unpublished_images_of_two_folders_are_not_taken_for_the_same(tmp_path: Path) -> None:
    images = dataclasses.replace(STARTED, data=dataclasses.replace(DATA, verified=False))
    runs = (_create(tmp_path, data__root=root) for root in ("mine", "yours"))
    a, b = (
        _session(run, images, dataclasses.replace(_epoch(1), loss=loss), ENDED)
        for run, loss in zip(runs, (0.5, 1.0), strict=True)
    )
    (found,) = difference(read_run(a.path), read_run(b.path)).remarks
    assert found == "They have different images: their figures do not compare."


LISTING = """
import sys
from pathlib import Path
from bnrun.runs.run_records import list_runs

out, stop = Path(sys.argv[1]), Path(sys.argv[2])
print("listing", flush=True)
while not stop.exists():
    list_runs(out)
"""


@pytest.mark.process
def test_listing_runs_without_a_pause_never_makes_a_resume_fail(tmp_path: Path) -> None:
    run = _session(_create(tmp_path / "runs"), STARTED, _epoch(1))
    command = [sys.executable, "-c", LISTING, str(tmp_path / "runs"), str(tmp_path / "stop")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listing:
        assert listing.stdout is not None
        assert listing.stdout.readline() == "listing\n"
        try:
            for _ in range(60):
                again = _again(run)
                again.lock()
                assert read_run(run.path).status == "running"
                with again:
                    pass
        finally:
            (tmp_path / "stop").touch()
    assert listing.returncode == 0
