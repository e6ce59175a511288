"""`bnrun verify` and `bnrun doctor` as they are called."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bnrun.cli import app

Run = Callable[..., subprocess.CompletedProcess[str]]
FAULTY = Path(__file__).parents[1] / "verification" / "faulty_norms.py"

BROKEN = """
import torch
from torch import nn

class Norm(nn.BatchNorm1d):
    def __init__(self, num_features):
        super().__init__(num_features)

    def forward(self, x):
        print("shape", x.shape)
        return super().forward(x) - self.bias.view(1, -1, *[1] * (x.dim() - 2))
"""


def _call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80"})


def _checks(document: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in document["checks"]}


def test_a_right_layer_ends_with_0() -> None:
    done = _call("verify", "builtin")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "builtin: pass"
    assert lines[2].startswith("54 checks passed, 0 failed, 0 skipped, in ")
    assert len(lines) < 8
    assert done.stderr == ""


def test_the_layer_that_trains_is_checked_on_both_engines() -> None:
    done = _call("verify", "scratch")
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "scratch: pass"
    assert ": eager, float64; compiled, float32; on cpu. 95 checks passed, " in " ".join(lines)
    assert any(line.startswith("compiled: 41 checks (") for line in lines)
    assert any(line.startswith("passed  compiled, float32: 21 of mathematics, ") for line in lines)
    assert all(len(line) <= 80 for line in lines)
    alone = json.loads(_call("verify", "scratch", "--engine", "eager", "--json").stdout)
    assert {check["engine"] for check in alone["checks"]} == {"eager"}


def test_the_kernels_are_not_said_to_compute_another_norm() -> None:
    done = _call("verify", "builtin", "--engine", "compiled")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--engine: bnrun's kernels do not compute builtin" in done.stderr


def test_a_dialect_ends_with_0() -> None:
    done = _call("verify", f"{FAULTY}:BiasedMoving")
    assert done.exit_code == 0
    assert "A dialect, not a mistake; used by Flax, Keras and the textbook." in done.stdout


def test_a_fault_ends_with_1_and_json_is_one_document() -> None:
    done = _call("verify", "textbook", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["implementation"] == "textbook"
    assert document["verdict"] == "fail"
    assert (document["contract"], document["dtype"], document["device"]) == (
        "torch", "float64", "cpu",
    )  # fmt: skip
    assert _checks(document)["mode"] == "fail"
    assert {check["status"] for check in document["checks"]} == {"pass", "fail", "skip"}
    assert {check["group"] for check in document["checks"]} == {
        "mathematics", "moving statistics", "module contract",
    }  # fmt: skip
    assert [fault["name"] for fault in document["faults"]] == [
        "mode-follows-gradients", "statistics-not-in-state-dict",
    ]  # fmt: skip


def test_the_contract_and_the_dtype_can_be_chosen() -> None:
    done = _call("verify", "textbook", "--contract", "textbook", "--dtype", "float32", "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["contract"], document["dtype"]) == ("textbook", "float32")


def test_a_whole_report_as_a_real_process(bnrun: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BROKEN)
    done = bnrun("verify", "mine.py:Norm")
    assert done.returncode == 1
    assert done.stderr == ""  # the layer's own prints are counted, not shown
    assert "\x1b" not in done.stdout
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "mine.py:Norm: fail, 1 fault"
    assert any(line.startswith("The norm printed ") for line in lines[1:6])
    at = lines.index("1  beta is not used.")
    assert re.match(
        r"   Evidence: y\[\d, \d\] is .*, expected .* \(forward in training\)", lines[at + 1]
    )
    assert lines[at + 2] == "   Fix: Return gamma * x_hat + beta."
    assert lines[at + 3].startswith("   beta-unused, in forward in training; ")
    assert any(re.match(r"forward in training +all +\de-01  1$", line) for line in lines)
    assert all(len(line) <= 80 for line in lines)


def test_a_check_is_explained_with_a_class_and_without() -> None:
    done = _call("verify", f"{FAULTY}:Reversed", "--explain", "first-update")
    assert done.exit_code == 1
    assert done.stdout.startswith("first update\n")
    assert _call("verify", f"{FAULTY}:Reversed", "--explain", "mode").exit_code == 0
    assert "\nmoving mean[0] " in done.stdout
    document = json.loads(_call("verify", "--explain", "first-update", "--json").stdout)
    assert (document["check"], document["results"]) == ("first update", [])
    assert document["formula"][0].startswith("moving_mean <- ")


def test_the_list_needs_no_norm() -> None:
    done = _call("verify", "--list")
    assert done.exit_code == 0
    assert "  forward in training, (N, C)" in done.stdout
    assert "  eps-outside-root" in done.stdout
    document = json.loads(_call("verify", "--list", "--json").stdout)
    assert len(document["checks"]) > 50
    assert {"name", "says", "fix", "speakers", "mend"} == set(document["known"][0])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify"], "IMPL: name a norm, or your own as path/to/file.py:Class."),
        (["verify", "scrach"], "IMPL: there is no norm 'scrach'. Did you mean 'scratch'?"),
        (["verify", "missing.py:Norm"], "IMPL: missing.py:Norm: missing.py is no such file"),
        (
            ["verify", "scratch", "--list"],
            "--list: this lists everything, whatever the norm: leave IMPL out.",
        ),
        (["verify", "scratch", "--contract", "tortch"], "Did you mean 'torch'?"),
        (["verify", "scratch", "--explain", "moode"], "Did you mean 'mode'?"),
        (["verify", "layer", "--explain", "mode"], "'mode' is no check of the family layer."),
        (["verify", "scratch", "--shapes", "6d"], "--shapes: received '6d'; it must be one or sev"),
        (["verify", "scratch", "--dtype", "float46"], "Did you mean 'float64'?"),
        (["verify", "scratch", "--engine", "compile"], "Did you mean 'compiled'?"),
        (["verify", "scratch", "--engine", "compiled", "--dtype", "float64"], "in float32 alone"),
        (
            ["verify", "scratch", "--dtype", "int"],
            "it must be float64, float32,",
        ),
        (["verify", "scratch", "--device", "cuda:99"], "which is not on this machine"),
        (
            ["verify", "scratch", "--time-limit", "0"],
            "received 0; it must be a number, 0.1 or more",
        ),
        (["verify", f"{FAULTY}:Nothing"], f"IMPL: {FAULTY} has no class 'Nothing'"),
        (["verify", f"{FAULTY}:LOST"], "has no class 'LOST'"),
        (["doctor", "--engine", "eagre"], "Did you mean 'eager'?"),
        (["doctor", "--device", "cuda:99"], "which is not on this machine"),
    ],
)
def test_what_cannot_be_done_ends_with_2(arguments: list[str], says: str) -> None:
    done = _call(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "import time\ntime.sleep(60)\n",
            "importing or building the norm does not finish within the",
        ),
        (
            "import os\nos._exit(0)\n",
            "importing or building the norm ends the process that it runs in: it ended with",
        ),
        ("raise RuntimeError('not today')\n", "mine.py:1: raise RuntimeError('not today')"),
    ],
)
def test_a_file_that_cannot_be_loaded_ends_with_2(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    limit = "0.1" if "sleep" in text else "60"
    done = _call("verify", f"{tmp_path}/mine.py:Norm", "--time-limit", limit)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_the_doctor_shows_a_matrix_and_ends_with_0() -> None:
    done = _call("doctor", "--engine", "eager", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["verdict"] == "pass"
    assert len(document["cells"]) == 64
    first = document["cells"][0]
    assert 0 < first.pop("units") < document["suspect_above"]
    assert first == {
        "norm": "BatchNorm1d", "mode": "training", "format": "contiguous", "dtype": "float64",
        "device": "cpu", "engine": "eager", "status": "pass", "reason": "",
    }  # fmt: skip
