"""`bnrun compare`: whole, failing, continued when nothing is left to do, refused."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import FEW_IMAGES, FEW_ROUNDS, NO_PICTURE
from typer.testing import CliRunner

from bnrun.cli import app
from bnrun.comparison import parity, throughput
from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.comparison_events import Trial
from bnrun.comparison.plan import make_plan
from bnrun.config import Assignment, Config, parse_override
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted
from bnrun.runs.comparison_directory import create_comparison
from bnrun.runs.trial_directory import open_trial
from bnrun.show import pictures
from bnrun.training import engine_choice
from bnrun.training.engine import Engine

Run = Callable[..., subprocess.CompletedProcess[str]]

CHEAP = (
    "--set", "training.batch_size=32", "--set", "training.population_images=100",
    "--set", "training.engine=eager", "--device", "cpu",
)  # fmt: skip
SMALL = ("--set", "data.name=synthetic", *CHEAP)

RAISES = """
from torch import nn

class Raises(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.seen = 0
    def forward(self, x):
        print("a layer that talks")
        self.seen += 1
        if self.seen > 40:
            raise ValueError("enough")
        return x

class Unbuildable(nn.Module):
    def __init__(self, num_features):
        raise KeyError("not today")
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons in this process measure little and draw nothing."""
    monkeypatch.setattr(parity, "STEPS", 1)
    monkeypatch.setattr(throughput, "ROUNDS", 2)
    monkeypatch.setattr(throughput, "STEPS", 2)
    monkeypatch.setattr(pictures, "compare", str)
    monkeypatch.setattr(pictures, "render", lambda figure: {"svg": b"", "png": b""})


def _only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def _go_on(*arguments: str) -> dict[str, Any]:
    """Resume a comparison, here, and return its document."""
    done = CliRunner().invoke(app, ["compare", "--json", "--resume", *arguments])
    assert done.exit_code == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_two_arms_over_two_seeds(
    bnrun: Run, tmp_path: Path, idx_root: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bnrun(
        "compare", "scratch", "max=builtin,model.pool=max", "--seeds", 2, "--epochs", 1, *CHEAP,
        "--set", f"data.root={idx_root}", "--set", "training.seed=5", "--out", "kept", "--json",
        before=FEW_ROUNDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    folder = _only(tmp_path / "kept")
    assert folder.name.endswith("Z-compare-scratch-max")
    assert document["run"] == f"kept/{folder.name}"
    assert (document["status"], document["seeds"]) == ("completed", [5, 6])
    assert json.loads((folder / "summary.json").read_text()) == document

    for arm in document["arms"]:
        assert arm["n"] == 2
        losses = [trial["loss"] for trial in arm["trials"]]
        assert arm["mean"]["loss"] == pytest.approx(sum(losses) / 2)
        assert [trial["seed"] for trial in arm["trials"]] == [5, 6]
        assert 0 <= arm["mean"]["test_acc_population"] <= 1
    assert [pair["metric"] for pair in document["pairs"]] == [
        "loss", "train_acc", "test_acc", "test_acc_population",
    ]  # fmt: skip
    assert [d["key"] for d in document["differences"]] == ["model.pool"]
    assert document["parity"]["max_loss_difference"] > 1e-3
    assert [t["arm"] for t in document["throughput"]] == ["scratch", "max"]
    assert document["throughput_noise"]["ratio_to_first"] > 0

    plan = yaml.safe_load((folder / "compare.yaml").read_text())
    assert (plan["engine"], document["engine"]) == ("eager", "eager")
    assert [pair["primary"] for pair in document["pairs"]] == [False, False, False, True]
    assert document["parity"]["as_trained"]["dtype"] == "float32"
    assert [t["engine"] for t in document["throughput"]] == ["eager", "eager"]

    # A trial is a run like any other.
    run = folder / "trials" / "max-s6"
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "environment.json", "metrics.jsonl", "checkpoint.pt", "summary.json",
    }  # fmt: skip
    for name in ("compare.svg", "compare.png", "compare.yaml"):
        assert (folder / name).stat().st_size > 0

    # Continued when there is nothing left to do, it shows the same again, and does nothing.
    before = (run / "metrics.jsonl").read_bytes()
    monkeypatch.chdir(tmp_path)
    assert _go_on(folder.name[:18], "--out", "kept") == document
    assert (run / "metrics.jsonl").read_bytes() == before


def test_an_arm_that_raises_and_one_that_diverges_are_reported_and_the_others_go_on(
    bnrun: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(RAISES)
    done = bnrun(
        "compare", "mine.py:Raises", "wild=none,model.activation=relu,optimizer.lr=1e30", "builtin",
        "--seeds", 1, "--epochs", 1, *SMALL, "--set", "training.batch_size=8",
        before=FEW_IMAGES + FEW_ROUNDS + NO_PICTURE,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    shown = " ".join(done.stdout.split())
    assert "n = 0 n = 0 n = 1" in shown
    assert "Raises, seed 0: failed: epoch 1, step 41 of 75" in shown
    assert "wild, seed 0: diverged: the loss became" in shown
    assert "a layer that talks" not in done.stdout
    assert "Traceback" not in done.stderr
    document = json.loads((_only(tmp_path / "runs") / "summary.json").read_text())
    assert document["status"] == "failed"
    (raised,) = document["arms"][0]["trials"]
    assert 'mine.py:12: raise ValueError("enough")' in raised["reason"]


def test_the_engine_is_chosen_once_for_all_trials(
    tmp_path: Path, idx_root: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` was decided, and timed, in each trial."""
    measured: list[str] = []

    def faster(config: Config, *_: object) -> Engine:
        measured.append(config.model.norm)
        return Engine("eager", "it is faster here")

    monkeypatch.setattr(engine_choice, "MIN_RUN_STEPS", 1)
    monkeypatch.setattr(engine_choice, "_faster", faster)
    monkeypatch.chdir(tmp_path)
    arms = ("scratch", "builtin", "own=builtin,training.engine=eager")
    small = (
        *("--epochs", "1", "--seeds", "1", *CHEAP, "--set", "training.engine=auto"),
        *("--set", f"data.root={idx_root}"),
    )
    done = CliRunner().invoke(app, ["compare", *arms, *small, "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert measured == ["scratch"]
    assert (document["engine"], document["engine_reason"]) == ("eager", "it is faster here")
    for trial in (_only(tmp_path / "runs") / "trials").iterdir():
        assert yaml.safe_load((trial / "config.yaml").read_text())["training"]["engine"] == "eager"
    assert "engine of all trials: eager (it is faster here)" in done.stderr
    assert document["differences"] == []


def test_lost_trials_are_judged_when_a_comparison_continues_with_survivors(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = make_plan(build_arms(["scratch", "none"], None, _overrides(*SMALL)), (0, 1, 2))
    directory = create_comparison(tmp_path / "runs", replace(plan, engine="eager"))
    for trial in directory.unfinished_trials():
        _write_trial(trial, "diverged" if trial.name == "none-s2" else "completed")
    with directory:
        pass
    quick = ("--no-parity", "--no-throughput")
    resumed = CliRunner().invoke(app, ["compare", "--resume", "latest", "--json", *quick])
    assert resumed.exit_code == 1
    assert _verdict(resumed.stdout) == "not judged: 1 of 3 trials lost"
    resumed = CliRunner().invoke(app, ["compare", "--resume", "latest", "--survivors", "--json"])
    assert _verdict(resumed.stdout) == "no difference detected (survivors: 2 of 3)"
    document = json.loads(resumed.stdout)
    assert (document["parity"], document["throughput"]) == (None, None)  # the plan holds it, too
    shown = CliRunner().invoke(app, ["runs", "show", directory.path.name, "--json"])
    assert _verdict(shown.stdout) == "no difference detected (survivors: 2 of 3)"


def _overrides(*arguments: str) -> list[Assignment]:
    return [a for text in arguments if "=" in text for a in parse_override(text)]


def _write_trial(trial: Trial, status: Any) -> None:
    """Write the directory of a trial as training does."""
    run, _ = open_trial(trial)
    seed = trial.config.training.seed
    data = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
    with run:
        run.record(RunStarted(trial.arm, "cpu", "CPU", seed, 1, 16, data))
        run.record(EpochEnded(1, 0.5 + seed, 0.8, 0.7, None, 9e3, 9e3, 1.0, None))
        run.record(RunEnded(status, 9e3, 9e3, "the loss became nan" if seed == 2 else None))


def _verdict(stdout: str) -> str:
    """The verdict on the primary metric of a document's only pair."""
    (pair,) = (pair for pair in json.loads(stdout)["pairs"] if pair["primary"])
    verdict: str = pair["verdict"]
    return verdict


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "compare takes two arms or more, received 0"),
        (("scratch",), "compare takes two arms or more, received 1"),
        (("scratch", "buitin"), "Did you mean 'builtin'?"),
        (
            ("scratch", "builtin", "--seeds", 0),
            "--seeds: received 0; it must be a whole number",
        ),
        (
            ("scratch", "builtin", "--jobs", 0),
            "--jobs: received 0; it must be a whole number",
        ),
        (
            ("scratch", "builtin", "--cluster", "tcp://10.0.0.1:8786", "--jobs", 2),
            "--jobs: with --cluster, as many trials are trained at a time as",
        ),
        (("scratch", "builtin", "--epochs", 0), "--epochs: received 0"),
        (("scratch", "builtin", "--config", "no.yaml"), "there is no such config file"),
        (("scratch", "builtin", "--resume", "x"), "--resume: a comparison continues exactly"),
        (("--resume", "x", "--metric", "loss"), "--resume: a comparison continues exactly"),
        (("scratch", "builtin", "--metric", "acc"), "--metric: received 'acc'; it must be loss,"),
        (("scratch", "builtin", "--pairs", "some"), "--pairs: received 'some'"),
        (
            ("--sweep", "optimizr.lr=1,2"),
            "there is no key 'optimizr.lr'. Did you mean 'optimizer.l",
        ),
        (("--resume", "x", "--sweep", "optimizer.lr=1,2"), "--resume: a comparison continues exac"),
        (("scratch", "builtin", "--equivalence", 0), "--equivalence: received 0; the margin must"),
        (("--resume", "x"), "there is no comparison 'x'"),
        (("--resume", "latest"), "`bnrun compare scratch builtin` makes one"),
        (("scratch", "mine.py:Unbuildable", *SMALL), "Unbuildable(6) refused: KeyError"),
        (("scratch", "builtin", "--device", "cuda:99", *SMALL[:2]), "is not on this machine"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], message: str
) -> None:
    (tmp_path / "mine.py").write_text(RAISES)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["mine.py"]
