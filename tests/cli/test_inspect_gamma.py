"""`bnrun inspect-gamma` as a real process, on runs whose checkpoints are written here."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bnrun import runs
from bnrun.cli import app
from bnrun.config import Assignment, resolve
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.training.checkpoint import capture
from bnrun.training.optimizer import SGD

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Keep a run whose norms are as they start, but for the first gamma and moving variance."""

    def made(norm: str = "textbook", name: str = "checkpoint.pt") -> Path:
        resolved = resolve(None, [Assignment("model.norm", norm, "")])
        path = runs.create(tmp_path / "runs", resolved).path
        model = LeNet(norm_factory(norm))
        if norm == "textbook":
            with torch.no_grad():
                model.norm1.gamma.copy_(
                    torch.tensor([3.3, 3.86, 0.1, -2.36, 3.6, math.nan])[None, :, None, None]
                )
            model.norm1.moving_var = torch.full((1, 6, 1, 1), 0.25)
        state = capture(model, SGD(model.parameters(), lr=1))
        state |= {"config": resolved.config.to_dict(), "epochs": [None] * 4}
        torch.save(state, path / name)
        return path

    return made


def test_json_is_one_document_of_every_layer(bnrun: Run, make: Callable[..., Path]) -> None:
    path = make()
    done = bnrun("inspect-gamma", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (Path(document["run"]).name, document["epoch"]) == (path.name, 4)
    assert [layer["name"] for layer in document["layers"]] == ["norm1", "norm2", "norm3", "norm4"]
    assert [layer["channels"] for layer in document["layers"]] == [6, 16, 120, 84]
    first = document["layers"][0]
    assert first["norm"] == "textbook"
    assert first["gamma"][:5] == pytest.approx([3.3, 3.86, 0.1, -2.36, 3.6])
    assert first["gamma"][5] is None  # JSON has no NaN
    assert first["beta"] == first["moving_mean"] == [0.0] * 6
    assert first["moving_var"] == [0.25] * 6
    assert first["effective_scale"][0] == pytest.approx(3.3 / math.sqrt(0.25001))
    assert (first["eps"], first["eps_stated"]) == (1e-5, False)
    assert first["nearly_off"] == [False, False, True, False, False, False]


def test_the_table_begins_with_the_textbooks_two_vectors(
    bnrun: Run, make: Callable[..., Path]
) -> None:
    path = make(name="checkpoint-epoch-4.pt")
    done = bnrun("inspect-gamma", path.name[:16], "--layer", "norm1", "--checkpoint", 4)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == f"{path.name}, after epoch 4"
    assert lines[2] == "norm1, as the textbook prints it:"
    assert lines[3] == "gamma [ 3.3000  3.8600  0.1000 -2.3600  3.6000     nan]"
    assert lines[4] == "beta  [0.0000 0.0000 0.0000 0.0000 0.0000 0.0000]"
    assert lines[6] == "norm1: textbook, 6 channels, 1 nearly off"
    assert not any(line.startswith("norm2") for line in lines)


def test_what_cannot_be_shown_is_an_error(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = make("none")
    _assert_refused([], "norm 'none' has no gamma")
    _assert_refused(["--checkpoint", "7"], "has no checkpoint '7'. It has: 4, last.")
    _assert_refused(["nonsense"], "there is no run 'nonsense'")
    (path / "checkpoint.pt").unlink()
    _assert_refused([], "it has finished no epoch")
    make("builtin")
    known = "no norm 'nrom3'. Did you mean 'norm3'? It has: norm1, norm2, norm3, norm4."
    _assert_refused(["latest", "--layer", "nrom3"], known)


def _assert_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["inspect-gamma", *arguments])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
