"""Tasks on the workers of a Dask cluster: what they say, and how each of them can end."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.comparison import cluster
from bnrun.comparison.cluster import (
    Cluster,
    Message,
    TaskContext,
    TaskLost,
    TaskOutput,
    TaskReturned,
    Tasks,
    TaskStarted,
    Unwanted,
    connect,
)
from bnrun.errors import ConfigError, DataError, EngineError, TrainingFailed

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install '.[cluster]'")

is_stopped = threading.Event()
"""Set by a task of this process that was told that nobody waits for it."""


def act(parcel: bytes, context: TaskContext) -> str:
    """Do what the parcel says."""
    context.send(value=1.5, name=None)
    match parcel:
        case b"no images":
            raise DataError("they can't be fetched.", "data.root")
        case b"a bug":
            raise ZeroDivisionError("a bug")
        case b"waits":
            try:
                while True:
                    context.check_wanted()
                    is_stopped.wait(0.01)
            except Unwanted:
                is_stopped.set()
    return "done"


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    with connect("local", jobs=1) as found:
        yield found


def _messages(tasks: Tasks) -> Iterator[Message]:
    while tasks.count:
        yield from tasks.receive()


def test_a_task_begins_says_things_and_returns(local: Cluster) -> None:
    tasks = local.tasks(act)
    assert (tasks.count, tasks.has_room, local.share) == (0, True, 1)
    tasks.start("a", b"")
    tasks.start("b", b"")
    assert (tasks.count, tasks.has_room) == (2, False)  # one at work, and one that is next
    messages = list(_messages(tasks))
    (worker,) = {message.worker for message in messages if isinstance(message, TaskStarted)}
    for name in "ab":
        assert [message for message in messages if message.name == name] == [
            TaskStarted(name, worker, ()),
            TaskOutput(name, {"value": 1.5, "name": None}),
            TaskReturned(name, "done"),
        ]
    assert local.sentence == "local trains 1 trial at a time"


def test_an_error_names_the_worker(local: Cluster) -> None:
    tasks = local.tasks(act)
    tasks.start("a", b"no images")
    with pytest.raises(DataError, match=r"^data\.root: worker inproc://.*: they can't be fetched"):
        list(_messages(tasks))
    tasks.start("b", b"a bug")
    with pytest.raises(TrainingFailed, match="can't run a trial: ZeroDivisionError: a bug"):
        list(_messages(tasks))


def test_a_task_whose_workers_all_die_is_given_up() -> None:
    last = SimpleNamespace(address="tcp://10.0.0.7:4000")
    killed = distributed.KilledWorker("a", last, allowed_failures=3)
    future = SimpleNamespace(
        status="error", exception=lambda: killed, add_done_callback=lambda callback: None
    )
    client = SimpleNamespace(
        subscribe_topic=lambda *_: None, submit=lambda *_, **__: future, status="running"
    )
    tasks = Tasks(Cluster("tcp://10.0.0.1:8786", client), client, act)
    tasks.start("a", b"")
    tasks._inbox.put(("a", future))
    reason = "4 workers died while they had it, tcp://10.0.0.7:4000 the last"
    assert list(_messages(tasks)) == [TaskLost("a", reason)]


def test_a_task_of_an_interrupted_command_learns_of_it(local: Cluster) -> None:
    tasks = local.tasks(act)
    tasks.start("a", b"waits")
    assert isinstance(next(_messages(tasks)), TaskStarted)
    tasks.close()
    assert is_stopped.wait(60)
    assert tasks.count == 0


@pytest.mark.parametrize("torch", ["2.0.1", ""])
def test_a_worker_of_other_versions_is_told_of_or_refused(
    torch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    worker = SimpleNamespace(
        address="tcp://10.0.0.7:4000",
        get_current_task=lambda: "key",
        log_event=lambda topic, message: said.append(message),
    )
    here, there = cluster.versions(), {**cluster.versions(), "torch": torch, "python": "3.99"}
    monkeypatch.setattr(cluster, "versions", lambda: there)
    context = TaskContext(worker, "topic", "a-s0")
    if torch:
        context.report_start(here)
    else:
        with pytest.raises(EngineError, match="torch is not installed there"):
            context.report_start(here)
    (message,) = said
    assert message["differences"] == [
        f"torch {torch}, not {here['torch']}", f"python 3.99, not {here['python']}",
    ]  # fmt: skip
    there["bnrun"] = "0.0.1"
    with pytest.raises(EngineError, match=r"bnrun is 0\.0\.1 there, and \d.* here"):
        context.report_start(here)


def test_an_address_where_nobody_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.1)
    with pytest.raises(ConfigError) as error:
        connect("tcp://127.0.0.1:1")
    assert str(error.value) == (
        "--cluster: received 'tcp://127.0.0.1:1', and no scheduler answers there within 0.1 "
        "seconds. It must be the address that `dask scheduler` shows, such as "
        "tcp://10.0.0.1:8786, or local."
    )


def test_what_is_no_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "Client", None)  # nothing is asked
    for address in ("nonsense", "tcp://10.0.0.1", "10.0.0.1:port", "a b:8786", ""):
        with pytest.raises(ConfigError, match=f"^--cluster: received '{address}', which is no"):
            connect(address)
    with pytest.raises(ConfigError, match=r"or local\. Did you mean 'local'\?$"):
        connect("locl")
    for address in ("10.0.0.1:8786", "tls://host.lan:1", "tcp://[::1]:8786", "inproc://10.0.0.1/1"):
        cluster._check_address(address)


def test_without_dask_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    for command in (["compare", "scratch", "builtin"], ["study", "exact"]):
        done = CliRunner().invoke(app, [*command, "--cluster", "local"])
        assert done.exit_code == 2
        assert (
            "--cluster: this needs Dask, which is not installed. Fix: pip install " in done.output
        )
    assert [*tmp_path.iterdir()] == []
