"""Help, version and completion answer at once: without torch."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from bnrun import __version__
from bnrun.cli import app

HELP = """\
Usage: bnrun [OPTIONS] COMMAND [ARGS]...

  Understand, verify and compare normalization layers.

Options:
  --version             Show the version.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

Train and compare:
  train          Train LeNet with a norm; show loss, accuracy and speed.
  compare        Compare norms, or anything else, over the same seeds.
  study          Put claims about normalization to the test; give each a
                 verdict.
  claims         List the claims: who says each, and its last verdict here; or
                 show one.
  report         Write results as one HTML page to hand out, offline and in
                 print.
  bench          Measure the speed of training, in turns with the textbook's
                 loop.

Check a layer or a network:
  verify         Check whether a layer is right, and name its faults.
  audit          Find what is wrong with the norms in a network of your own.
  doctor         Check whether torch's own norms are right on this machine.

Look at what was trained:
  inspect-gamma  Show what a run's norms have learned, channel by channel.
  evaluate       Show a run's test accuracy with each kind of statistics.
  recalibrate    Give a run's norms population statistics, in a new file.
  plot           Draw a run's curves and gammas, or a comparison, as SVG and
                 PNG.
  export         Write a run's metrics and probes as CSV or for TensorBoard.
  runs           List runs and comparisons; show one, or what differs between
                 two.

Help and set-up:
  guide          Read the manual, one page per topic.
  norms          List the norms that have a name: formula, averages, source.
  configs        List the configs that come with bnrun.
  help           Show the help of a command.
  data           Show where Fashion-MNIST is, and whether it is verified.

First commands to try:
  bnrun train --epochs 1  Train for one epoch; the images are fetched once.
  bnrun verify scratch    Check a layer, and see what is checked.
  bnrun guide             Read the manual.
"""


def _invoke(*words: str, width: int = 78) -> Result:
    """Run a command; help is `width` characters wide, which is 78 in a terminal of 80."""
    return CliRunner().invoke(app, words, prog_name="bnrun", terminal_width=width)


def _help(*words: str, width: int = 78) -> str:
    done = _invoke(*words, "--help", width=width)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def _commands(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from _commands(command, *words, name)


COMMANDS = list(_commands(typer.main.get_command(app)))


def test_help_is_whole_and_ends_with_what_to_try() -> None:
    assert _help() == HELP


FIRST_SCREEN = """\
Usage: bnrun COMMAND ...  In full: bnrun --help
First: bnrun train --epochs 1; bnrun verify scratch; bnrun guide

  train          Train LeNet with a norm; show loss, accuracy and speed.
  compare        Compare norms, or anything else, over the same seeds.
  study          Put claims about normalization to the test.
  claims         List the claims: who says each, and its last verdict here.
  report         Write results as one HTML page to hand out.
  bench          Measure the speed of training.
  verify         Check whether a layer is right, and name its faults.
  audit          Find what is wrong with the norms in a network of your own.
  doctor         Check whether torch's own norms are right on this machine.
  inspect-gamma  Show what a run's norms have learned, channel by channel.
  evaluate       Show a run's test accuracy with each kind of statistics.
  recalibrate    Give a run's norms population statistics, in a new file.
  plot           Draw a run's curves and gammas, or a comparison.
  export         Write a run's metrics and probes as CSV or for TensorBoard.
  runs           List runs and comparisons; show one.
  guide          Read the manual, one page per topic.
  norms          List the norms that have a name: formula, averages, source.
  configs        List the configs that come with bnrun.
  help           Show the help of a command.
  data           Show where Fashion-MNIST is, and whether it is verified.
"""


def test_without_a_command_each_one_has_a_line_and_all_fit_on_24() -> None:
    done = _invoke()
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", FIRST_SCREEN)
    assert len(FIRST_SCREEN.splitlines()) <= 23  # the prompt has one


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_help_cuts_no_sentence_and_needs_no_more_than_ascii(
    words: tuple[str, ...], command: Any
) -> None:
    texts = [one.get_short_help_str() for one in getattr(command, "commands", {}).values()]
    assert not any(text.endswith("...") for text in texts)
    texts += [parameter.help for parameter in command.params if parameter.help]
    for width in (50, 78):
        shown = _help(*words, width=width)
        assert shown.isascii()
        assert max(map(len, shown.splitlines())) <= width
        for text in texts:
            assert " ".join(text.partition("  [")[0].split()) in " ".join(shown.split())


@pytest.mark.parametrize("words", [(), ("compare",), ("runs", "diff")])
def test_the_command_help_shows_the_help_of_a_command(words: tuple[str, ...]) -> None:
    done = _invoke("help", *words)
    assert (done.exit_code, done.stdout) == (0, _help(*words))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "trian: bnrun has no command of this name. Did you mean 'train'?"),
        (["runs", "dif"], "dif: bnrun runs has no command of this name. Did you mean 'diff'?"),
        (["train", "me"], "me: bnrun train has no command of this name. bnrun help lists"),
    ],
)
def test_help_for_an_unknown_command_gets_the_closest_one(words: list[str], says: str) -> None:
    done = _invoke("help", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {says}")


def test_a_range_is_said_in_words_and_no_type_of_python_is_shown() -> None:
    shown = _help("compare")
    assert "Trials trained at a time.  [default: 1; 1 or more]" in shown
    assert "\nArguments:\n  ARM  " in shown
    assert _help("runs", "diff").startswith("Usage: bnrun runs diff [OPTIONS] A B\n")


def test_version() -> None:
    assert _invoke("--version").stdout == f"bnrun {__version__}\n"


def test_completion_is_typers() -> None:
    assert "_BNRUN_COMPLETE" in _invoke("--show-completion", "bash").stdout


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
        ["audit", "x"],
        ["audit", "x.py:y", "--recalibrate", "z.pt"],
        ["verify", "scratch", "--contract", "x"],
        ["doctor", "--engine", "x"],
        ["plot", "x"],
        ["bench", "--arms", "x"],
        ["guide"],
        ["guide", "config"],
        ["claims"],
        ["report", "x"],
        ["export", "x", "--csv"],
    ]
    completed = ["evaluate ", "train --set ", "train --norm ", "compare --metric ", "guide "]
    code = (
        "import os, sys\n"
        "from bnrun.cli import app\n"
        f"for command in {commands!r}:\n"
        "    try:\n"
        "        app(command)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    heavy = {'torch', 'torchvision', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy)\n"
        f"for words in {completed!r}:\n"
        "    os.environ |= {'_BNRUN_COMPLETE': 'complete_zsh'}\n"
        "    os.environ |= {'_TYPER_COMPLETE_ARGS': f'bnrun {words}'}\n"
        "    try:\n"
        "        app(prog_name='bnrun')\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
