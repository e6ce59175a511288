"""What the README says is what the program does."""

import io
import re
import shlex
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.config import KEYS
from bnrun.show.verify_tables import report_view
from bnrun.verification.observe.apart import Here
from bnrun.verification.verification import verify

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.partition("#")[0].removeprefix("$ ").strip()
    for block in BLOCKS
    for line in block.splitlines()
    if re.match(r"(\$ )?bnrun ", line)
]
GROUPED = (["data", "fetch"], ["runs", "show"], ["runs", "diff"])


def _help(*command: str) -> str:
    result = CliRunner().invoke(
        app, [*command, "--help"], prog_name="bnrun", env={"COLUMNS": "80", "NO_COLOR": "1"}
    )
    assert result.exit_code == 0
    return result.stdout


def test_the_two_first_commands_stand_on_the_first_screen() -> None:
    first_screen = README.splitlines()[:40]
    assert "pip install . && bnrun train configs/lenet_bn.yaml" in first_screen
    assert "pip install '.[test]' && pytest" in first_screen


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r'grep -m 1 -E "(.*)" README\.md', script)
    assert pattern is not None
    first = next(line for line in README.splitlines() if re.search(pattern[1], line))
    assert first == "pip install '.[test]' && pytest"


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_it_shows_exists_with_its_options(line: str) -> None:
    _, *words = shlex.split(line)
    command = words[: 2 if words[:2] in GROUPED else 1]
    shown = _help(*command)
    for option in (word.partition("=")[0] for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", shown), f"{line}: {option}"
    for word in words:
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


def test_the_options_it_shows_are_those_of_the_help() -> None:
    options = _help("train").partition("Options:")[2]  # releases of typer differ above them
    assert f"Options:{options}```" in README


@pytest.mark.filterwarnings("ignore:var\\(\\):UserWarning")
def test_the_class_it_verifies_has_the_report_it_shows(tmp_path: Path) -> None:
    (source,) = (block for block in BLOCKS if block.startswith("# my_batchnorm.py"))
    (shown,) = (block for block in BLOCKS if block.startswith("my_batchnorm.py:BatchNorm, held"))
    (tmp_path / "my_batchnorm.py").write_text(source)
    *_, report = verify(f"{tmp_path}/my_batchnorm.py:BatchNorm", observer=Here)
    file = io.StringIO()
    Console(file=file, width=80, no_color=True, highlight=False).print(report_view(report))
    printed = iter(map(_settled, file.getvalue().splitlines()))
    for line in map(_settled, shown.splitlines()):
        assert line == "…" or line in printed  # and in this order: `in` goes on from the last


def _settled(line: str) -> str:
    """A line without what differs from machine to machine: rounding errors, widths, and times."""
    return " ".join(re.sub(r"\b(\de-1\d|0)\b|in \d+\.\d s", "~", line).split())


def test_it_documents_every_config_key() -> None:
    for key in KEYS:
        assert f"`{key}`" in README
