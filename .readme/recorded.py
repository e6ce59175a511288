"""The results behind the outputs that take minutes: measured once, kept in recorded/, shown again.

What is kept is small: the directories of a run and of a comparison without their checkpoints, and
other results as JSON.
"""

import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from cluster_overhead import Overhead
from pydantic import TypeAdapter

import bnrun
from bnrun.api.configs import recorded_config
from bnrun.benchmark.auto_starts import AutoBenchmark
from bnrun.benchmark.kernel_result import KernelBenchmark
from bnrun.benchmark.process_scaling import Scaling
from bnrun.benchmark.result import Benchmark
from bnrun.benchmark.speedrun import Speedrun
from bnrun.data.load import load
from bnrun.events import drain
from bnrun.health.evidence import Record, Seen
from bnrun.health.findings import find_all
from bnrun.health.trained_run import audit_run
from bnrun.runs import find, read_checkpoint
from bnrun.runs.run_records import read_run
from bnrun.runs.study_directory import reopen_study
from bnrun.show.auto_tables import auto_view
from bnrun.show.bench_tables import benchmark_view, speedrun_view
from bnrun.show.console import as_text
from bnrun.show.kernel_tables import kernels_view
from bnrun.show.plot_style import render
from bnrun.show.scaling_tables import scaling_view
from bnrun.show.study_tables import study_view
from bnrun.studies.study import StudyResult

HERE = Path(__file__).parent
FOLDER = HERE / "recorded"
RUNS = FOLDER / "runs"
STUDIES = FOLDER / "studies"
NOT_KEPT = ("checkpoint*.pt", ".lock*", "compare.svg", "compare.png")


def measure(names: Iterable[str] = ()) -> None:
    """Take results anew: those named (see `MEASUREMENTS`), or all of them."""
    for name in names or MEASUREMENTS:
        start = time.perf_counter()
        print(f"measuring: {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            MEASUREMENTS[name](Path(folder))
        print(f"measured: {name}, in {time.perf_counter() - start:.0f} s", flush=True)


def _measure_train(folder: Path) -> None:
    _run("train", "configs/lenet_bn.yaml", "--out", folder)
    result = bnrun.load_run(out=folder)
    _keep_json("inspection", bnrun.inspect_gamma(result, layer="norm1"))
    _keep_json("evaluation", bnrun.evaluate(result))
    _keep_directory(folder, "*-lenet_bn-scratch-s0")
    fixed = folder / "fixed.pt"
    _keep_audit("stale", _audit_run(folder, recalibrates=fixed))
    _keep_audit("recalibrated", _audit_run(folder, weights=fixed))


def _measure_compare(folder: Path) -> None:
    _run("compare", "scratch", "builtin", "--out", folder)
    _keep_directory(folder, "*-compare-scratch-builtin")


def _measure_bench(folder: Path) -> None:
    (FOLDER / "benchmark.json").write_text(_run("bench", "--json"))


def _measure_speedrun(folder: Path) -> None:
    fast = ("--config", "configs/lenet_fast.yaml", "--speedrun", "20")
    (FOLDER / "speedrun.json").write_text(_run("bench", *fast, "--json"))


def _measure_kernels(folder: Path) -> None:
    (FOLDER / "kernels.json").write_text(_run("bench", "--kernels", "--json"))


def _measure_auto(folder: Path) -> None:
    one_epoch = ("--set", "training.epochs=1")
    (FOLDER / "auto.json").write_text(_run("bench", "--auto", "10", *one_epoch, "--json"))


def _measure_processes(folder: Path) -> None:
    (FOLDER / "processes.json").write_text(_run("bench", "--processes", "1,2", "--json"))


def _measure_cluster(folder: Path) -> None:
    command = [sys.executable, str(HERE / "cluster_overhead.py"), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (FOLDER / "cluster.json").write_text(done.stdout)


def _measure_doctor(folder: Path) -> None:
    _keep_json("examination", bnrun.doctor(engine="eager"))


def _measure_study(folder: Path) -> None:
    _run("study", "all", "--out", folder)
    for old in STUDIES.glob("*"):
        shutil.rmtree(old)
    for new in folder.glob("*-study-*"):
        (STUDIES / new.name).mkdir()
        shutil.copy(new / "study.json", STUDIES / new.name)


MEASUREMENTS: dict[str, Callable[[Path], None]] = {
    "train": _measure_train,
    "compare": _measure_compare,
    "bench": _measure_bench,
    "speedrun": _measure_speedrun,
    "kernels": _measure_kernels,
    "auto": _measure_auto,
    "processes": _measure_processes,
    "cluster": _measure_cluster,
    "doctor": _measure_doctor,
    "study": _measure_study,
}


def run() -> Path:
    """Return the recorded run of the main job."""
    (path,) = RUNS.glob("*-lenet_bn-scratch-s0")
    return path


def comparison() -> bnrun.Comparison:
    """Return the recorded comparison."""
    (path,) = RUNS.glob("*-compare-scratch-builtin")
    return bnrun.load_comparison(path)


def draw() -> None:
    """Draw the recorded comparison, and a claim, for the guide."""
    figures = {
        "compare": bnrun.plot(comparison()),
        "claim": bnrun.plot(studies()["converge"], claim="C6"),
    }
    for name, figure in figures.items():
        (HERE / f"{name}.png").write_bytes(render(figure)["png"])


def benchmark() -> Benchmark:
    """Return the recorded benchmark."""
    result: Benchmark = _read_json("benchmark", Benchmark)
    return result


def speedrun() -> Speedrun:
    """Return the recorded speedrun."""
    result: Speedrun = _read_json("speedrun", Speedrun)
    return result


def kernels() -> KernelBenchmark:
    """Return the recorded benchmark of the kernels."""
    result: KernelBenchmark = _read_json("kernels", KernelBenchmark)
    return result


def auto() -> AutoBenchmark:
    """Return the recorded starts with auto and with each engine."""
    result: AutoBenchmark = _read_json("auto", AutoBenchmark)
    return result


def scaling() -> Scaling:
    """Return the recorded benchmark of one training on one and on two processes."""
    result: Scaling = _read_json("processes", Scaling)
    return result


def cluster() -> Overhead:
    """Return what a cluster was measured to add to trials."""
    result: Overhead = _read_json("cluster", Overhead)
    return result


def inspection() -> bnrun.Inspection:
    """Return the recorded inspection of the main job's first norm."""
    result: bnrun.Inspection = _read_json("inspection", bnrun.Inspection)
    return result


def examination() -> bnrun.Examination:
    """Return the recorded examination of torch's own norms."""
    result: bnrun.Examination = _read_json("examination", bnrun.Examination)
    return result


def _train() -> str:
    result = bnrun.TrainingResult(read_run(run()).summary, None)
    return f"{bnrun.render(result)}kept in runs/{run().name}\n"


def _inspect_gamma() -> str:
    shown = bnrun.render(inspection())
    return shown.replace("norm scratch, after", f"{run().name}, after", 1)


def _evaluate() -> str:
    evaluation = bnrun.render(_read_json("evaluation", bnrun.Evaluation))
    return f"of runs/{run().name}\n{evaluation}"


def _audit() -> str:
    return f"{bnrun.render(_read_audit('stale'))}kept in fixed.pt\n"


def _audit_recalibrated() -> str:
    return bnrun.render(_read_audit("recalibrated"))


def _compare() -> str:
    result = comparison()
    return f"{bnrun.render(result)}kept in runs/{Path(str(result.run)).name}\n"


def _bench() -> str:
    return as_text(benchmark_view(benchmark()), 80)


def _speedrun() -> str:
    return as_text(speedrun_view(speedrun()), 80)


def _kernels() -> str:
    return as_text(kernels_view(kernels()), 80)


def _auto() -> str:
    return as_text(auto_view(auto()), 80)


def _scaling() -> str:
    return as_text(scaling_view(scaling()), 80)


def _doctor() -> str:
    return bnrun.render(examination())


def studies() -> dict[str, StudyResult]:
    """Return the recorded studies by name."""
    results = [reopen_study(path).result for path in STUDIES.glob("*-study-*")]
    return {result.study.name: result for result in results}


def _study() -> str:
    result = studies()["exact"]
    pictures = {one.id: f"{one.id}-{one.name}.png" for one in result.study.claims}
    return f"{as_text(study_view(result, pictures), 80)}kept in runs/{Path(str(result.run)).name}\n"


OUTPUTS: dict[str, Callable[[], str]] = {
    "bnrun train configs/lenet_bn.yaml": _train,
    "bnrun inspect-gamma --layer norm1": _inspect_gamma,
    "bnrun evaluate": _evaluate,
    "bnrun audit latest --recalibrate fixed.pt": _audit,
    "bnrun audit latest --weights fixed.pt": _audit_recalibrated,
    "bnrun compare scratch builtin": _compare,
    "bnrun bench": _bench,
    "bnrun bench --config configs/lenet_fast.yaml --speedrun 20": _speedrun,
    "bnrun bench --kernels": _kernels,
    "bnrun bench --auto 10 --set training.epochs=1": _auto,
    "bnrun bench --processes 1,2": _scaling,
    "bnrun doctor --engine eager": _doctor,
    "bnrun study exact": _study,
}
"""What each command printed when it was measured."""


def _run(*arguments: object) -> str:
    """Run a command in the repository, and return what it prints on stdout."""
    command = [sys.executable, "-m", "bnrun", *map(str, arguments)]
    return subprocess.run(
        command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _audit_run(
    folder: Path, weights: Path | None = None, recalibrates: Path | None = None
) -> bnrun.Audit:
    """Audit the run in a folder, as `bnrun audit latest` does."""
    path = find("latest", folder)
    state = read_checkpoint(path, "last")
    config = recorded_config(state)
    work = audit_run(
        config,
        state,
        drain(load(config.data)),
        torch.device("cpu"),
        name=path.name,
        weights=None if weights is None else str(weights),
        recalibrates=recalibrates is not None,
    )
    audit, fixed = drain(work)
    if recalibrates is not None:
        torch.save(fixed, recalibrates)
    return audit


def _keep_audit(name: str, audit: bnrun.Audit) -> None:
    """Keep the evidence of an audit, from which its findings are found again.

    The statistics of each call are left out; their averages take their place.
    """
    evidence = audit.evidence
    norms = [
        dataclasses.replace(
            one, seen={mode: Seen(seen.averaged, ()) for mode, seen in one.seen.items()}
        )
        for one in evidence.norms
    ]
    loading = dataclasses.replace(evidence.loading, file=Path(evidence.loading.file).name)
    kept = dataclasses.replace(evidence, norms=tuple(norms), loading=loading)
    torch.save(kept, FOLDER / f"audit-{name}.pt")


def _read_audit(name: str) -> bnrun.Audit:
    with torch.serialization.safe_globals(Record.__subclasses__()):
        kept = torch.load(FOLDER / f"audit-{name}.pt", weights_only=True)
    return bnrun.Audit(kept, find_all(kept))


def _keep_directory(folder: Path, pattern: str) -> None:
    for old in RUNS.glob(pattern):
        shutil.rmtree(old)
    (new,) = folder.glob(pattern)
    shutil.copytree(new, RUNS / new.name, ignore=shutil.ignore_patterns(*NOT_KEPT))


def _keep_json(name: str, record: Any) -> None:
    text = TypeAdapter(type(record)).dump_json(record, indent=1).decode()
    (FOLDER / f"{name}.json").write_text(text + "\n")


def _read_json(name: str, kind: type) -> Any:
    return TypeAdapter(kind).validate_json((FOLDER / f"{name}.json").read_text())
