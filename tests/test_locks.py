"""One worker at a time, whatever others ask meanwhile; nothing outlives a process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from bnrun import locks
from bnrun.locks import Busy, Lock, is_held


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_one_lock_is_held_at_a_time_and_then_free_again(file: Path) -> None:
    first, second = Lock(file), Lock(file)
    first.acquire()
    first.acquire()  # it has it
    with pytest.raises(Busy):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_asking_sees_a_holder_and_creates_nothing(file: Path) -> None:
    assert not is_held(file)
    assert not list(file.parent.iterdir())
    lock = Lock(file)
    lock.acquire()
    assert is_held(file)
    lock.release()
    assert not is_held(file)


def test_a_file_that_cannot_be_read_is_said_to_be_free(file: Path) -> None:
    file.mkdir()
    (file.parent / "loop").symlink_to(file.parent / "loop")
    assert not is_held(file.parent / "loop")


def test_waiting_ends_when_the_other_worker_is_done(file: Path) -> None:
    first, waiting, waited = Lock(file), threading.Event(), threading.Event()

    def wait() -> None:
        second = Lock(file)
        waiting.set()
        second.acquire(wait=True)
        waited.set()
        second.release()

    first.acquire()
    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(30)
    assert not waited.is_set()
    first.release()
    assert waited.wait(30)
    thread.join()


def test_another_thread_may_release_it(file: Path) -> None:
    """As a garbage collector does that closes a generator."""
    lock, other = Lock(file), Lock(file)
    lock.acquire()
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    other.acquire()
    other.release()


def test_waiting_has_no_limit_where_an_older_version_works(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "ASKER_SECONDS", 0.0)
    acquired = threading.Event()

    def work() -> None:
        with filelock.FileLock(file):
            acquired.set()
            time.sleep(0.2)

    older = threading.Thread(target=work)
    older.start()
    assert acquired.wait(30)
    lock = Lock(file)
    lock.acquire(wait=True)
    lock.release()
    older.join()


def test_the_lock_of_an_older_version_is_respected(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took one file, and knew nothing of the other."""
    monkeypatch.setattr(locks, "ASKER_SECONDS", 0.05)
    older = filelock.FileLock(file)
    older.acquire()
    assert is_held(file)
    with pytest.raises(Busy):
        Lock(file).acquire()
    older.release()
    lock = Lock(file)
    lock.acquire()
    with pytest.raises(filelock.Timeout):
        older.acquire(timeout=0)
    lock.release()


ASKING = """
import sys
from pathlib import Path
from bnrun.locks import is_held

file, stop = Path(sys.argv[1]), Path(sys.argv[2])
print("asking", flush=True)
answers = [is_held(file)]
while not stop.exists():
    answers += [is_held(file) for _ in range(100)]
print(sum(answers), len(answers))
"""


@pytest.fixture
def askers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that ask without a pause until the test is over."""
    command = [sys.executable, "-c", ASKING, str(tmp_path / ".lock"), str(tmp_path / "stop")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
    yield started
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.process
def test_asking_without_a_pause_never_makes_a_worker_fail(
    file: Path, askers: list[subprocess.Popen[str]]
) -> None:
    for _ in range(200):
        lock = Lock(file)
        lock.acquire()
        assert is_held(file)
        lock.release()


@pytest.mark.process
def test_askers_never_take_one_another_for_a_worker(
    file: Path, askers: list[subprocess.Popen[str]]
) -> None:
    file.touch()
    for _ in range(2_000):
        is_held(file)
    (file.parent / "stop").touch()
    for process in askers:
        held, asked = process.communicate(timeout=30)[0].split()
        assert int(asked) > 100
        assert held == "0"


HOLDING = """
import sys, time
from pathlib import Path
from bnrun.locks import Lock
lock = Lock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.process
def test_a_process_that_was_killed_holds_nothing(file: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(file)
        with pytest.raises(Busy):
            Lock(file).acquire()
        os.kill(holder.pid, signal.SIGKILL)
    assert not is_held(file)
    lock = Lock(file)
    lock.acquire()
    lock.release()
