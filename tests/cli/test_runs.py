"""`bnrun runs` through the real command line, over run directories made by hand."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bnrun import runs
from bnrun.cli import app
from bnrun.config import Assignment, resolve
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted

Run = Callable[..., subprocess.CompletedProcess[str]]
Trained = tuple[Path, subprocess.CompletedProcess[str]]

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
OLD, NEW = "20260101T000000Z-lenet_bn-scratch-s0", "20261121T195959Z-lenet_bn-none-s4"


def _lay(out: Path, name: str, loss: float = 0.25, **values: object) -> Path:
    """Make the directory of a finished run."""
    assignments = [Assignment(key.replace("__", "."), values[key], "test") for key in values]
    run = runs.create(out, resolve(None, assignments))
    norm, seed = run.config.model.norm_call, run.config.training.seed
    with run:
        run.record(RunStarted(norm, "cpu", "a machine", seed, 1, 3, DATA))
        run.record(EpochEnded(1, loss, 0.8, 0.7, None, 9_000.0, 11_000.0, 1.5, 0.75))
        run.record(RunEnded("completed", 10_000.0, 12_000.0))
    return run.path.rename(out / name)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two runs, and a comparison without a result."""
    _lay(tmp_path / "runs", OLD)
    _lay(tmp_path / "runs", NEW, 0.5, model__norm="none", training__seed=4)
    comparison = tmp_path / "runs" / "20261201T000000Z-compare-scratch-none"
    comparison.mkdir()
    (comparison / "compare.yaml").write_text("arms: [{name: scratch}, {name: none}]\nseeds: [0, 1]")
    return tmp_path / "runs"


def _document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the one JSON document that is all of the output."""
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_it_lists_the_newest_last(bnrun: Run, out: Path) -> None:
    done = bnrun("runs")
    assert (done.returncode, done.stderr) == (0, "")
    names = (OLD, NEW, "20261201T000000Z-compare-scratch-none")
    places = [done.stdout.index(f" {name} ") for name in names]
    assert places == sorted(places)


def test_the_newest_are_listed_and_how_to_see_the_others(out: Path) -> None:
    shown = _listed("--out", out, "--limit", 2)
    assert OLD not in shown
    assert NEW in shown
    assert shown.endswith(f"The newest 2 of 3. All of them: bnrun runs --out {out} --all\n")
    assert OLD in _listed("--out", out, "--all")


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (("norm=none",), [NEW]),
        (("seed=0",), [OLD]),
        (("training.seed=4", "status=completed"), [NEW]),
        (("config=lenet_bn", "lr=1"), [OLD, NEW]),
        (("engine=eager", "nesterov=false"), [OLD, NEW]),
        (("status=failed",), []),
    ],
)
def test_filters_choose_runs(out: Path, filters: tuple[str, ...], names: list[str]) -> None:
    shown = _listed(*filters, "--out", out)
    assert [name for name in (OLD, NEW) if name in shown] == names
    assert "compare-scratch-none" not in shown
    document = json.loads(_listed("--json", "--out", out, *filters))
    assert [Path(run["run"]).name for run in document["runs"]] == names[::-1]
    assert document["comparisons"] == []
    if not names:
        assert shown == f"None of 3 below {out}/ has status=failed.\n"


def test_a_norm_is_found_as_the_list_writes_it(tmp_path: Path) -> None:
    _lay(tmp_path, OLD, model__norm="builtin(momentum=0.01)")
    for norm in ("builtin", "builtin(momentum=0.01)"):
        assert OLD in _listed(f"norm={norm}", "--out", tmp_path)
    assert OLD not in _listed("norm=builtin(momentum=0.1)", "--out", tmp_path)


def test_a_filter_and_a_limit_say_that_there_are_more(out: Path) -> None:
    shown = _listed("config=lenet_bn", "--out", out, "--limit", 1)
    assert OLD not in shown
    assert shown.endswith(
        f"The newest 1 that have config=lenet_bn. All of them: bnrun runs config=lenet_bn "
        f"--out {out} --all\n"
    )


def _listed(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["runs", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_list_as_json(bnrun: Run, out: Path) -> None:
    assert _document(bnrun("runs", "--json")) == {
        "runs": [
            {
                "run": f"runs/{NEW}",
                "started": "2026-11-21T19:59:59Z",
                "config_name": "lenet_bn",
                "norm": "none",
                "seed": 4,
                "status": "completed",
                "reason": None,
                "epochs": 1,
                "loss": 0.5,
                "train_acc": 0.8,
                "test_acc": 0.7,
                "test_acc_population": 0.75,
            },
            {
                "run": f"runs/{OLD}",
                "started": "2026-01-01T00:00:00Z",
                "config_name": "lenet_bn",
                "norm": "scratch",
                "seed": 0,
                "status": "completed",
                "reason": None,
                "epochs": 1,
                "loss": 0.25,
                "train_acc": 0.8,
                "test_acc": 0.7,
                "test_acc_population": 0.75,
            },
        ],
        "comparisons": [
            {
                "run": "runs/20261201T000000Z-compare-scratch-none",
                "status": None,
                "arms": ["scratch", "none"],
                "seeds": [0, 1],
            }
        ],
        "studies": [],
    }


def test_a_damaged_run_leaves_the_others_listed(bnrun: Run, out: Path) -> None:
    (out / NEW / "config.yaml").write_text("model: [")
    first, second = _document(bnrun("runs", "--json"))["runs"]
    assert (first["status"], first["norm"], second["status"]) == ("damaged", None, "completed")
    assert f"runs/{NEW}/config.yaml:1: this is not valid YAML" in first["reason"]


def test_without_a_run_it_says_what_makes_one(bnrun: Run) -> None:
    done = bnrun("runs")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No run below runs/ yet: `bnrun train` makes one.\n"
    assert _document(bnrun("runs", "--json")) == {"runs": [], "comparisons": [], "studies": []}


def test_a_run_that_was_trained_is_shown(bnrun_in: Run, trained: Trained) -> None:
    folder, training = trained
    table = training.stdout.partition("LeNet")[2].partition("kept in")[0]
    done = bnrun_in(folder, "runs", "show", "latest")
    assert (done.returncode, done.stderr) == (0, "")
    assert table in done.stdout
    assert done.stdout.endswith(training.stdout.splitlines()[-1] + "\n")
    assert re.search(r"data.name +synthetic +fashion-mnist", done.stdout)
    assert f" {' '.join(training.args)}" in " ".join(done.stdout.split())


def test_a_run_as_json_is_its_summary_and_its_environment(bnrun: Run, out: Path) -> None:
    document = _document(bnrun("runs", "show", "2026010", "--json"))
    summary = json.loads((out / OLD / "summary.json").read_text())
    environment = json.loads((out / OLD / "environment.json").read_text())
    assert document == summary | {
        "run": f"runs/{OLD}",
        "config_name": "lenet_bn",
        "started": "2026-01-01T00:00:00Z",
        "environment": environment,
        "probes": [],
    }


def test_a_difference_is_shown_and_one_seed_each_is_said(bnrun: Run, out: Path) -> None:
    done = bnrun("runs", "diff", OLD, NEW)
    assert (done.returncode, done.stderr) == (0, "")
    assert "`bnrun compare` pairs seeds" in " ".join(done.stdout.split())
    assert _document(bnrun("runs", "diff", OLD, NEW, "--json")) == {
        "a": f"runs/{OLD}",
        "b": f"runs/{NEW}",
        "config": [
            {"key": "model.norm", "a": "scratch", "b": "none"},
            {"key": "training.seed", "a": 0, "b": 4},
        ],
        "result": [{"key": "loss", "a": 0.25, "b": 0.5}],
        "environment": [],
        "remarks": [
            "One seed each (0 and 4): two runs with different seeds differ by chance, too. `bnrun "
            "compare` pairs seeds."
        ],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nope"), "there is no run 'nope', neither as a path nor below runs/"),
        (("show", "2026"), "2 runs start with '2026'; give more of the name"),
        (("show", "20261201"), "compare.yaml is damaged, or is not the plan of a comparison"),
        (("show", "latest", "--out", "nowhere"), "No run is there yet: `bnrun train` makes one"),
        (("diff", "latest"), "B: this is missing"),
        (("diff", "latest", "x" * 300), "File name too long"),
        (("show", "latest", "norm=none"), "norm=none"),
        (("norms=none",), "there is no 'norms' to look for. Did you mean 'norm'?"),
        (("status=complete",), "Did you mean 'completed'?"),
        (("sho",), "received 'sho'. Did you mean 'show'? It must be show or diff, or KEY=VALUE"),
        (("norm=none", "show"), "write the options of `bnrun runs show` after it"),
        (("--all", "--limit", "3"), "--all: give one of --all and --limit"),
        (("--limit", "0"), "--limit: received 0"),
        (("--out", f"runs/{OLD}/config.yaml"), "it must be the folder that runs are in"),
        (("--json", "show", "latest"), "write the options of `bnrun runs show` after it"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(
    bnrun: Run, out: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = bnrun("runs", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.process
def test_torch_is_not_loaded_to_look(out: Path) -> None:
    code = (
        "import sys\n"
        "from bnrun.cli import app\n"
        f"for command in ([], ['show', {NEW!r}], ['diff', {OLD!r}, {NEW!r}]):\n"
        "    try:\n"
        "        app(['runs', *command])\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=out.parent
    )
    assert done.returncode == 0, done.stderr
