"""The results behind the outputs that take minutes: measured once, kept in recorded/, shown again.

`measure` takes them anew. What is kept is small: run directories without their checkpoints, and
records as JSON.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import bnrun
from bnrun.runs.run_records import read_run

HERE = Path(__file__).parent
FOLDER = HERE / "recorded"
CONFIGS = HERE.parent / "configs"
DROPPED = ("checkpoint*.pt", ".lock*", "environment.json")


def measure() -> None:
    """Take every result anew."""
    with tempfile.TemporaryDirectory() as temporary:
        runs = Path(temporary) / "runs"
        result = bnrun.train(CONFIGS / "lenet_bn.yaml", out=runs)
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.copytree(runs, FOLDER / "runs", ignore=shutil.ignore_patterns(*DROPPED))
        _keep("inspection", bnrun.inspect_gamma(result, layer="norm1"))
        _keep("evaluation", bnrun.evaluate(result))


def run_name() -> str:
    """Return the name of the recorded run of the main job."""
    (path,) = (FOLDER / "runs").glob("*-lenet_bn-*")
    return path.name


def _train() -> str:
    path = FOLDER / "runs" / run_name()
    result = bnrun.TrainingResult(read_run(path).summary, None)
    return f"{bnrun.render(result)}kept in runs/{path.name}\n"


def _inspect_gamma() -> str:
    shown = bnrun.render(_read("inspection", bnrun.Inspection))
    return shown.replace("norm scratch, after", f"{run_name()}, after", 1)


def _evaluate() -> str:
    return f"of runs/{run_name()}\n{bnrun.render(_read('evaluation', bnrun.Evaluation))}"


OUTPUTS: dict[str, Callable[[], str]] = {
    "bnrun train configs/lenet_bn.yaml": _train,
    "bnrun inspect-gamma --layer norm1": _inspect_gamma,
    "bnrun evaluate": _evaluate,
}
"""What each command printed when it was measured."""

BY_HAND = (
    "bnrun compare scratch builtin",
    "bnrun bench",
    "bnrun bench --config configs/lenet_fast.yaml --speedrun 20",
    "bnrun doctor --engine eager",
)
"""Commands that take minutes and whose results are not recorded yet."""


def _keep(name: str, record: Any) -> None:
    text = TypeAdapter(type(record)).dump_json(record, indent=1).decode()
    (FOLDER / f"{name}.json").write_text(text + "\n")


def _read(name: str, kind: type) -> Any:
    return TypeAdapter(kind).validate_json((FOLDER / f"{name}.json").read_text())
