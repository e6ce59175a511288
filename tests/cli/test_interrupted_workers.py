"""Ctrl-C while a user's layer runs in a worker process: in `bnrun verify` and `bnrun bench`."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

# A right layer that names its process, and waits, until it is allowed to go on.
WAITING = """
import os, time
from pathlib import Path
from torch import nn

class Norm(nn.BatchNorm2d):
    def _check_input_dim(self, x):
        Path("pid.part").write_text(str(os.getpid()))
        Path("pid.part").replace("pid")
        while not Path("go on").exists():
            time.sleep(0.05)
"""

VERIFY = ("verify", "mine.py:Norm")
BENCH = (
    "bench", "--arms", "mine.py:Norm", "--rounds", 1, "--steps", 1, "--device", "cpu",
    "--set", "data.name=synthetic", "--set", "training.batch_size=16",
    "--set", "training.engine=eager",
)  # fmt: skip


INTERRUPTED = "interrupted: nothing was kept; run the command again to start over.\n"


@pytest.mark.parametrize(
    ("arguments", "fresh"),
    [pytest.param(VERIFY, True, id="verify"), pytest.param(BENCH, False, id="bench")],
)
def test_ctrl_c_ends_with_130_and_leaves_no_process(
    start_bnrun: Callable[..., Any], tmp_path: Path, arguments: tuple[Any, ...], fresh: bool
) -> None:
    command, pid = _interrupted(start_bnrun, tmp_path, *arguments, fresh=fresh)
    done = command.wait(20)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", INTERRUPTED)
    assert not _is_running(pid)


@pytest.mark.parametrize(
    "arguments", [pytest.param(VERIFY, id="verify"), pytest.param(BENCH, id="bench")]
)
def test_ctrl_c_that_a_script_in_the_background_ignores_changes_nothing(
    start_bnrun: Callable[..., Any], tmp_path: Path, arguments: tuple[Any, ...]
) -> None:
    command, pid = _interrupted(start_bnrun, tmp_path, *arguments, ignore_sigint=True)
    assert _is_running(pid)
    (tmp_path / "go on").touch()
    done = command.wait(60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_worker_ends_with_its_command_even_when_that_is_killed(
    start_bnrun: Callable[..., Any], tmp_path: Path
) -> None:
    command, pid = _start(start_bnrun, tmp_path, *VERIFY)
    command.send_signal(signal.SIGKILL)
    assert command.wait(20).returncode == -signal.SIGKILL
    for _ in range(200):
        if not _is_running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the worker goes on without its command")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _interrupted(
    start_bnrun: Callable[..., Any], folder: Path, *arguments: Any, **how: bool
) -> tuple[Any, int]:
    """Start a command and send Ctrl-C while the layer waits; return it and the layer's process."""
    command, pid = _start(start_bnrun, folder, *arguments, **how)
    if not how.get("fresh"):  # a shared worker is not in the command's process group
        os.kill(pid, signal.SIGINT)
    command.send_signal_to_group(signal.SIGINT)
    return command, pid


def _start(
    start_bnrun: Callable[..., Any], folder: Path, *arguments: Any, **how: bool
) -> tuple[Any, int]:
    """Start a command; return it and the process that the layer waits in."""
    (folder / "mine.py").write_text(WAITING)
    command = start_bnrun(*arguments, **how)
    command.wait_until((folder / "pid").exists)
    return command, int((folder / "pid").read_text())
