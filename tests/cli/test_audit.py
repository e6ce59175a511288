"""`bnrun audit` on the command line: exit codes, errors, files, and one JSON document."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from bnrun.cli import app
from bnrun.errors import NetworkError, NormError
from bnrun.health import session
from bnrun.health.session import InProcess, Job, open_session
from bnrun.workers import WorkerLost

NETWORK = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def trained():
    network = Net()
    for batch in batches():
        network(batch)
    for _ in range(60):
        network(torch.cat(list(batches())))
    return network


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(32, 3, generator=generator) for _ in range(4)]


def raises():
    raise ValueError("no such depth")


def number():
    return 3


def exits():
    raise SystemExit


def breaks():
    yield torch.rand(4, 3)
    raise KeyError("label")


def layers():
    return nn.LayerNorm(3)
"""


class Here(InProcess):
    """A worker without a process: its subject is tested in tests/test_workers.py."""

    def __init__(self, arguments: tuple[Any, ...], limit: float) -> None:
        self.run = lambda job: self._session(job)
        self._arguments = arguments

    def __enter__(self) -> "Here":
        self._session = open_session(*self._arguments)
        return self


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("bnrun.health.audit.InWorker", Here)
    return tmp_path


def audit(*words: object) -> Result:
    return CliRunner().invoke(app, ["audit", *map(str, words), "--quiet"])


def test_stale_weights_are_ill_and_their_recalibrated_copy_is_healthy(folder: Path) -> None:
    torch.manual_seed(0)
    state = _state(folder)
    state["1.running_mean"] += 3.0
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, "w.pt")
    data = ("--data", "net.py:batches")
    done = audit("net.py:Net", "--weights", "w.pt", *data, "--recalibrate", "fixed.pt", "--json")
    assert (done.exit_code, done.stderr) == (1, "")
    document = json.loads(done.stdout)
    assert document["verdict"] == "ill"
    assert document["weights"]["unwrapped"] == ["state_dict", "module."]
    assert [one["id"] for one in document["findings"]] == ["stale"]
    assert document["outputs"]["parts_at"] == "1"
    assert document["kept"] == ["fixed.pt"]
    fixed = audit("net.py:Net", "--weights", "fixed.pt", *data)
    assert (fixed.exit_code, fixed.stdout.splitlines()[0]) == (0, "net.py:Net: healthy")


def _state(folder: Path) -> dict[str, torch.Tensor]:
    names: dict[str, Any] = {}
    exec(compile(NETWORK, "net.py", "exec"), names)
    state: dict[str, torch.Tensor] = names["trained"]().state_dict()
    return state


def test_a_picture_is_written_where_it_is_asked_for(folder: Path) -> None:
    done = audit("net.py:trained", "--data", "net.py:batches", "--plot", "layers.svg")
    assert done.exit_code == 0
    assert done.stdout.endswith("kept in layers.svg\n")
    assert (folder / "layers.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["net.py:traned"], "NETWORK: net.py has no function or class 'traned'. Did you mean"),
        (["net.py:raises"], "NETWORK: net.py:raises() raised ValueError: no such depth\n  "),
        (["net.py:number"], "NETWORK: net.py:number returned a value of type int; it must return"),
        (["net.py:exits"], "NETWORK: net.py:exits() raised SystemExit"),
        (["none"], "A network of your own is written path/to/file.py:build."),
        (
            ["net.py"],
            "NETWORK: net.py defines Net, trained, batches, raises, number, exits, breaks",
        ),
        (
            ["net.py:layers", "--data", "net.py:batches", "--recalibrate", "x.pt"],
            "--recalibrate: no norm of this network keeps moving statistics",
        ),
        (["net.py:Net", "--plot", "x.svg"], "--plot: the picture shows how data passes through"),
        (["net.py:"], "NETWORK: received 'net.py:'; write path/to/file.py:NAME"),
        (["net.py:Net", "--data", "none"], "--data: none is no folder"),
        (["net.py:Net", "--data", "net.py:breaks"], "--data: it raised at batch 2: KeyError"),
        (["net.py:Net", "--weights", "none.pt"], "--weights: none.pt is not a file"),
        (["net.py:Net", "--weights", "net.py"], "--weights: net.py can't be read as plain tensors"),
        (["net.py:Net", "--recalibrate", "x.pt"], "--recalibrate: population statistics are those"),
        (["net.py:Net", "--plot", "x.jpg"], "--plot: received 'x.jpg'; the file must end with"),
        (["latest", "--data", "net.py:batches"], "--data: a run of bnrun is audited on its own"),
    ],
)
def test_what_cannot_be_audited_is_said_in_a_sentence(words: list[str], says: str) -> None:
    done = audit(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_of_arrays_is_data(folder: Path) -> None:
    import numpy as np

    for name in ("a", "b"):
        np.save(folder / f"{name}.npy", np.ones((6, 3), dtype=np.uint8) * ord(name))
        np.save(folder / f"{name}_targets.npy", np.arange(6) % 4)
    document = json.loads(audit("net.py:Net", "--data", folder, "--json").stdout)
    assert document["batches"] == [6, 6]
    assert set(document["outputs"]["accuracies"]) == {"moving", "training", "batch", "population"}


class Hangs:
    """A worker that does not finish building the network, nor any batch."""

    def __init__(self, *_: object, **__: object) -> None:
        self.is_built = False

    def __enter__(self) -> None:
        raise NormError("building the network does not finish within the time limit.")

    def __exit__(self, *_: object) -> None: ...

    def run(self, job: Job) -> None:
        raise WorkerLost("hung", "does not finish within the time limit")


def test_a_network_that_hangs_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnrun.health.audit.InWorker", session.InWorker)
    monkeypatch.setattr(session, "Worker", Hangs)
    done = audit("net.py:Net")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: NETWORK: building the network does not finish within the time limit of 60 s. If it "
        "only needs more time: --time-limit SECONDS.\n"
    )
    worker = session.InWorker((), 1.5)
    with pytest.raises(NetworkError, match="--data: batch 1 of the data does not finish .* 1.5 s"):
        worker.run(Job("read"))
    with pytest.raises(NetworkError, match="NETWORK: the network at batch 3 does not finish"):
        worker.run(Job("pass", ("moving", 2)))


def test_evidence_crosses_from_a_process_as_plain_data(folder: Path) -> None:
    import io

    run = open_session("net.py:trained", None, "net.py:batches", None, "cpu")
    run(Job("read"))
    run(Job("observe_layers"))
    run(Job("pass", ("training", 0)))
    buffer = io.BytesIO()
    torch.save(run(Job("evidence")), buffer)
    buffer.seek(0)
    with torch.serialization.safe_globals(session.Record.__subclasses__()):
        assert torch.load(buffer, weights_only=True).norms[0].seen["training"].input.count == 32
