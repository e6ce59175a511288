"""Starting commands of bnrun in processes of their own, for the fixtures in conftest.py."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import arbitrary_address
from pathlib import Path
from select import select
from typing import Any

SERVER = Path(__file__).with_name("command_server.py")
PLAIN_TERMINAL = {"COLUMNS": "80", "NO_COLOR": "1"}
DROPPED_VARIABLES = ("BNRUN_DEBUG", "FORCE_COLOR")  # would change what a command prints
COMMAND_SECONDS = 120.0

# For `before`: what is not a test's subject, and takes seconds.
FEW_IMAGES = """
from bnrun.data import synthetic
synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES = 600, 200
"""
FEW_ROUNDS = """
from bnrun.comparison import parity, throughput
parity.STEPS = throughput.ROUNDS = throughput.STEPS = 2
"""
NO_PICTURE = """
from bnrun.show import pictures
pictures.compare, pictures.render = str, lambda figure: {"svg": b"", "png": b""}
"""


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
        """Signal its process group, as Ctrl-C in a terminal does.

        Of the worker processes that it started, this reaches those of a fresh command alone: others
        are forked from a server that all commands share.
        """
        os.killpg(self.pid, number)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the command has made a condition true.

        Raises:
            AssertionError: it has ended before, or takes too long; the message is its stderr.
        """
        deadline = time.monotonic() + COMMAND_SECONDS
        while not condition():
            ended = self._has_ended() or time.monotonic() > deadline
            assert condition() or not ended, (self._output / "stderr").read_text()
            time.sleep(0.02)

    def _has_ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._status is not None

    def wait(self, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Return how it ended and what it wrote.

        Raises:
            subprocess.TimeoutExpired: it has not ended within these seconds.
        """
        if self._status is None:
            self._status = self._join(seconds)
        stdout, stderr = ((self._output / name).read_text() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(self.arguments, self._status, stdout, stderr)

    def end(self) -> None:
        """Kill it, if it has not ended."""
        if not self._has_ended():
            with contextlib.suppress(ProcessLookupError):  # it ended since
                self.send_signal_to_group(signal.SIGKILL)
            self.wait()


@contextlib.contextmanager
def serving_commands() -> Iterator[str]:
    """Run the server that commands are forked from; yield its address.

    See `command_server.py`.
    """
    address = arbitrary_address("AF_UNIX")  # in a folder of this user's
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env=_inherited_environment() | PLAIN_TERMINAL,
            start_new_session=True,
        )
    with server:
        yield address


class CommandServer:
    """A connection to the process that forks a child for each command, made when first needed."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX)
        self._is_connected = False
        self._workers: tuple[str, int] | None = None

    def connect(self) -> None:
        """Have the server import everything, without waiting for it."""
        if not self._is_connected:
            self._socket.connect(self._address)
            self._is_connected = True

    def workers(self) -> tuple[str, int]:
        """Return the server of worker processes: its address, and a file that keeps it running."""
        if self._workers is None:
            self.connect()
            address, files, _, _ = socket.recv_fds(self._socket, 1 << 10, 1)
            assert files, "the command server did not start"
            self._workers = address.decode(), files[0]
        return self._workers

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Fork a child and return its process id; the one before must have been joined."""
        self.workers()
        socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], streams)
        return self._answer(COMMAND_SECONDS)

    def join(self, seconds: float) -> int:
        """Return the child's exit status."""
        return self._answer(seconds)

    def stop(self) -> None:
        """End the connection, and what was forked for it."""
        self._socket.close()
        if self._workers is not None:
            os.close(self._workers[1])

    def _answer(self, seconds: float) -> int:
        answer = b""
        while not answer.endswith(b"\n"):
            if not select([self._socket], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired("bnrun", seconds)
            byte = self._socket.recv(1)
            assert byte, "the command server has ended"
            answer += byte
        return int(answer)


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
        """Start `bnrun ARGUMENTS`; see the top of conftest.py."""
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


def plain_environment(cache: Path) -> dict[str, str]:
    """Return an environment with this cache, no colours, and a terminal 80 columns wide."""
    return _inherited_environment() | PLAIN_TERMINAL | {"BNRUN_CACHE": str(cache)}


def _inherited_environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name not in DROPPED_VARIABLES}
