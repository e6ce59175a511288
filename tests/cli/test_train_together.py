"""`bnrun train`, started several times by a launcher: one run, and an end for all of them.

The launcher's part is played by a fork: it gives each process its number and a place to meet.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import FEW_IMAGES

pytestmark = pytest.mark.process

Run = Callable[..., subprocess.CompletedProcess[str]]

LAUNCH = """
import os
from bnrun import processes

os.environ.update(WORLD_SIZE="{size}", LOCAL_WORLD_SIZE="{size}", MASTER_ADDR="127.0.0.1")
os.environ.update(MASTER_PORT="{port}", GLOO_SOCKET_IFNAME="lo")
processes.ANSWER_SECONDS = {answer}
RANK = 0 if {alone} else next((rank for rank in range(1, {size}) if os.fork() == 0), 0)
os.environ.update(RANK=str(RANK), LOCAL_RANK=str(RANK))
"""

# Does something in the process of a rank, before a step of the run.
ACT = """
from bnrun.training.stepper import Stepper
take, steps_taken = Stepper.take, 0

def act_at_step(*args):
    global steps_taken
    steps_taken += 1
    if (RANK, steps_taken) == ({rank}, {step}):
        {act}
    return take(*args)

Stepper.take = act_at_step
"""

# Moves each process into a machine of its own, which writes its errors into a file there.
MACHINES = """
import atexit, ctypes, socket, subprocess

name = ("alpha", "beta")[RANK]
libc = ctypes.CDLL(None, use_errno=True)
with open("/run/netns/{prefix}" + name) as network:
    assert libc.setns(network.fileno(), 0x40000000) == 0, ctypes.get_errno()
assert libc.unshare(0x04000000) == 0, ctypes.get_errno()
socket.sethostname(name)
os.environ.update(MASTER_ADDR="10.77.0.1", GLOO_SOCKET_IFNAME="cable")
os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
os.makedirs(name)
os.chdir(name)
os.dup2(os.open("errors", os.O_CREAT | os.O_WRONLY), 2)
if RANK == 0:
    atexit.register(os.wait)  # the other has written its errors, too
"""
PULL_THE_CABLE = "subprocess.run(['ip', 'link', 'set', 'cable', 'down'], check=True)"

ARGUMENTS = ("train", "--device", "cpu", "--set", "training.batch_size=100", "--epochs", 3)
SYNTHETIC = ("--set", "data.name=synthetic", "--set", "training.engine=eager")


def launch(size: int = 2, *, answer: int = 60, alone: bool = False) -> str:
    """The text that runs before the command, in a process that is forked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return LAUNCH.format(size=size, port=port, answer=answer, alone=alone) + FEW_IMAGES


def _send(number: int) -> str:
    return f"os.kill(os.getpid(), {int(number)})"


@pytest.fixture
def machines() -> Iterator[str]:
    """Two network namespaces with a cable between them; yields what their names begin with."""
    prefix = f"bnrun-{os.getpid()}-"
    alpha, beta = f"{prefix}alpha", f"{prefix}beta"
    if shutil.which("ip") is None:
        pytest.skip("needs `ip`, of Debian's iproute2")
    try:
        for command in (
            f"netns add {alpha}",
            f"netns add {beta}",
            f"link add cable netns {alpha} type veth peer name cable netns {beta}",
            *(f"-n {name} link set lo up" for name in (alpha, beta)),
            *(f"-n {name} link set cable up" for name in (alpha, beta)),
            f"-n {alpha} address add 10.77.0.1/24 dev cable",
            f"-n {beta} address add 10.77.0.2/24 dev cable",
        ):
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"needs root and network namespaces: {done.stderr.strip()}")
        yield prefix
    finally:
        for name in (alpha, beta):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def _run_in(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def _summary(run: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return summary


def test_one_of_the_processes_writes_and_shows(bnrun: Run, tmp_path: Path) -> None:
    done = bnrun(*ARGUMENTS, *SYNTHETIC, before=launch())
    run, host = _run_in(tmp_path), socket.gethostname()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 3/3") == 1
    *_, speed, machine, together, kept = done.stdout.splitlines()
    assert speed.endswith("on cpu")
    assert machine.endswith("engine eager")
    assert together == f"  2 processes together, on {host}; norms over whole batches"
    assert kept == f"kept in runs/{run.name}"
    summary = _summary(run)
    assert (summary["processes"], summary["hosts"]) == (2, [host, host])
    assert summary["norm_statistics"] == "synced"
    environment = json.loads((run / "environment.json").read_text())
    assert (environment["processes"], environment["hosts"]) == (2, [host, host])


def test_a_killed_process_ends_the_others_and_the_run_continues_alone(
    bnrun: Run, tmp_path: Path
) -> None:
    kill = ACT.format(rank=1, step=9, act=_send(signal.SIGKILL))
    done = bnrun(*ARGUMENTS, *SYNTHETIC, "-q", before=launch() + kill)
    run, host = _run_in(tmp_path), socket.gethostname()
    assert done.returncode == 1
    assert " ".join(done.stderr.split()).endswith(
        f"error: another of the 2 processes, on {host}, has ended before its work was done. 1 of 3 "
        "epochs are finished and kept; continue with: torchrun --nproc-per-node 2 -m bnrun train "
        f"--resume runs/{run.name} or with one process: bnrun train --resume runs/{run.name}"
    )
    assert _summary(run)["status"] == "failed"

    resumed = bnrun("train", "--resume", run.name, "-q", before=FEW_IMAGES)
    assert resumed.returncode == 0, resumed.stderr
    summary = _summary(run)
    assert [epoch["epoch"] for epoch in summary["epochs"]] == [1, 2, 3]
    assert (summary["processes"], summary["norm_statistics"]) == (1, "")


def test_a_launchers_sigterm_is_an_interruption_and_three_processes_continue(
    bnrun: Run, tmp_path: Path
) -> None:
    end = ACT.format(rank=0, step=9, act=_send(signal.SIGTERM))
    done = bnrun(*ARGUMENTS, *SYNTHETIC, "-q", before=launch() + end)
    run = _run_in(tmp_path)
    assert done.returncode == 130
    assert " ".join(done.stderr.split()).startswith(
        "interrupted: by SIGTERM, which a launcher also sends where another process has failed. 1 "
        "of 3 epochs are finished and kept; continue with: torchrun --nproc-per-node 2 -m bnrun "
        "train --resume "
    )
    assert "Traceback" not in done.stderr

    resumed = bnrun("train", "--resume", run.name, "-q", before=launch(3))
    assert resumed.returncode == 0, resumed.stderr
    assert _summary(run)["processes"] == 3
    assert len(_summary(run)["epochs"]) == 3


def test_machines_that_are_cut_off_end_with_an_error_in_time_and_the_run_continues(
    bnrun: Run, machines: str, tmp_path: Path
) -> None:
    parts = [launch(answer=3), MACHINES.format(prefix=machines)]
    pull = ACT.format(rank=1, step=9, act=PULL_THE_CABLE)
    done = bnrun(*ARGUMENTS, *SYNTHETIC, "-q", before="".join([*parts, pull]))
    assert done.returncode == 1
    run = _run_in(tmp_path / "alpha")
    kept = (
        " 1 of 3 epochs are finished and kept; continue, on each machine with its launcher's "
        f"options, with: torchrun --nproc-per-node 1 -m bnrun train --resume runs/{run.name} or "
        f"with one process: bnrun train --resume runs/{run.name}"
    )
    for name, other, rest in (("alpha", "beta", kept), ("beta", "alpha", "")):
        errors = (tmp_path / name / "errors").read_text()
        assert " ".join(errors.split()).endswith(
            f"error: another of the 2 processes, on {other}, has not answered for 3 s: it hangs, "
            f"or its machine is off or cut off.{rest}"
        )
    assert _summary(run)["hosts"] == ["alpha", "beta"]

    resumed = bnrun("train", "--resume", run, "-q", before=FEW_IMAGES)
    assert resumed.returncode == 0, resumed.stderr
    assert len(_summary(run)["epochs"]) == 3


def test_processes_that_do_not_come_are_an_error_in_time(bnrun: Run, tmp_path: Path) -> None:
    done = bnrun(*ARGUMENTS, *SYNTHETIC, "-q", before=launch(answer=1, alone=True))
    assert done.returncode == 2
    assert done.stderr.startswith("error: process 0 of 2 on ")
    assert "has not met the others at 127.0.0.1:" in done.stderr
    assert "within 1 s" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_all_processes_is_shown_once(bnrun: Run, tmp_path: Path) -> None:
    done = bnrun(*ARGUMENTS, *SYNTHETIC, "--norm", "builtin", "-q", before=launch())
    assert done.returncode in (1, 2)  # the first process may learn of it from the other's end
    assert done.stderr.count("which PyTorch synchronizes on CUDA alone") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_does_not_share_its_work_is_refused_once(bnrun: Run) -> None:
    done = bnrun("norms", before=launch())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: `bnrun norms` was started 2 times, but only `bnrun train` can share its work. "
        "Start it without the launcher: bnrun norms\n"
    )
