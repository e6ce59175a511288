"""The run directory: what is in it, and that nothing on disk is ever lost."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bnrun import kernels, runs
from bnrun.config import Assignment, resolve
from bnrun.errors import ConfigError, RunError, TrainingFailed
from bnrun.events import (
    CheckpointReady,
    DataUsed,
    EpochEnded,
    Notice,
    Progress,
    RunEnded,
    RunStarted,
)
from bnrun.runs.run_records import read_run

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
STARTED = RunStarted("scratch", "cpu", "a machine", 3, 2, 3, DATA)
ENDED = RunEnded("completed", 10_000.0, 12_000.0)


def _epoch(number: int) -> EpochEnded:
    return EpochEnded(number, 0.5 / number, 0.8, 0.7, None, 9_000.0, 11_000.0, 1.5)


def _checkpoint(number: int) -> CheckpointReady:
    epochs = [vars(_epoch(n)) for n in range(1, number + 1)]
    state = {"format": 1, "config": resolve(None).config.to_dict(), "epochs": epochs}
    model = {"weight": torch.full((50_000,), 1.0)}
    return CheckpointReady(number, {**state, "model": model, "attributes": {}})


def _create(out: Path, norm: str = "scratch") -> runs.Run:
    return runs.create(out, resolve(None, [Assignment("model.norm", norm, "test")]))


def _events(path: Path) -> list[str]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def test_a_run_leaves_the_five_files(tmp_path: Path) -> None:
    with _create(tmp_path / "deep" / "runs") as run:
        for event in (STARTED, Progress(1, 1, 0.5, 0.5, None), Notice("a"), _checkpoint(1)):
            run.record(event)
        for event in (_epoch(1), _checkpoint(2), _epoch(2), ENDED):
            run.record(event)
    files = {path.name for path in run.path.iterdir()}
    written = {"config.yaml", "environment.json", "metrics.jsonl", "checkpoint.pt", "summary.json"}
    assert {name for name in files if not name.startswith(".lock")} == written
    assert _events(run.path) == [
        "run_started", "notice", "epoch_ended", "epoch_ended", "run_ended",
    ]  # fmt: skip
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["run"] == str(run.path)
    assert [epoch["epoch"] for epoch in summary["epochs"]] == [1, 2]
    assert (summary["loss"], summary["train_acc"], summary["test_acc"]) == (0.25, 0.8, 0.7)
    assert (summary["examples_per_second"], summary["compute_examples_per_second"]) == (1e4, 1.2e4)
    environment = json.loads((run.path / "environment.json").read_text())
    names = {"torch", "torchvision", "python", "device", "threads", "command", "git"}
    assert names | {"omp_wait_policy"} <= set(environment)
    assert environment["kernels"] is None
    assert torch.load(run.path / "checkpoint.pt", weights_only=True)["epochs"][1]["epoch"] == 2
    assert resolve(run.path / "config.yaml").config == run.config


def test_a_compiled_run_says_what_its_kernels_were_compiled_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = kernels.Build(("AVX2", "FMA"), "GCC 12.2.0")
    monkeypatch.setattr(kernels, "is_compiled", lambda: True)
    monkeypatch.setattr(kernels, "describe_build", lambda: build)
    with _create(tmp_path) as run:
        run.record(replace(STARTED, engine="compiled"))
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["kernels"] == {"features": ["AVX2", "FMA"], "compiler": "GCC 12.2.0"}


@pytest.mark.parametrize(
    ("norm", "ending"),
    [("scratch", "-lenet_bn-scratch-s0"), ("my dir/a file.py:My_Norm", "-lenet_bn-My_Norm-s0")],
)
def test_the_directory_is_named_after_time_config_norm_and_seed(
    tmp_path: Path, norm: str, ending: str
) -> None:
    name = _create(tmp_path, norm).path.name
    time, _, rest = name.partition("-")
    assert len(time) == len("20261121T195959Z")
    assert f"-{rest}" == ending


def test_two_runs_of_one_second_have_directories_of_their_own(tmp_path: Path) -> None:
    assert len({_create(tmp_path).path for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "interrupted"), (TrainingFailed, "failed"), (ZeroDivisionError, "failed")],
)
def test_whatever_ends_a_run_is_in_its_summary(
    tmp_path: Path, error: type[BaseException], status: str
) -> None:
    def stop() -> None:
        raise error("why")

    run = _create(tmp_path)
    with pytest.raises(error), run:
        run.record(STARTED)
        run.record(_checkpoint(1))
        run.record(_epoch(1))
        stop()
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == status
    assert summary["reason"] == ("why" if status == "failed" else None)
    assert len(summary["epochs"]) == 1


def test_a_diverged_run_keeps_its_last_good_checkpoint(tmp_path: Path) -> None:
    with _create(tmp_path) as run:
        for event in (STARTED, _checkpoint(1), _epoch(1)):
            run.record(event)
        run.record(RunEnded("diverged", None, None, "the loss became nan"))
    assert json.loads((run.path / "summary.json").read_text())["status"] == "diverged"
    assert len(torch.load(run.path / "checkpoint.pt", weights_only=True)["epochs"]) == 1


def test_two_processes_cannot_train_in_one_run(tmp_path: Path) -> None:
    with _create(tmp_path) as run, pytest.raises(RunError, match="another process"):
        runs.Run(run.path, run.config).__enter__()
    with run:
        pass  # free again


def test_metrics_of_a_killed_run_are_completed_and_only_added_to(tmp_path: Path) -> None:
    with _create(tmp_path) as run:
        for event in (STARTED, _checkpoint(1), _epoch(1), _checkpoint(2)):
            run.record(event)  # killed before epoch 2 was in the metrics, inside a line:
    metrics = run.path / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + '{"event": "epoch_e')
    with runs.Run(run.path, run.config) as again:
        finished = (_epoch(1), _epoch(2))
        again.record(RunStarted("scratch", "cpu", "a machine", 3, 2, 3, DATA, finished))
        again.record(ENDED)
    assert metrics.read_text().startswith(whole)
    assert _events(run.path) == [
        "run_started", "epoch_ended", "epoch_ended", "run_started", "run_ended",
    ]  # fmt: skip


def test_a_run_is_trained_longer_in_its_own_directory(tmp_path: Path) -> None:
    run = _create(tmp_path)
    with run:
        for event in (STARTED, _checkpoint(1), _epoch(1), _checkpoint(2), _epoch(2), ENDED):
            run.record(event)
    config, metrics = run.path / "config.yaml", run.path / "metrics.jsonl"
    before, lines = config.read_text(), metrics.read_text()
    longer, checkpoint = runs.reopen(run.path, epochs=12)
    assert checkpoint is not None
    assert config.read_text() == before  # until training starts
    finished = (_epoch(1), _epoch(2))
    with longer:
        longer.record(replace(STARTED, epochs=12, finished=finished))
        longer.record(_epoch(3))
    assert config.read_text() == before.replace("epochs: 10", "epochs: 12")
    assert metrics.read_text().startswith(lines)
    kept = read_run(run.path)
    assert (kept.status, len(kept.summary.epochs)) == ("interrupted", 3)
    assert json.loads((run.path / "summary.json").read_text())["config"]["training"]["epochs"] == 12
    runs.reopen(run.path)  # the checkpoint of the shorter plan still belongs to it
    with pytest.raises(ConfigError, match=r"received 1, but .* has finished 2: .* Ask for 3 or"):
        runs.reopen(run.path, epochs=1)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """For a while, no file may grow over 100 kB: writing fails as on a full disk."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_an_error_and_the_old_checkpoint_stays(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = _create(tmp_path)
    with (
        pytest.raises(RunError, match=r"checkpoint.pt can't be written: File too large.*--resume"),
        run,
    ):
        run.record(STARTED)
        run.record(_checkpoint(1))
        run.record(_epoch(1))
        before = (run.path / "checkpoint.pt").read_bytes()
        request.getfixturevalue("small_disk")
        run.record(_checkpoint(2))
    assert (run.path / "checkpoint.pt").read_bytes() == before
    assert list(run.path.glob("*.new")) == []
    assert json.loads((run.path / "summary.json").read_text())["status"] == "failed"


def test_an_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="can't be made.*--out"):
            _create(out)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run as another user")
def test_an_out_without_write_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        _create(tmp_path / "runs")


def test_keep_every_keeps_every_nth_checkpoint(tmp_path: Path) -> None:
    resolved = resolve(None, [Assignment("training.keep_every", 2, "test")])
    with runs.create(tmp_path, resolved) as run:
        run.record(STARTED)
        for number in range(1, 6):
            run.record(_checkpoint(number))
    kept = {path.name: path for path in run.path.glob("checkpoint*.pt")}
    assert set(kept) == {"checkpoint.pt", "checkpoint-epoch-2.pt", "checkpoint-epoch-4.pt"}
    for number in (2, 4):
        state = torch.load(kept[f"checkpoint-epoch-{number}.pt"], weights_only=True)
        assert len(state["epochs"]) == number
