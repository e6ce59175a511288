"""`bnrun configs`: the configs that come with bnrun, listed and printed."""

import json
from pathlib import Path

from typer.testing import CliRunner

from bnrun.cli import app

LIST = """\
bnrun train NAME trains one; bnrun configs NAME prints it:

  lenet_bn       The main job: the textbook's recipe (Dive into Deep Learning,
                 "Batch Normalization") with the norm scratch, a batch
                 normalization from the formula alone.
  lenet_builtin  The textbook's recipe with PyTorch's own BatchNorm1d and
                 BatchNorm2d; the rest is lenet_bn.yaml.
  lenet_fast     The fewest epochs to a test accuracy of .90: the same LeNet
                 (44,878 parameters) with max pooling, ReLU and another
                 optimizer.
  lenet_maxpool  The textbook's recipe with max pooling, as some versions have
                 it; the rest is lenet_bn.yaml.
  lenet_nobn     The textbook's recipe without any norm; the rest is
                 lenet_bn.yaml.
"""


def _stdout(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["configs", *arguments], env={"COLUMNS": "80"})
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


def test_they_are_listed_with_what_they_are() -> None:
    assert "".join(f"{line.rstrip()}\n" for line in _stdout().splitlines()) == LIST
    documents = json.loads(_stdout("--json"))["configs"]
    assert [one["name"] for one in documents] == [
        line.split()[0] for line in LIST.splitlines()[2:] if line[2] != " "
    ]


def test_one_is_printed_as_its_file_is() -> None:
    file = Path(__file__).parents[2] / "configs" / "lenet_fast.yaml"
    assert _stdout("lenet_fast") == file.read_text()
    assert json.loads(_stdout("lenet_fast", "--json"))["config"]["training"]["epochs"] == 3


def test_a_mistyped_name_gets_the_closest_one() -> None:
    done = CliRunner().invoke(app, ["configs", "lenet_fats"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "lenet_fats: bnrun has no config of this name. Did you mean 'lenet_fast'?" in done.stderr
