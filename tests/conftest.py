"""What several tests need: commands of bnrun in processes of their own, and small data on disk.

Commands. `bnrun(*arguments)` runs a command to its end and returns a `CompletedProcess`;
`start_bnrun(*arguments)` returns a `Command` while it runs, for a test that sends it a signal.
Each of these runs in a process of its own, in the test's folder, with a new session, real files as
its output and the environment of the fixture `environment`. On Linux the process is forked from a
server that has imported torch and all of bnrun (`command_server.py`), when the first command needs
it; all processes of pytest-xdist share it. A test whose subject is the start of an interpreter
says `fresh=True`. `before` is Python text that runs in the process just before bnrun does.
`bnrun_here(*arguments)` runs a command in this process, which is enough for errors that come before
any work.

Markers. A test is marked `process` when its subject is a real process: how it starts, what a signal
does to it, that a worker process is killed. `pytest -m "not process"` is the quick loop. Such a
test sets the disposition of SIGINT itself (`start_bnrun(..., ignore_sigint=...)`), because tests
that run in a script's background have it ignored, and children inherit that.

Threads. Two processes run the tests, each with one thread of torch: more would wait for one
another. OpenMP's waiting threads would sleep: importing bnrun has set OMP_WAIT_POLICY.
"""

import contextlib
import functools
import gc
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from command_server import CAN_SHARE_WORKERS, share_workers
from commands import (
    FEW_IMAGES,
    Command,
    CommandServer,
    Launcher,
    plain_environment,
    serving_commands,
)
from hypothesis import settings

from bnrun.__main__ import main

# The same examples each time, few of them, and none kept on disk.
settings.register_profile("bnrun", derandomize=True, max_examples=30, deadline=None, database=None)
settings.load_profile("bnrun")

if TYPE_CHECKING:
    from bnrun.comparison.arms import Arm
    from bnrun.data.dataset import Dataset

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded


# Typer makes the commands anew from their functions for each command line that a test runs: 20 ms.
typer.main.get_command = functools.cache(typer.main.get_command)

SERVER_ADDRESS = "BNRUN_TESTS_SERVER"
"""The environment variable by which the processes of pytest-xdist know the command server."""


def pytest_configure(config: pytest.Config) -> None:
    """Start the command server, which many commands share."""
    if sys.platform == "linux" and SERVER_ADDRESS not in os.environ:
        server = contextlib.ExitStack()
        os.environ[SERVER_ADDRESS] = server.enter_context(serving_commands())
        config.add_cleanup(server.close)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End without delay: pytest has collected garbage once, and would visit all objects again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from visiting what is imported, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000)  # collecting as often as by default takes 4 % of the time


def pytest_collection_finish() -> None:
    """Have the generated images generated once: they are the same each time, which takes 60 ms."""
    module: Any = sys.modules.get("bnrun.data.synthetic")
    if module is not None:
        module._generate = functools.cache(module._generate)


@pytest.fixture(scope="session", autouse=True)
def command_server(request: pytest.FixtureRequest) -> Iterator[CommandServer | None]:
    """What commands and worker processes are forked from, when first needed.

    It imports everything while other tests run, if some test needs it. There is none where forking
    is not safe.
    """
    if sys.platform != "linux":
        yield None
        return
    server = CommandServer(os.environ[SERVER_ADDRESS])
    if any("start_bnrun" in item.fixturenames for item in request.session.items):
        server.connect()
    if CAN_SHARE_WORKERS:
        forkserver._forkserver.ensure_running = lambda: share_workers(*server.workers())
    yield server
    server.stop()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty cache, no colours, and a terminal 80 columns wide."""
    return plain_environment(tmp_path / "cache")


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


@pytest.fixture
def bnrun_here(
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bnrun ARGUMENTS` in this process, as its entry point does; see the top of this file."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        texts = [*map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["bnrun", *texts])
        handler = signal.getsignal(signal.SIGINT)
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGINT, handler)  # which a process at its end does not need
        return subprocess.CompletedProcess(texts, end.value.code, *capfd.readouterr())

    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    capfd.readouterr()
    return run


@pytest.fixture(scope="session")
def bnrun_in(
    tmp_path_factory: pytest.TempPathFactory, command_server: CommandServer | None
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `bnrun ARGUMENTS` in a given folder: for a run that several tests share."""

    def run(folder: Path, *arguments: object, **how: Any) -> subprocess.CompletedProcess[str]:
        output = tmp_path_factory.mktemp("output")
        environment = plain_environment(output / "cache")
        launcher = Launcher(command_server, folder, environment, output)
        try:
            return launcher.run(*arguments, **how)
        finally:
            launcher.end()

    return run


@pytest.fixture(scope="session")
def trained(
    bnrun_in: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A training that several tests look at: the folder it ran in, only to be read, and its end."""
    folder = tmp_path_factory.mktemp("trained")
    arguments = ("--set", "data.name=synthetic", "--epochs", 2, "--device", "cpu")
    done = bnrun_in(folder, "train", *arguments, before=FEW_IMAGES)
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.fixture(scope="session")
def idx_root(small: "Dataset", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `small`, as a data.root in torchvision's layout; only to be read."""
    root = tmp_path_factory.mktemp("root")
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, split in (("train", small.train), ("t10k", small.test)):
        count = len(split)
        images = split.images.numpy().tobytes()
        labels = split.labels.byte().numpy().tobytes()
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels)
    return root


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
    from bnrun.comparison.arm_syntax import build_arms
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


@pytest.fixture
def compilable() -> None:
    """Skip the test where the kernels cannot be compiled."""
    from bnrun import kernels
    from bnrun.errors import EngineError

    try:
        kernels.is_compiled()
    except EngineError as error:
        pytest.skip(str(error))
