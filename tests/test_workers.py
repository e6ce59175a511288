"""Processes for code that hangs, ends them, or prints; and none of them is left behind."""

import contextlib
import os
import signal
import sys
import threading
from multiprocessing import forkserver
from pathlib import Path

import pytest
import worker_jobs

from bnrun.errors import NormError, TrainingFailed
from bnrun.workers import Worker, WorkerLost, describe_exit, start_server

pytestmark = pytest.mark.process


def _worker(how: str = "works", limit: float = 10.0) -> Worker:
    return Worker("loading it", worker_jobs.prepare, (how,), limit)


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_jobs_are_done_in_one_process_until_one_is_lost() -> None:
    with _worker() as worker:
        first = worker.run("pid")
        assert first != os.getpid()
        assert worker.run(("a", 1.5, None)) == ("a", 1.5, None)
        assert worker.run("pid") == first
        with pytest.raises(
            WorkerLost, match=r"^ends the process that it runs in: it ended with exit code 3$"
        ) as lost:
            worker.run("exit")
        assert lost.value.how == "exited"
        second = worker.run("pid")
        assert second != first
        with pytest.raises(WorkerLost, match=r"it was ended by signal 11 \(SIGSEGV\)$"):
            worker.run("die")
        with pytest.raises(WorkerLost, match=r"^does not finish within the time limit$") as lost:
            worker.run("hang", limit=0.2)
        assert lost.value.how == "hung"
        third = worker.run("pid")
    assert not any(_is_running(pid) for pid in (first, second, third))


def test_a_process_that_has_not_ended_has_no_exit_code() -> None:
    assert describe_exit(None) == "stopped answering"


def test_a_signal_without_a_name_is_described_by_its_number() -> None:
    assert describe_exit(-40) == "was ended by signal 40 (no name)"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server")
def test_the_server_of_processes_starts_early_and_ignores_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked: list[bool] = []

    def ensure_running() -> None:
        blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(forkserver._forkserver, "ensure_running", ensure_running)
    start_server()
    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_an_answer_runs_no_code_in_the_parent(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    with _worker() as worker:
        first = worker.run("pid")
        with pytest.raises(WorkerLost, match="answers with something other than plain data"):
            worker.run(("trap", str(opened)))
        assert worker.run("pid") != first
    assert not opened.exists()


def test_records_cross_where_they_are_named_and_nowhere_else() -> None:
    jobs = worker_jobs
    with Worker("", jobs.prepare, ("works",), 10.0, records=(jobs.Point,)) as worker:
        assert worker.run("points") == {"points": [jobs.Point(1.5, jobs.Point(2.0))]}
    with _worker() as worker, pytest.raises(WorkerLost, match="other than plain data"):
        worker.run("points")


def test_an_error_of_a_job_is_raised_here_and_the_process_goes_on() -> None:
    with _worker() as worker:
        first = worker.run("pid")
        with pytest.raises(TrainingFailed) as failed:
            worker.run("refuse")
        assert (failed.value.key, failed.value.reason) == ("training.batch_size", "too large")
        assert worker.run("pid") == first


def test_what_is_printed_is_counted_and_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with _worker() as worker:
        worker.run("print")
        with pytest.raises(WorkerLost):
            worker.run("exit")
        worker.run("print")
        assert worker.printed == 8
    assert capfd.readouterr() == ("", "")


def test_where_processes_are_spawned_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401  # which cannot be imported under another platform's name

    monkeypatch.setattr(sys, "platform", "darwin")  # as on macOS and Windows
    with _worker() as worker:
        assert worker.run(7) == 7
        with pytest.raises(WorkerLost, match="exit code 3"):
            worker.run("exit")


def test_it_can_be_used_in_another_thread() -> None:
    done: list[object] = []

    def work() -> None:
        with _worker() as worker:
            done.append(worker.run(7))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [7]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("refuses", "no such norm"),
        ("exits", "loading it ends the process that it runs in: it ended with exit code 4."),
        ("hangs", "loading it does not finish within the time limit."),
    ],
)
def test_a_process_that_cannot_begin_is_an_error(how: str, message: str) -> None:
    with pytest.raises(NormError) as error, _worker(how, 0.1 if how == "hangs" else 60.0):
        pass
    assert str(error.value) == message
