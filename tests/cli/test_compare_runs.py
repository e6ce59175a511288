"""`bnrun compare RUN RUN` and `bnrun plot RUN RUN` over run directories made by hand."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bnrun import runs
from bnrun.cli import app
from bnrun.config import Assignment, resolve
from bnrun.events import DataUsed, EpochEnded, RunEnded, RunStarted
from bnrun.runs import run_directory
from bnrun.show import pictures

DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
NAMES = [f"2026010{day}T000000Z-lenet_bn-{arm}" for day, arm in enumerate(
    ("scratch-s0", "scratch-s1", "none-s0", "none-s1"), start=1
)]  # fmt: skip


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two norms, and a run that crashed."""
    out = tmp_path_factory.mktemp("laid") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "describe", lambda device, machine: {})  # it runs git
        for name, loss in zip(NAMES, (0.3, 0.31, 0.5, 0.53), strict=True):
            _, _, norm, seed = name.split("-")
            _lay(out, name, loss, norm, int(seed[1:]))
        crashed = _lay(out, "20260105T000000Z-lenet_bn-scratch-s0", 0.0, "scratch", 0)
    for file in ("metrics.jsonl", "summary.json"):
        (crashed / file).unlink()
    return out


@pytest.fixture
def out(laid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(laid, Path("runs"))


def _lay(out: Path, name: str, loss: float, norm: str, seed: int) -> Path:
    values = {"model.norm": norm, "training.seed": seed, "training.epochs": 1}
    assignments = [Assignment(key, value, "test") for key, value in values.items()]
    run = runs.create(out, resolve(None, assignments))
    with run:
        run.record(RunStarted(norm, "cpu", "a machine", seed, 1, 3, DATA))
        run.record(EpochEnded(1, loss, 0.9, 0.7, None, 9e3, 9e3, 1.0))
        run.record(RunEnded("completed", 9e3, 9e3))
    return run.path.rename(out / name)


def _invoke(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def test_runs_are_put_side_by_side_and_nothing_is_written(out: Path) -> None:
    before = sorted(out.rglob("*"))
    code, output, notices = _invoke("compare", *NAMES[:3], "20260104")
    assert output == SCREEN
    assert (code, notices) == (0, "")
    assert sorted(out.rglob("*")) == before


SCREEN = """\
LeNet, scratch, none, synthetic data, 1 epoch, 2 seeds (0, 1)

                              scratch             none
mean ± 95 % interval            n = 2            n = 2
──────────────────────────────────────────────────────
loss                  0.3050 ± 0.0635  0.5150 ± 0.1906
train acc             0.9000 ± 0.0000  0.9000 ± 0.0000
test acc, moving      0.7000 ± 0.0000  0.7000 ± 0.0000
test acc, population                -                -

trained on cpu, a machine, engine eager
These runs were chosen after they were trained: the verdicts hold if their
results had no part in the choice.
Not every run recorded its test accuracy with population statistics, so that row
is empty. Only a training records it: bnrun train --set
'training.evaluate=[moving,population]'
Intervals cover the choice of seeds, not the choice of test images. The primary
metric, test acc, moving, is judged at 95 % by itself. The 2 other verdicts are
at 95 % together: their p is adjusted (Holm), their intervals are not.
From two seeds, a 95 % interval is 13 times as wide as the two values are apart.
More seeds make it narrower.
'no difference detected' does not mean that there is none. In brackets: a true
difference of this size would show in 4 of 5 comparisons of this n, with this
spread over seeds.

differences, paired by seed, primary metric last:

scratch - none, n = 2
metric               mean       95 % interval     p  verdict
───────────────────────────────────────────────────────────────────────────
loss              -0.2100  -0.3371 to -0.0829  .061  no difference detected
                                                     (0.3264 would show)
train acc               0              0 to 0  1.00  no difference detected
test acc, moving        0              0 to 0  1.00  no difference detected
"""


def test_as_json_they_are_the_document_of_a_comparison(out: Path) -> None:
    code, output, notices = _invoke("compare", "--json", *NAMES[:2], "latest", "--metric", "loss")
    assert code == 0
    assert "latest is 20260104T000000Z-lenet_bn-none-s1; passed over: 20260105T000000Z" in notices
    document = json.loads(output)
    assert [arm["n"] for arm in document["arms"]] == [2, 1]
    assert document["runs"] == [f"runs/{name}" for name in (*NAMES[:2], NAMES[3])]
    assert [pair["metric"] for pair in document["pairs"] if pair["primary"]] == ["loss"]


def test_curves_of_runs_are_drawn_together_beside_the_runs(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "compare", lambda comparison: len(comparison.trials))
    monkeypatch.setattr(pictures, "render", lambda trials: {"svg": str(trials).encode()})
    code, output, _ = _invoke("plot", NAMES[0], NAMES[2])
    assert code == 0
    (file,) = out.glob("*-plot-scratch-none.svg")
    assert output == f"runs/{file.name}\n"
    assert file.read_text() == "2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "latest", "latest"), "error: received one run, latest, latest; two or more"),
        (("compare", "scratch", "latest"), "received latest, which is a run, and scratch, which"),
        (("compare", "2026010", NAMES[0]), "5 runs start with '2026010'"),
        (("compare", "2027", NAMES[0]), "there is no run '2027'"),
        (("compare", *NAMES, "--epochs", "3"), "--epochs: 20260101T000000Z-lenet_bn-scratch-s0 is"),
        (("compare", *NAMES, "--set", "a=1"), "--set: "),
        (("plot", NAMES[0], "nope"), "there is no run 'nope'"),
        (("plot", *NAMES, "--checkpoint", "1"), "--checkpoint: received '1', but "),
    ],
)
def test_what_cannot_be_compared_is_one_clear_error(
    out: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, output, error = _invoke(*arguments)
    assert (code, output) == (2, "")
    assert message in error


def test_a_comparison_stands_for_its_trials(out: Path) -> None:
    comparison = out / "20260201T000000Z-compare-a-b"
    (comparison / "trials").mkdir(parents=True)
    (comparison / "compare.yaml").touch()
    _, _, error = _invoke("compare", comparison.name)
    assert error.startswith(f"error: received no run that was started, {comparison.name}; two or ")
    for name in NAMES[2:]:
        (out / name).rename(comparison / "trials" / name[-7:])
    code, output, _ = _invoke("compare", "latest", NAMES[0], NAMES[1])
    assert code == 0
    assert output.startswith("LeNet, none, scratch, synthetic data, 1 epoch, 2 seeds (0, 1)\n")
