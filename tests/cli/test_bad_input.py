"""Bad input through the real command line: exit code 2, one clear error, no traceback, no trace."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bnrun.cli import app

Run = Callable[..., subprocess.CompletedProcess[str]]

FILES = {
    "good.yaml": b"model: {norm: scratch}\n",
    "unknown.yaml": b"model:\n  norm: scratch\noptimizer:\n  lerning_rate: 1\n",
    "section.yaml": b"modle:\n  norm: scratch\n",
    "duplicate.yaml": b"optimizer:\n  lr: 1\n  lr: 2\n",
    "type.yaml": b"optimizer:\n  lr: fast\n",
    "range.yaml": b"training:\n  epochs: 0\n",
    "empty.yaml": b"",
    "comment.yaml": b"# nothing but a comment\n",
    "list.yaml": b"- model\n- data\n",
    "text.yaml": b"just a sentence\n",
    "syntax.yaml": b"model: {norm: scratch\n",
    "tab.yaml": b"model:\n\tnorm: scratch\n",
    "two.yaml": b"---\nmodel: {}\n---\nmodel: {}\n",
    "tag.yaml": b"model: !!python/object/apply:os.getcwd []\n",
    "binary.yaml": bytes(range(128, 256)),
    "nul.yaml": b"model:\x00\x01",
    "deep.yaml": b"[" * 600,
    "huge.yaml": b"#" * 1_000_001,
    "badtag.yaml": b"training:\n  epochs: !!int ten\n",
    "syntax.py": b"class Norm(\n",
    "minus.py": b"x=" + b"-" * 100_000 + b"1\n",
    "empty.py": b"",
    "raises.py": b"import torch\nraise RuntimeError('not today')\n",
    "exits.py": b"import sys\nsys.exit(0)\n",
    "typo.py": b"from torch import nn\n\nclass BatchNorm(nn.Module):\n    pass\n",
    "function.py": b"def norm(n):\n    return None\n",
    "refuses.py": b"from torch import nn\n\nclass Norm(nn.Module):\n"
    b"    def __init__(self, n):\n        raise ValueError('n is odd')\n",
    "greedy.py": b"from torch import nn\n\nclass Norm(nn.Module):\n"
    b"    def __init__(self, a, b, c):\n        super().__init__()\n",
}

SYNTHETIC = ("--set", "data.name=synthetic")

# (arguments, what the error must say)
CASES: list[tuple[tuple[str, ...], str]] = [
    # usage
    (("--nonsense",), "--nonsense: bnrun train has no such option. bnrun train --help lists them"),
    (("--epoch", "3"), "--epoch: bnrun train has no such option. Did you mean '--epochs'?"),
    (("--lr", "0.5"), "--lr: .* no such option. To set this key: --set optimizer.lr=0.5$"),
    (("--optimizer.lr", "0.5"), "no such option. To set this key: --set optimizer.lr=0.5$"),
    (("--lr=5e-1",), "--set optimizer.lr=5e-1$"),
    (("--learning-rate", ".1"), "--set optimizer.lr=.1$"),
    (("--batch_sise", "64"), "--set training.batch_size=64$"),
    (
        ("--config", "a.yaml"),
        "bnrun train has no such option. It is an argument: bnrun train a.yaml$",
    ),
    (("scratch",), "CONFIG: received 'scratch', which is a norm: bnrun train --norm scratch"),
    (("typo.py:BatchNorm",), "which is a norm: bnrun train --norm typo.py:BatchNorm"),
    (("--pool", "max", "--json"), "--set model.pool=max$"),
    (("--momentum", "--json"), "--set optimizer.momentum=VALUE$"),
    (("--epochs", "three"), "--epochs: received 'three'; it must be a whole number, 1 or more."),
    (("--epochs", "1.5"), "--epochs: received 1.5; it must be a whole number, 1 or more."),
    (("--epochs",), "--epochs: a value must follow this option."),
    (("--json=3",), "--json: this option takes no value"),
    (("good.yaml", "good.yaml"), "good.yaml: bnrun train takes no further argument"),
    (("good.yaml", "optimizer.lr=1"), "to set a config key: --set optimizer.lr=1$"),
    # the config file
    (("missing.yaml",), "missing.yaml: there is no such config file"),
    (("configs/lenet_bn.yaml",), "Did you mean 'lenet_bn', which comes with bnrun?"),
    (("goood.yaml",), "Did you mean 'good.yaml'?"),
    (("folder",), "folder: this config file can't be read: Is a directory"),
    (("unknown.yaml",), "unknown.yaml:4: there is no key 'optimizer.lerning_rate'"),
    (("section.yaml",), "Did you mean 'model'?"),
    (("duplicate.yaml",), "duplicate.yaml:3: .* the key 'lr' stands here and on line 2"),
    (("type.yaml",), "type.yaml:2: optimizer.lr: received 'fast'; it must be a number"),
    (
        ("range.yaml",),
        "range.yaml:2: training.epochs: received 0; it must be a whole number",
    ),
    (("empty.yaml",), "the file is empty"),
    (("comment.yaml",), "the file is empty"),
    (("list.yaml",), "the top level is a list"),
    (("text.yaml",), "the top level is a str"),
    (("syntax.yaml",), "not valid YAML"),
    (("tab.yaml",), "tab.yaml:2: this is not valid YAML"),
    (("two.yaml",), "not valid YAML: but found another document"),
    (("tag.yaml",), "not valid YAML: could not determine a constructor"),
    (("binary.yaml",), "byte 0 is not UTF-8 text"),
    (("nul.yaml",), "not a YAML text file"),
    (("deep.yaml",), "nested too deeply"),
    (("huge.yaml",), "too large to be a config"),
    (("badtag.yaml",), "a value is not what its tag says"),
    (("x" * 300 + ".yaml",), "can't be read: File name too long"),
    # overrides
    (("--set", "optimizer.lr"), "must be KEY=VALUE"),
    (("--set", "=3"), "must be KEY=VALUE"),
    (("--set", "optimizer.lr=[1"), "not valid YAML"),
    (("--set", "optimizer.lr=0"), "it must be a number, above 0"),
    (("--set", "optimizer.lr=.nan"), "it must be a finite number"),
    (("--set", "optimizer.nesterov=true"), "it must come with optimizer.momentum above 0"),
    (("--set", "optimizer.schedule=cosine"), "it must be 'constant' or 'one-cycle'"),
    (("--set", "model=scratch"), "this is a section"),
    (("--set", "model.pool=maxx"), "Did you mean 'max'?"),
    (("--set", "data.name=fashion_mnist"), "Did you mean 'fashion-mnist'?"),
    (("--set", "training.deterministic=yes"), "it must be true or false"),
    (("--set", "training.evaluate=[exact]"), "it must be 'moving', 'population' or 'batch'"),
    (("--epochs", "0"), "error: --epochs: received 0; it must be"),
    (("--seed", "-1"), "error: --seed: received -1; it must be"),
    (("--seed", "4294967296"), "0 or more and below 4294967296"),
    (("--device", "gpu"), "one of auto, cpu, cuda, cuda:N, mps"),
    (("--device", "cuda:007"), "one of auto, cpu, cuda, cuda:N, mps"),
    (("--set", "training.epochs=" + "9" * 5000), "a value is not what its tag says"),
    # norms
    (("--norm", "scrach"), "there is no norm 'scrach'. Did you mean 'scratch'?"),
    (("--norm", ""), "it must not be empty"),
    (("--norm", "missing.py:Norm"), "missing.py is no such file"),
    (("--norm", "folder.py:Norm"), "folder.py is a folder"),
    (("--norm", "typo.py"), "names no class. Write typo.py:BatchNorm.$"),
    (("--norm", "function.py:"), "written path/to/file.py:Class"),
    (("--norm", "~nobody-of-this-name/a.py:Norm"), "a.py is no such file"),
    (("--norm", "x" * 300 + ".py:Norm"), "File name too long"),
    (("--norm", "minus.py:Norm"), "minus.py is not valid Python"),
    (("--norm", "syntax.py:Norm"), r"syntax.py:1: class Norm\("),
    (("--norm", "typo.py:BatchNrm", *SYNTHETIC), "Did you mean 'BatchNorm'?"),
    (("--norm", "raises.py:Norm", *SYNTHETIC), r"raises.py:2: raise RuntimeError\('not today'\)"),
    (("--norm", "exits.py:Norm", *SYNTHETIC), r"exits.py:2: sys.exit\(0\)"),
    (("--norm", "refuses.py:Norm", *SYNTHETIC), r"refuses.py:5: raise ValueError\('n is odd'\)"),
    (("--norm", "greedy.py:Norm", *SYNTHETIC), r"greedy.py:4: def __init__\(self, a, b, c\)"),
    # device, data, folders, runs
    (("--device", "cuda:99", *SYNTHETIC), "error: --device: received 'cuda:99', which is not on"),
    (
        ("--set", "training.device=cuda:99", *SYNTHETIC),
        "error: training.device: received",
    ),
    (("--set", "data.validation=4000", *SYNTHETIC), "it must be less than the 4,000"),
    (("--set", "data.root=folder"), "data.root: received 'folder', but there is no Fashion-MNIST"),
    (("--out", "good.yaml", *SYNTHETIC), "can't be made: Not a directory"),
    (("--resume", "missing"), "there is no run 'missing'"),
    (("--resume", "folder"), "folder is not a run directory"),
    (("--resume", "x" * 300), "File name too long"),
    (
        ("good.yaml", "--resume", "x"),
        "--resume: a run continues as its own",
    ),
    (
        ("--resume", "x", "--seed", "3"),
        "--resume: a run continues as its own",
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    for name in ("folder", "folder.py"):
        (tmp_path / name).mkdir()
    return tmp_path


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"__pycache__"}


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "says"), CASES, ids=[" ".join(case[0])[:60] for case in CASES]
)
def test_it_is_refused_with_a_clear_error(
    bnrun_here: Run, folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    before = _names(folder)
    done = bnrun_here("train", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    error = _one_line(done.stderr)
    assert re.search(says, error) or says in error
    assert _names(folder) == before
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "scratch"],
        ["doctor"],
        ["bench", *SYNTHETIC],
        ["compare", "scratch", "builtin", *SYNTHETIC],
    ],
)
def test_an_absent_device_is_an_error_about_the_option(bnrun_here: Run, command: list[str]) -> None:
    done = bnrun_here(*command, "--device", "cuda:99")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: --device: received 'cuda:99', which is not on this machine" in done.stderr


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["compare", "--norm", "none"], "Arms are norms, as in: root compare none builtin"),
        (
            ["compare", "none", "builtin", "--set", "model.norm=x"],
            "arms are norms, so this changes",
        ),
        (["bench", "--set", "model.norm=none"], "arms are norms, so this changes nothing"),
    ],
)
def test_where_arms_are_norms_no_other_way_names_one(words: list[str], advice: str) -> None:
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert advice in " ".join(done.stderr.split())


def test_a_mistyped_command_gets_the_closest_one(bnrun_here: Run) -> None:
    done = bnrun_here("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean 'train'?" in done.stderr


OPTIONS = [
    (command.name, option)
    for command in typer.main.get_command(app).commands.values()
    for option in command.params
    if option.param_type_name == "option" and option.type_descriptor.annotation in (int, float)
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_what_is_no_number_is_named_and_what_is_required(command: str, option: Any) -> None:
    name = max(option.opts, key=len)
    done = CliRunner().invoke(app, [command, name, "two"])
    assert (done.exit_code, done.stdout) == (2, "")
    kind = "a whole number" if option.type_descriptor.annotation is int else "a number"
    assert done.stderr.startswith(f"error: {name}: received 'two'; it must be {kind}")


@pytest.mark.parametrize("arguments", [["missing.yaml"], ["--epochs", "two"]])
def test_debug_shows_the_traceback(
    bnrun_here: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("BNRUN_DEBUG", "1")
    done = bnrun_here("train", *arguments)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
