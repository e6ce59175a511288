"""The directory of a run of November 2026 (bnrun 0.1.0), as that version wrote it, still opens.

Its config, its events and its checkpoint lack what came later.
"""

import io
from pathlib import Path

import pytest
import torch

from bnrun import runs
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.events import EpochEnded, RunEnded, RunStarted, drain
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.runs.run_difference import difference
from bnrun.runs.run_records import read_run
from bnrun.training import train
from bnrun.training.checkpoint import capture
from bnrun.training.optimizer import SGD

NAME = "20261121T220151Z-lenet_bn-scratch-s0"
FILES = {
    "config.yaml": """\
model:
  norm: scratch
  pool: avg
  activation: sigmoid
data:
  name: synthetic
  root: null
  validation: 0
optimizer:
  lr: 1.0
  momentum: 0.0
  nesterov: false
  weight_decay: 0.0
  schedule: constant
training:
  epochs: 2
  batch_size: 100
  seed: 0
  device: cpu
  deterministic: false
  evaluate:
  - moving
  engine: eager
""",
    "environment.json": """\
{"bnrun": "0.1.0", "python": "3.11.7", "torch": "2.14.1+cu130", "torchvision": "0.29.1",
 "platform": "Linux", "device": "cpu", "machine": "AMD EPYC, 1 thread", "threads": 1,
 "command": ["bnrun", "train", "--epochs", "2"], "folder": "/root", "git": null}
""",
    "metrics.jsonl": (
        '{"event": "run_started", "time": "2026-11-21T22:01:52Z", "norm": "scratch", "device": '
        '"cpu", "machine": "AMD EPYC, 1 thread", "seed": 0, "epochs": 2, "steps_per_epoch": 2, '
        '"data": {"name": "synthetic", "source": "generated", "verified": null, "train_images": '
        '4000, "validation_images": 0, "test_images": 1000}, "finished": 0}\n'
        '{"event": "epoch_ended", "time": "2026-11-21T22:01:53Z", "epoch": 1, "loss": '
        '2.31321918964386, "train_acc": 0.24375, "test_acc": 0.106, "validation_acc": null, '
        '"examples_per_second": null, "compute_examples_per_second": null, "seconds": '
        "0.5623034069999449}\n"
    ),
    "summary.json": """\
{"run": "runs/20261121T220151Z-lenet_bn-scratch-s0", "status": "interrupted", "reason": null,
 "device": "cpu", "machine": "AMD EPYC, 1 thread", "norm": "scratch", "seed": 0, "data": {},
 "config": {}, "epochs": [{"epoch": 1}], "loss": 2.31321918964386, "train_acc": 0.24375,
 "test_acc": 0.106, "examples_per_second": null, "compute_examples_per_second": null}
""",
}
EPOCH = EpochEnded(1, 2.31321918964386, 0.24375, 0.106, None, None, None, 0.5623034069999449)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.mkdir()
    for name, content in FILES.items():
        (path / name).write_text(content)
    (path / "checkpoint.pt").write_bytes(_checkpoint())
    return path


def _checkpoint() -> bytes:
    """Return what it held: neither the engine of the run nor the keys that came later."""
    model = LeNet(norm_factory("scratch"))
    epoch = {
        "epoch": 1,
        "loss": 2.31321918964386,
        "train_acc": 0.24375,
        "test_acc": 0.106,
        "validation_acc": None,
        "examples_per_second": None,
        "compute_examples_per_second": None,
        "seconds": 0.5623034069999449,
    }
    config = Config().to_dict()
    config["data"]["name"] = "synthetic"
    for key in ("population_images", "keep_every"):
        del config["training"][key]
    del config["model"]["norm_options"]
    config["training"] |= {"epochs": 2, "batch_size": 100, "device": "cpu", "engine": "eager"}
    state = capture(model, SGD(model.parameters(), lr=1.0)) | {
        "format": 1,
        "config": config,
        "epochs": [epoch],
        "timed": {"examples": 0, "seconds": 0.0, "compute_seconds": 0.0},
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_it_is_read_as_a_record(old: Path) -> None:
    record = read_run(old)
    assert (record.status, record.config_name) == ("interrupted", "lenet_bn")
    assert record.summary.epochs == (EPOCH,)
    assert record.summary.data.train_images == 4000
    assert record.summary.engine == "eager"
    assert record.environment["machine"] == "AMD EPYC, 1 thread"
    assert f"{record.started:%Y-%m-%d %H:%M:%S}" == "2026-11-21 22:01:51"
    assert difference(record, record).config == ()


def test_its_checkpoint_is_read(old: Path) -> None:
    assert len(runs.read_checkpoint(old, "last")["epochs"]) == 1
    assert len(runs.read_checkpoint(old, "1")["epochs"]) == 1


def test_it_continues_to_its_end_and_its_metrics_are_only_added_to(
    old: Path, small: Dataset
) -> None:
    run, checkpoint = runs.reopen(old)
    events: list[object] = []
    with run:
        work = train(run.config, small, torch.device("cpu"), checkpoint)
        drain(work, lambda event: (run.record(event), events.append(event)))
    assert isinstance(events[0], RunStarted)
    assert events[0].finished == (EPOCH,)
    assert isinstance(events[-1], RunEnded)
    record = read_run(old)
    assert record.status == "completed"
    assert [epoch.epoch for epoch in record.summary.epochs] == [1, 2]
    assert (old / "metrics.jsonl").read_text().startswith(FILES["metrics.jsonl"])
    assert (old / "config.yaml").read_text() == FILES["config.yaml"]
