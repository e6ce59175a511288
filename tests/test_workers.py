"""Processes for code that hangs, ends them, or prints; and none of them is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import isolated_jobs
import pytest

from bnrun.errors import NormError
from bnrun.workers import Isolated, Lost


def _isolated(how: str = "works", limit: float = 10.0) -> Isolated:
    return Isolated("loading it", isolated_jobs.prepare, (how,), limit)


def _is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return False


def test_jobs_are_done_in_one_process_until_one_is_lost() -> None:
    with _isolated() as apart:
        first = apart.do("pid")
        assert first != os.getpid()
        assert apart.do(("a", 1.5, None)) == ("a", 1.5, None)
        assert apart.do("pid") == first
        with pytest.raises(
            Lost, match=r"^ends the process that it runs in: it ended with exit code 3$"
        ) as lost:
            apart.do("exit")
        assert lost.value.trouble == "exited"
        second = apart.do("pid")
        assert second != first
        with pytest.raises(Lost, match=r"it was ended by signal 11 \(SIGSEGV\)$"):
            apart.do("die")
        with pytest.raises(Lost, match=r"^does not come back within the time limit$") as lost:
            apart.do("hang", limit=0.2)
        assert lost.value.trouble == "hung"
        third = apart.do("pid")
    assert not any(_is_running(pid) for pid in (first, second, third))


def test_what_is_printed_is_counted_and_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with _isolated() as apart:
        apart.do("print")
        with pytest.raises(Lost):
            apart.do("exit")
        apart.do("print")
        assert apart.printed == 6
    assert capfd.readouterr() == ("", "")


def test_where_processes_are_spawned_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")  # as on macOS and Windows
    with _isolated() as apart:
        assert apart.do(7) == 7
        with pytest.raises(Lost, match="exit code 3"):
            apart.do("exit")


def test_it_can_be_used_in_another_thread() -> None:
    done: list[object] = []

    def work() -> None:
        with _isolated() as apart:
            done.append(apart.do(7))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [7]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("refuses", "no such norm"),
        ("exits", "loading it ends the process that it runs in: it ended with exit code 4."),
        ("hangs", "loading it does not come back within the time limit."),
    ],
)
def test_a_process_that_cannot_begin_is_an_error(how: str, message: str) -> None:
    with pytest.raises(NormError) as error, _isolated(how, 1.0 if how == "hangs" else 60.0):
        pass
    assert str(error.value) == message


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import isolated_jobs
from bnrun.workers import Isolated

if __name__ == "__main__":
    with Isolated("", isolated_jobs.prepare, ("works",), 60.0) as apart:
        print(apart.do("pid"), flush=True)
        apart.do("hang")
"""


def test_it_ends_with_its_parent_even_when_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(Path(__file__).parent / "verification")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _is_running(pid)
        parent.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not _is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the process goes on without its parent")
