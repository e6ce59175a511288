"""`bnrun train` as a real process: from files on disk to a table, a document, a directory."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import FEW_IMAGES
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.cli.train import _resuming
from bnrun.config import KEYS, Config, resolve
from bnrun.runs import Run as TrainingRun

Run = Callable[..., subprocess.CompletedProcess[str]]
Trained = tuple[Path, subprocess.CompletedProcess[str]]


def test_a_whole_training_on_idx_files(bnrun: Run, idx_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"data:\n  root: {idx_root}\ntraining: {{epochs: 6, batch_size: 32}}\n")
    done = bnrun(
        "train",
        config,
        "--norm",
        "builtin",
        "--seed",
        7,
        "--device",
        "cpu",
        "--out",
        "kept",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)

    assert document["status"] == "completed"
    assert (document["device"], document["norm"], document["seed"]) == ("cpu", "builtin", 7)
    assert document["data"]["verified"] is False
    assert document["data"]["train_images"] == 300
    epochs = document["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert {"loss", "train_acc", "test_acc", "examples_per_second", "seconds"} <= set(epochs[0])
    assert {key: document[key] for key in ("loss", "train_acc", "test_acc")} == {
        key: epochs[-1][key] for key in ("loss", "train_acc", "test_acc")
    }
    assert document["train_acc"] > 0.9
    assert document["examples_per_second"] > 0
    assert document["compute_examples_per_second"] >= document["examples_per_second"]

    run = tmp_path / document["run"]
    assert run.parent == tmp_path / "kept"
    assert run.name.endswith("-mine-builtin-s7")
    assert json.loads((run / "summary.json").read_text()) == document
    assert resolve(run / "config.yaml").config.to_dict() == document["config"]
    assert "holds other images than the published Fashion-MNIST" in done.stderr
    assert "epoch 6/6" in done.stderr
    assert torch.load(run / "checkpoint.pt", weights_only=True)["format"] == 1


def test_results_go_to_stdout_and_progress_to_stderr(trained: Trained) -> None:
    _, done = trained
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "LeNet, norm scratch, synthetic data, one seed (0)"
    assert lines[2].split() == [
        "epoch", "loss", "train", "acc", "test", "acc", "examples/s", "seconds",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[4:6]] == ["1", "2"]
    assert lines[7].startswith("loss ")
    assert ", train acc " in lines[7]
    assert ", test acc " in lines[7]
    (speed,) = (line for line in lines if "examples/s end to end" in line)  # remarks precede it
    assert speed.endswith("on cpu")
    assert lines[-1].startswith("kept in runs/")
    assert "\x1b" not in done.stdout + done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_quiet_leaves_the_result_alone(bnrun: Run) -> None:
    done = bnrun(
        "train", "--set", "data.name=synthetic", "--epochs", 1, "--quiet", before=FEW_IMAGES
    )
    assert done.stderr == ""
    assert "synthetic data" in done.stdout


def test_a_dry_run_shows_every_key_and_trains_nothing(bnrun: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("optimizer:\n  lr: 1e-3\n")
    done = bnrun("train", "c.yaml", "--set", "model.pool=max", "--norm", "none", "--dry-run")
    assert done.returncode == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if "." in line}
    assert rows["optimizer.lr"] == ["0.001", "c.yaml:2"]
    assert rows["model.pool"] == ["max", "--set"]
    assert rows["model.norm"] == ["none", "--norm"]
    assert rows["training.epochs"] == ["10", "default"]
    assert len(rows) == len(KEYS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml"]


def test_a_dry_run_as_json_is_one_document(bnrun: Run) -> None:
    document = json.loads(bnrun("train", "--dry-run", "--json", "--seed", 3).stdout)
    assert document["config"]["training"]["seed"] == 3
    assert document["sources"]["training.seed"] == "--seed"


def test_a_diverged_run_ends_with_one_and_says_at_which_step(bnrun: Run, tmp_path: Path) -> None:
    done = bnrun(
        "train", "--norm", "none", "--set", "model.activation=relu", "--set", "optimizer.lr=1e6",
        "--set", "data.name=synthetic", "--set", "training.batch_size=32", "--json",
        before=FEW_IMAGES,
    )  # fmt: skip
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["status"] == "diverged"
    assert "at epoch 1, step" in document["reason"]
    assert "Traceback" not in done.stderr


def test_a_layer_that_fails_later_ends_with_one_and_shows_its_line(
    bnrun: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\nclass Norm(nn.Module):\n"
        "    def __init__(self, num_features, num_dims):\n"
        "        super().__init__()\n        self.calls = 0\n\n"
        "    def forward(self, x):\n        self.calls += 1\n        print('called')\n"
        "        assert self.calls < 20, 'tired'\n        return x\n"
    )
    done = bnrun(
        "train", "--norm", "mine.py:Norm", "--set", "data.name=synthetic", "--epochs", 2, "--json",
        "--set", "training.batch_size=48", before=FEW_IMAGES,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "AssertionError: tired" in done.stderr
    assert "mine.py:12: assert self.calls < 20, 'tired'" in done.stderr
    assert "called" in done.stderr  # stdout is for results only
    document = json.loads(done.stdout)
    assert document["status"] == "failed"
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1]


def test_a_finished_run_is_trained_longer_where_it_is(
    bnrun: Run, trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    (run,) = (tmp_path / "runs").iterdir()
    done = bnrun("train", "--resume", run.name[:9], "--epochs", 3, before=FEW_IMAGES)
    assert done.returncode == 0, done.stderr
    assert "epoch 3/3: " in done.stderr
    assert "epoch 2/3: " not in done.stderr
    summary = json.loads((run / "summary.json").read_text())
    assert [epoch["epoch"] for epoch in summary["epochs"]] == [1, 2, 3]
    assert summary["plans"] == [{"first": 1, "epochs": 2}, {"first": 3, "epochs": 3}]
    assert resolve(run / "config.yaml").config.training.epochs == 3


def test_a_run_without_an_epoch_continues_from_the_start() -> None:
    run = TrainingRun(Path("runs/mine"), Config())
    assert _resuming(run, None) == "resuming runs/mine from the start: it has finished no epoch"


def test_a_run_is_not_made_shorter_than_it_is_and_a_trial_not_longer(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    comparison = Path("runs", "20260101T000000Z-compare-a-b")
    (run,) = (trained[0] / "runs").iterdir()
    shutil.copytree(run, comparison / "trials" / "a-s0")
    (comparison / "compare.yaml").touch()
    _assert_refused("latest/a-s0", "is a trial of a comparison, whose plan says how long")
    (comparison / "trials" / "a-s0").rename("runs/mine")
    _assert_refused(
        "mine", "error: --epochs: received 1, but runs/mine has finished 2: its weights"
    )


def _assert_refused(run: str, message: str) -> None:
    done = CliRunner().invoke(app, ["train", "--resume", run, "--epochs", "1"])
    assert done.exit_code == 2
    assert message in done.stderr


def test_probes_are_named_with_commas(bnrun_here: Run) -> None:
    done = bnrun_here("train", "--probe", "shift, updates", "--every", 5, "--dry-run", "--json")
    training = json.loads(done.stdout)["config"]["training"]
    assert (training["probe"], training["probe_every"]) == (["shift", "updates"], 5)
    wrong = bnrun_here("train", "--probe", "shift,update")
    assert wrong.returncode == 2
    assert "--probe: received 'update'" in wrong.stderr
    assert "Did you mean 'updates'?" in wrong.stderr
    kept = bnrun_here("train", "--resume", "latest", "--every", 5)
    assert (kept.returncode, "--every or --dry-run" in kept.stderr) == (2, True)
