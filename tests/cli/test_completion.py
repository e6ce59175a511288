"""What bash, zsh and fish complete, asked as these shells ask."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.config import KEYS
from bnrun.guide import TOPICS
from bnrun.norms import NORMS
from bnrun.runs.run_filter import STATUSES

CONFIGS = ["lenet_bn", "lenet_builtin", "lenet_fast", "lenet_maxpool", "lenet_nobn"]
SHELLS = ("bash", "zsh", "fish")
RUN, COMPARISON = "20260101T000000Z-lenet_bn-scratch-s0", "20260102T000000Z-compare-a-b"


def _answer(line: str, shell: str) -> str:
    # As bash does, which gives `=` and `:` as words of their own.
    words = [word for word in re.split(r" |([=:])", line) if word]
    words += [""] if line.endswith(" ") else []
    environment = {
        "_BNRUN_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(app, [], env=environment, prog_name="bnrun")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def _completed(line: str, shell: str = "bash") -> list[str]:
    """Return the values that are offered for the last word of a line."""
    answer = _answer(line, shell)
    if shell == "zsh":
        return re.findall(r'^(?:_arguments .*\(\()?"([^"]*)"', answer, re.M)
    return [line.partition("\t")[0] for line in answer.splitlines() if line]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a run, a comparison and a file of norms; another one with none of them."""
    monkeypatch.chdir(tmp_path)
    for name, file in ((RUN, "config.yaml"), (COMPARISON, "compare.yaml")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / file).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "mine.py").write_text("raise SystemExit\nclass A: ...\nclass B: ...\n")
    (tmp_path / "broken.py").write_text("class (\n")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("bnrun insp", ["inspect-gamma"]),
        ("bnrun train --dr", ["--dry-run"]),
        ("bnrun train len", CONFIGS),
        ("bnrun train --norm b", ["builtin"]),
        ("bnrun evaluate ", ["latest", RUN]),
        ("bnrun guide co", ["compare", "config"]),
    ],
)
def test_the_last_word_is_completed(shell: str, line: str, values: list[str]) -> None:
    assert _completed(line, shell) == values


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("bnrun compare --config lenet_f", ["lenet_fast"]),
        ("bnrun configs ", CONFIGS),
        ("bnrun verify ", [*NORMS]),
        ("bnrun compare tex", ["textbook"]),
        ("bnrun compare 2", [RUN]),
        ("bnrun study ex", ["exact"]),
        ("bnrun study --judge la", ["latest"]),
        ("bnrun train --device c", ["cpu", "cuda"]),
        ("bnrun compare --pairs ", ["first", "all"]),
        ("bnrun compare --sweep model.po", ["model.pool=avg", "model.pool=max"]),
        ("bnrun compare --metric t", ["train_acc", "test_acc", "test_acc_population"]),
        ("bnrun plot ", ["latest", RUN, COMPARISON]),
        ("bnrun plot --out other ", ["latest"]),
        ("bnrun train --resume 2", [RUN]),
        ("bnrun compare --resume 2", [COMPARISON]),
        ("bnrun guide ", [*TOPICS]),
        ("bnrun help runs d", ["diff"]),
        ("bnrun evaluate --checkpoint ", ["last", "population"]),
        ("bnrun verify --dtype b", ["bfloat16"]),
        ("bnrun verify --explain first", ["first-update"]),
        ("bnrun runs di", ["diff"]),
        (
            "bnrun runs po",
            ["pool=avg", "pool=max", "population_images=", "population_images=10000"],
        ),
        ("bnrun runs model.p", ["model.pool=avg", "model.pool=max"]),
        ("bnrun train my", []),  # the shell completes a file then
    ],
)
def test_a_value_is_completed(line: str, values: list[str]) -> None:
    assert [value for value in _completed(line) if not value.startswith("-")] == values


def _commands(group: Any) -> Iterator[Any]:
    yield group
    for command in getattr(group, "commands", {}).values():
        yield from _commands(command)


OF_THE_USER = ("N", "DIR", "MARGIN", "SECONDS", "COUNTS", "DATA", "PATH", "MEAN,VARIANCE")
"""Metavars of values that only the user knows, or that the shell completes."""


def test_every_value_is_completed_but_a_number_and_a_folder() -> None:
    for command in _commands(typer.main.get_command(app)):
        for parameter in command.params:
            if parameter.metavar == "FILE" and parameter.name != "config":
                continue  # the shell completes it
            if parameter.metavar is not None and parameter.metavar not in OF_THE_USER:
                assert parameter._custom_shell_complete is not None, (command.name, parameter.name)


def test_a_key_is_completed_with_its_values_or_its_default() -> None:
    assert _completed("bnrun train --set optimizer.l") == ["optimizer.lr=", "optimizer.lr=1.0"]
    assert _completed("bnrun train --set model.p") == ["model.pool=avg", "model.pool=max"]
    keys = {value.partition("=")[0] for value in _completed("bnrun train --set ")}
    assert keys == set(KEYS)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("bnrun train --set optimizer.schedule=", ["constant", "one-cycle"]),
        ("bnrun train --set=optimizer.schedule=o", ["one-cycle"]),
        ("bnrun train --set optimizer.lr=", ["1.0"]),
        ("bnrun train --set model.norm=t", ["textbook"]),
        ("bnrun train --set model.pool=max --set model.pool=a", ["avg"]),
        ("bnrun train --norm mine.py:", ["A", "B"]),
        ("bnrun train --norm broken.py:", []),
        ("bnrun compare a=t", ["textbook"]),
        ("bnrun runs status=", [*STATUSES]),
        ("bnrun runs --all norm=scratch status=comp", ["completed"]),
        ("bnrun runs config=lenet_n", ["lenet_nobn"]),
        ("bnrun runs norm=t", ["textbook"]),
        ("bnrun compare a=mine.py:B,model.po", ["B,model.pool=avg", "B,model.pool=max"]),
    ],
)
def test_bash_is_given_what_stands_behind_the_last_break(line: str, values: list[str]) -> None:
    assert _completed(line) == values


@pytest.mark.parametrize("line", ["bnrun ", "bnrun train ", "bnrun train --set ", "bnrun guide "])
def test_a_value_stands_on_one_line_with_its_meaning(line: str) -> None:
    for answered in _answer(line, "fish").splitlines():
        assert re.fullmatch(r"[^\t]+\t[^\t]+", answered)


def test_zsh_and_fish_are_given_whole_words() -> None:
    assert _completed("bnrun train --set optimizer.schedule=o", "fish") == [
        "optimizer.schedule=one-cycle"
    ]
    assert _completed("bnrun train --norm mine.py:", "zsh") == [r"mine.py\\:A", r"mine.py\\:B"]
