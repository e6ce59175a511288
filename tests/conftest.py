"""What several tests need: commands of bnrun in processes of their own, and small data on disk.

Commands. `bnrun(*arguments)` runs a command to its end and returns a `CompletedProcess`;
`start_bnrun(*arguments)` returns a `Command` while it runs, for a test that sends it a signal.
Each command runs in a process of its own, in the test's folder, with a new session, real files as
its output and the environment of the fixture `environment`. On Linux the process is forked from a
server that has imported torch and all of bnrun (`command_server.py`): one server for each process
of pytest-xdist, started by its first command. A test whose subject is the start of an interpreter
says `fresh=True`. `before` is Python text that runs in the process just before bnrun does.

Markers. A test is marked `process` when its subject is a real process: how it starts, what a signal
does to it, that a worker process is killed. `pytest -m "not process"` is the quick loop. Such a
test sets the disposition of SIGINT itself (`start_bnrun(..., ignore_sigint=...)`), because tests
that run in a script's background have it ignored, and children inherit that.

Threads. Two processes run the tests, each with one thread of torch: more would wait for one
another. OpenMP's waiting threads sleep instead of spinning, in case there are any.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

# The same examples each time, few of them, and none kept on disk.
settings.register_profile("bnrun", derandomize=True, max_examples=30, deadline=None, database=None)
settings.load_profile("bnrun")

if TYPE_CHECKING:
    from bnrun.comparison.outcome import Arm
    from bnrun.data.dataset import Dataset

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}  # read when torch is loaded

SERVER = Path(__file__).with_name("command_server.py")
PLAIN_TERMINAL = {"COLUMNS": "80", "NO_COLOR": "1"}
STEERING = ("BNRUN_DEBUG", "FORCE_COLOR")  # variables that must not reach a command from outside
COMMAND_SECONDS = 120.0


class Command:
    """A command of bnrun while it runs, and its output.

    Args:
        pid: of its process, which leads a session and a process group of its own.
        join: waits some seconds for the process to end, and returns its exit status.
        arguments: what it was called with.
        output: the folder with the files that are its stdout and stderr.
    """

    def __init__(
        self, pid: int, join: Callable[[float], int], arguments: list[str], output: Path
    ) -> None:
        self.pid, self.arguments = pid, arguments
        self._join, self._output = join, output
        self._status: int | None = None

    def send_signal(self, number: int) -> None:
        """Signal its process alone."""
        os.kill(self.pid, number)

    def send_signal_to_group(self, number: int) -> None:
        """Signal it and the processes that it started, as Ctrl-C in a terminal does."""
        os.killpg(self.pid, number)

    def wait(self, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Return how it ended and what it wrote.

        Raises:
            subprocess.TimeoutExpired: it has not ended within these seconds.
        """
        self._status = self._join(seconds)
        stdout, stderr = ((self._output / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(self.arguments, self._status, stdout, stderr)

    def end(self) -> None:
        """Kill it, if nothing has waited for its end."""
        if self._status is None:
            self.send_signal_to_group(signal.SIGKILL)
            self._join(COMMAND_SECONDS)


class CommandServer:
    """The process that forks a child for each command; see `command_server.py`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={k: v for k, v in os.environ.items() if k not in STEERING} | PLAIN_TERMINAL,
                start_new_session=True,
            )

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Fork a child and return its process id; the one before must have been joined."""
        socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], streams)
        return self._answer(COMMAND_SECONDS)

    def join(self, seconds: float) -> int:
        """Return the child's exit status."""
        return self._answer(seconds)

    def stop(self) -> None:
        """End the server."""
        self._socket.close()
        self._process.wait()

    def _answer(self, seconds: float) -> int:
        answer = b""
        while not answer.endswith(b"\n"):
            if not select([self._socket], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("bnrun", seconds)
            byte = self._socket.recv(1)
            assert byte, "the command server has ended"
            answer += byte
        return int(answer)


@pytest.fixture(scope="session")
def command_server() -> Iterator[CommandServer | None]:
    """The server that commands are forked from; None where forking is not safe."""
    if sys.platform != "linux":
        yield None
        return
    server = CommandServer()
    yield server
    server.stop()


class Launcher:
    """Starts commands of bnrun in one folder and environment, one at a time."""

    def __init__(
        self, server: CommandServer | None, folder: Path, environment: dict[str, str], output: Path
    ) -> None:
        self._server, self._folder, self._environment = server, folder, environment
        self._output = output
        self._commands: list[Command] = []

    def start(
        self,
        *arguments: object,
        before: str = "",
        ignore_sigint: bool = False,
        fresh: bool = False,
    ) -> Command:
        """Start `bnrun ARGUMENTS`; see the top of this file."""
        request = {
            "arguments": [*map(str, arguments)],
            "before": before,
            "ignore_sigint": ignore_sigint,
            "folder": str(self._folder),
            "environment": self._environment,
        }
        output = self._output / str(len(self._commands))
        output.mkdir()
        with (
            Path(os.devnull).open("rb") as stdin,
            (output / "stdout").open("wb") as stdout,
            (output / "stderr").open("wb") as stderr,
        ):
            streams = [stdin.fileno(), stdout.fileno(), stderr.fileno()]
            if fresh or self._server is None:
                pid, join = _spawn(request, streams)
            else:
                pid, join = self._server.fork(request, streams), self._server.join
        self._commands.append(Command(pid, join, request["arguments"], output))
        return self._commands[-1]

    def run(self, *arguments: object, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `bnrun ARGUMENTS` to its end; options are those of `start`."""
        return self.start(*arguments, **how).wait()

    def end(self) -> None:
        """Kill what is still running."""
        for command in self._commands:
            command.end()


def _spawn(request: dict[str, Any], streams: list[int]) -> tuple[int, Callable[[float], int]]:
    """Start a command in a fresh interpreter; return its process id and what waits for its end."""
    program = ["-m", "bnrun"]
    if request["before"]:
        run = "import runpy; runpy.run_module('bnrun', run_name='__main__', alter_sys=True)"
        program = ["-c", f"{request['before']}\n{run}"]
    disposition = signal.SIG_IGN if request["ignore_sigint"] else signal.SIG_DFL
    process = subprocess.Popen(
        [sys.executable, *program, *request["arguments"]],
        cwd=request["folder"],
        env=request["environment"],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, disposition),
    )
    return process.pid, process.wait


def _environment(cache: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if k not in STEERING}
    return inherited | PLAIN_TERMINAL | {"BNRUN_CACHE": str(cache)}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache, no colours, and a terminal 80 columns wide."""
    return _environment(tmp_path / "cache")


@pytest.fixture
def start_bnrun(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
    command_server: CommandServer | None,
) -> Iterator[Callable[..., Command]]:
    """Start `bnrun ARGUMENTS` in the test's own folder; see the top of this file."""
    output = tmp_path_factory.mktemp("output")
    launcher = Launcher(command_server, tmp_path, environment, output)
    yield launcher.start
    launcher.end()


@pytest.fixture
def bnrun(start_bnrun: Callable[..., Command]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bnrun ARGUMENTS` to its end in the test's own folder; see the top of this file."""
    return lambda *arguments, **how: start_bnrun(*arguments, **how).wait()


@pytest.fixture(scope="session")
def bnrun_in(
    tmp_path_factory: pytest.TempPathFactory, command_server: CommandServer | None
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bnrun ARGUMENTS` in a given folder: for a run that several tests share."""

    def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        output = tmp_path_factory.mktemp("output")
        environment = _environment(output / "cache")
        return Launcher(command_server, folder, environment, output).run(*arguments)

    return run


@pytest.fixture
def idx_root(tmp_path: Path) -> Path:
    """A data.root with 600 + 200 learnable images, in torchvision's layout."""
    from bnrun.data.synthetic import synthetic

    raw = tmp_path / "root" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    dataset = synthetic()
    for prefix, split, count in (("train", dataset.train, 600), ("t10k", dataset.test, 200)):
        images = split.images[:count].numpy().tobytes()
        labels = split.labels[:count].byte().numpy().tobytes()
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
    return tmp_path / "root"


@pytest.fixture(scope="session")
def small() -> "Dataset":
    """300 + 100 generated images: an epoch of ten steps of 32, the last of 12 images."""
    import torch

    from bnrun.data.dataset import Dataset
    from bnrun.data.synthetic import synthetic

    whole = synthetic()
    train, test = whole.train.take(torch.arange(300)), whole.test.take(torch.arange(100))
    return Dataset(train, test, "synthetic", "generated", None)


@pytest.fixture
def arms_of() -> "Callable[..., tuple[Arm, ...]]":
    """Build arms of small batches and few epochs on generated data."""
    from bnrun.comparison.arms import build_arms
    from bnrun.config import parse_override

    def build(*texts: str, epochs: int = 2) -> "tuple[Arm, ...]":
        settings = [
            "data.name=synthetic",
            "training.device=cpu",
            "training.batch_size=32",
            f"training.epochs={epochs}",
        ]
        return build_arms(texts, None, [a for text in settings for a in parse_override(text)])

    return build
