"""`bnrun evaluate` and `bnrun recalibrate`, after a real training."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from commands import FEW_IMAGES
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.data import synthetic

Run = Callable[..., subprocess.CompletedProcess[str]]

OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, num_features, num_dims):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features) if num_dims == 2 else nn.BatchNorm2d(num_features)

    def forward(self, x):
        print("from the layer")
        return self.bn(x)
"""


def test_a_trained_run_is_evaluated_and_recalibrated(
    bnrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    trained = bnrun(
        "train", "--norm", "own.py:Own", "--set", "data.name=synthetic", "--epochs", 2, "--json",
        "--set", "training.evaluate=[moving,population]", "--set", "training.keep_every=1",
        "--set", "training.population_images=500", before=FEW_IMAGES,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    epochs = json.loads(trained.stdout)["epochs"]
    run = tmp_path / json.loads(trained.stdout)["run"]
    before = (run / "checkpoint.pt").read_bytes()

    done = bnrun("evaluate", "--json", "--checkpoint", 1, before=FEW_IMAGES)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["epoch"], document["checkpoint"]) == (1, "1")
    assert document["norm"] == f"{tmp_path}/own.py:Own"
    assert list(document["statistics"]) == ["moving", "population", "batch"]
    assert document["statistics"]["moving"] == epochs[0]["test_acc"]
    assert document["statistics"]["population"] == epochs[0]["test_acc_population"]
    assert document["population_images"] == 500
    assert (document["data"]["name"], "from the layer" in done.stderr) == ("synthetic", True)

    (tmp_path / "own.py").write_text("it is no Python any more")
    done = bnrun("recalibrate", run, "--images", 300, before=FEW_IMAGES)
    assert "own.py has changed since training began: the norm is taken from the copy" in done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines.pop(0) == f"of {run}"
    assert lines[0] == "LeNet, norm own.py:Own, synthetic data, one seed (0), after epoch 2"
    assert lines[4].split() == ["moving", f"{epochs[1]['test_acc']:.4f}"]
    assert lines[5].split()[0] == "population"
    assert lines[-1] == f"kept in {run / 'checkpoint-population.pt'}"
    assert (run / "checkpoint.pt").read_bytes() == before
    kept = torch.load(run / "checkpoint-population.pt", weights_only=True)
    assert kept["population_images"] == 300

    monkeypatch.setattr(synthetic, "TRAIN_IMAGES", 600)
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 200)
    monkeypatch.chdir(tmp_path)
    again = CliRunner().invoke(
        app, ["evaluate", "--checkpoint", "population", "--statistics", "moving", "--json"]
    )
    assert again.exit_code == 0, again.stderr
    document = json.loads(again.stdout)
    assert f"{document['statistics']['moving']:.4f}" == lines[5].split()[1]
    assert document["recalibrated"] == 300

    for arguments, message in (
        (["evaluate", "--statistics", "mving"], "or batch. Did you mean 'moving'?"),
        (["evaluate", "--device", "x"], "error: --device: received 'x'"),
        (["evaluate", "--device", "cuda:99"], "error: --device: received 'cuda:99', which is not"),
        (["evaluate", "--images", "1"], "error: --images: received 1"),
        (["recalibrate", "--checkpoint", "9"], "has no checkpoint '9'"),
        (["recalibrate", "elsewhere"], "there is no run 'elsewhere'"),
    ):
        refused = CliRunner().invoke(app, arguments)
        assert refused.exit_code == 2
        assert refused.stdout == ""
        assert message in refused.stderr
