"""Help, version and completion answer at once: without torch."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from bnrun import __version__

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_help_names_every_command(bnrun: Run) -> None:
    done = bnrun("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    for command in (
        "train", "compare", "bench", "verify", "doctor", "inspect-gamma", "evaluate",
        "recalibrate", "plot", "runs", "data", "guide",
    ):  # fmt: skip
        assert f"\n  {command}  " in done.stdout


def test_train_help_names_every_option(bnrun: Run) -> None:
    shown = bnrun("train", "--help").stdout
    for option in (
        "--set", "--norm", "--epochs", "--seed", "--device",
        "--out", "--resume", "--dry-run", "--json", "--quiet",
    ):  # fmt: skip
        assert f"  {option}" in shown or f", {option}" in shown


def test_version(bnrun: Run) -> None:
    assert bnrun("--version").stdout == f"bnrun {__version__}\n"


def test_completion_is_typers(bnrun: Run) -> None:
    assert "_BNRUN_COMPLETE" in bnrun("--show-completion", "bash").stdout


@pytest.mark.process
def test_torch_is_not_loaded_to_answer() -> None:
    commands = [
        ["--help"],
        ["train", "--dry-run"],
        ["train", "--norm", "x"],
        ["train", "missing.yaml"],
        ["train", "--set", "optimizer.lr=fast"],
        ["train", "--resume", "x"],
        ["compare", "scratch"],
        ["data", "--root", "x"],
        ["runs"],
        ["inspect-gamma", "x"],
        ["evaluate", "x"],
        ["verify", "x"],
        ["verify", "scratch", "--contract", "x"],
        ["doctor", "--engine", "x"],
        ["plot", "x"],
        ["bench", "--arms", "x"],
        ["guide"],
        ["guide", "config"],
    ]
    code = (
        "import sys\n"
        "from bnrun.cli import app\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        app(command)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    heavy = {'torch', 'torchvision', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
