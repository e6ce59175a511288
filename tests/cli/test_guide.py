"""`bnrun guide`: the manual in the terminal."""

import functools
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.guide import TOPICS, page, subject

Run = Callable[..., subprocess.CompletedProcess[str]]


@functools.cache  # several tests read each page
def _shown(*arguments: str, columns: int = 80) -> str:
    done = CliRunner().invoke(app, ["guide", *arguments], env={"COLUMNS": str(columns)})
    assert done.exit_code == 0
    return done.stdout


def test_without_a_topic_every_topic_is_listed_on_a_line() -> None:
    lines = _shown().splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(TOPICS)
    for line, topic in zip(lines, TOPICS, strict=True):
        assert line.split(maxsplit=1)[1].rstrip() == subject(topic)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_shown_as_text(topic: str) -> None:
    title = page(topic).splitlines()[0].removeprefix("# ")
    shown = _shown(topic)
    assert shown.startswith(f"{title}\n{'═' * len(title)}\n\n{subject(topic)}\n")
    assert "\x1b" not in shown
    assert "```" not in shown
    assert "](" not in shown


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_prose_fits_the_terminal_and_code_stays_whole_to_be_copied(columns: int) -> None:
    for topic in TOPICS:
        source = {line.strip() for line in page(topic).splitlines()}
        lines = _shown(topic, columns=columns).splitlines()
        prose = [line for line in lines if line.strip() not in source]
        assert max(map(len, prose)) <= min(columns, 100)


def test_a_line_of_code_is_never_broken() -> None:
    line = "        x_hat = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)"
    assert line in _shown("verify", columns=40).splitlines()


def test_an_output_of_80_columns_is_not_wrapped() -> None:
    lines = _shown("config").splitlines()
    assert any("configs/lenet_nobn.yaml:8" in line and "model.norm" in line for line in lines)


def test_a_link_to_another_page_is_the_command_that_shows_it() -> None:
    assert "(bnrun guide compare)" in " ".join(_shown("train").split())


def test_a_picture_is_described() -> None:
    assert "(Picture: Loss and accuracies of scratch and builtin" in _shown("compare")


def test_a_mistyped_topic_gets_a_suggestion_and_exit_code_2() -> None:
    done = CliRunner().invoke(app, ["guide", "trian"])
    assert done.exit_code == 2
    assert "Did you mean 'train'?" in done.stderr


@pytest.mark.process
def test_on_a_terminal_a_page_goes_through_the_pager_with_colours() -> None:
    terminal, end = pty.openpty()
    environment = os.environ | {"PAGER": "sed s/^/paged:/", "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "bnrun", "guide", "python"], stdin=end, stdout=end, env=environment
    )
    os.close(end)
    printed = b""
    try:
        while block := os.read(terminal, 65536):
            printed += block
    except OSError:  # Linux's way to say that the other end is closed
        pass
    finally:
        os.close(terminal)
    assert process.wait() == 0
    assert printed.startswith(b"paged:")
    assert b"\x1b[" in printed
