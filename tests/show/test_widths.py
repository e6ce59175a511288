"""Every table at the widths of terminals: no figure and no word is cut, and verdicts stand last."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import recorded
from rich.cells import cell_len
from rich.console import RenderableType

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.result import Comparison
from bnrun.config import parse_override, resolve
from bnrun.events import DataUsed, EpochEnded, Probed
from bnrun.norms.descriptions import DESCRIPTIONS, WEIGHTS
from bnrun.runs.run_records import ComparisonRecord, RunRecord
from bnrun.show.auto_tables import auto_view
from bnrun.show.bench_tables import benchmark_view, speedrun_view
from bnrun.show.compare_tables import comparison_view
from bnrun.show.config_tables import configs_view
from bnrun.show.console import as_text
from bnrun.show.doctor_tables import doctor_view
from bnrun.show.evaluation_tables import evaluation_table
from bnrun.show.gamma_tables import GammaTables
from bnrun.show.guide_pages import topics_view
from bnrun.show.kernel_tables import kernels_view
from bnrun.show.norms_table import norms_table
from bnrun.show.probe_tables import probes_table
from bnrun.show.runs_tables import diff_table, run_view, runs_table
from bnrun.show.study_tables import studies_table
from bnrun.show.training_tables import config_table, places_table, training_table
from bnrun.show.verify_tables import catalogue_view, report_view
from bnrun.studies.registry import STUDIES
from bnrun.training.evaluation import Evaluation
from bnrun.training_summary import Summary
from bnrun.verification.catalogue import known_faults
from bnrun.verification.fault import Fault
from bnrun.verification.report import GROUPS, CheckResult, Finding, Measurement, Report, Status
from bnrun.verification.topics import CHECKS

WIDTHS = (40, 50, 60, 80, 120)
NAME_HEADINGS = {
    *("check", "key", "model.weights", "norm", "source", "study", "throughput", "training"),
    *("kernel", "start", "metric", "pair", "run", "or", "comparison"),
}
"""Words of the headings above names, which blocks of lines go without."""
SCREEN = 22
"""Lines of a terminal of 24 that a result may fill, beside where it is kept and the prompt."""
HUGE = 9186560439982335618494656151552.0
FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 55_000, 5_000, 10_000)
ROOT = Fault("root-missing", "The root is missing: it divides by var + eps.", "Divide by the root.")
BIASED = Fault("biased", "The moving variance is biased.", "Multiply by n / (n - 1).", "Flax")
NAME = "20261121T225147Z-a_config_with_a_long_name-MyBatchNorm-s0"


def _epoch(number: int, loss: float = 0.2661, **evaluated: float) -> EpochEnded:
    return EpochEnded(number, loss, 0.9009, 0.8712, None, 17_834.1, 18_259.9, 105.3, **evaluated)


def _summary(*epochs: EpochEnded, seed: int = 0, norm: str = "scratch") -> Summary:
    return Summary(
        config=resolve(None, parse_override(f"training.epochs={len(epochs)}")).config.to_dict(),
        norm=norm,
        device="cpu",
        machine="Some CPU, 2 threads",
        seed=seed,
        data=FASHION,
        epochs=epochs,
        status="completed",
        examples_per_second=17_000.4,
        compute_examples_per_second=18_000.6,
    )


def _training(*, others: bool = False) -> RenderableType:
    evaluated = {"test_acc_population": 0.8854, "test_acc_batch": 0.6701} if others else {}
    return training_table(_summary(*(_epoch(n, 2.6 / n, **evaluated) for n in range(1, 11))))


def _comparison(names: str) -> Comparison:
    """Return a comparison over three seeds; every arm's accuracy differs, wild's loss is huge."""

    def trial(at: int, seed: int) -> Summary:
        loss = (HUGE if at == names.split().index("wild") else 0.25) + 0.01 * seed
        test, population = 0.8 + 0.001 * seed * at, 0.85 + 0.01 * at + 0.001 * seed * at
        return _summary(
            EpochEnded(10, loss, 0.9, test, None, None, None, 3.0, population), seed=seed
        )

    arms = (
        Arm(name, resolve(None, parse_override(f"model.norm={norm}")).config)
        for name, norm in zip(names.split(), NORMS, strict=False)
    )
    results = (
        ArmResult(arm, tuple(trial(at, seed) for seed in range(3))) for at, arm in enumerate(arms)
    )
    return Comparison(tuple(results), (0, 1, 2), status="completed")


def _report() -> Report:
    """Return a report on two engines, in which a check of each status stands in each group."""
    cases: tuple[tuple[str, Status, float | None, tuple[Fault, ...]], ...] = (
        ("forward in training, (N, C, L)", "fail", math.inf, (ROOT, BIASED)),
        ("track_running_stats=False", "pass", 2e-16, ()),
        ("memory over many steps", "skip", None, ()),
    )
    checks = [
        CheckResult(name, group, status, error, "the class takes no eps", faults, engine)
        for engine in ("eager", "compiled")
        for group in GROUPS
        for name, status, error, faults in cases
    ]
    found = (Finding(ROOT, "in training only", tuple(one.name for one in checks), "y[0] is 3"),)
    measured = (Measurement("eager", "float64"), Measurement("compiled", "float32", 1234))
    return Report("my_norm.py:Norm", "torch", "cpu", measured, tuple(checks), found, 2, 1.23)


def _run(loss: float = 0.2661) -> RunRecord:
    path = Path("runs", NAME)
    started = datetime(2026, 11, 21, 22, 51, 47, tzinfo=UTC)
    summary = _summary(_epoch(1, loss), norm="folder/my_batchnorm.py:BatchNorm")
    return RunRecord(path, started, "lenet_bn", summary, "completed", {"torch": "2.15.0"})


def _evaluation() -> Evaluation:
    accuracies = {"moving": 0.6786, "population": 0.8541, "batch": 0.6701}
    return Evaluation("scratch", 3, 10, FASHION, "cpu", accuracies, True, 10_000, 256)


CONFIG = [("optimizer.nesterov", True, "--set"), ("data.root", "/a/b", "configs/lenet_bn.yaml:3")]
PLACES = [("bnrun's cache", "complete", "/root/.cache/bnrun"), ("torchvision", "absent", "data/a")]
COMPARISON = ComparisonRecord(Path("runs", NAME), ("scratch", "builtin"), (0, 1), "completed")
NORMS = ("scratch", *("builtin",) * 4)
FIVE = "scratch builtin a-long-name-of-an-arm wide wild"
VIEWS: dict[str, Callable[[], RenderableType]] = {
    "training": _training,
    "training with every accuracy": lambda: _training(others=True),
    "a loss that is huge": lambda: training_table(_summary(_epoch(1, HUGE), _epoch(2, 2e-7))),
    "config": lambda: config_table(CONFIG),
    "places": lambda: places_table(PLACES),
    "a comparison of two arms": lambda: comparison_view(recorded.comparison()),
    "a comparison of five arms": lambda: comparison_view(_comparison(FIVE)),
    "verification": lambda: report_view(_report()),
    "checks": lambda: catalogue_view(CHECKS[:9], known_faults()[:9]),
    "doctor": lambda: doctor_view(recorded.examination()),
    "benchmark": lambda: benchmark_view(recorded.benchmark()),
    "speedrun": lambda: speedrun_view(recorded.speedrun()),
    "kernels": lambda: kernels_view(recorded.kernels()),
    "starts with auto": lambda: auto_view(recorded.auto()),
    "evaluation": lambda: evaluation_table(_evaluation()),
    "gamma": lambda: GammaTables(recorded.inspection(), NAME),
    "runs": lambda: runs_table([_run(), _run(HUGE), COMPARISON]),
    "a run": lambda: run_view(_run()),
    "two runs": lambda: diff_table(_run(), _run(HUGE)),
    "configs": lambda: configs_view([("lenet_bn", "The main job, with batch normalization.")]),
    "norms": lambda: norms_table(DESCRIPTIONS, WEIGHTS),
    "studies": lambda: studies_table(STUDIES.values()),
    "probes": lambda: probes_table([Probed("shift", 0, {"conv2": {"cosine": 0.5}})]),
    "topics": lambda: topics_view([("look-inside", "What the norms have learned.")]),
}


def _words(shown: str) -> Counter[str]:
    return Counter(word for word in shown.replace(":", " ").split() if set(word) != {"─"})


@pytest.mark.parametrize("name", VIEWS)
def test_every_figure_and_every_word_is_there_at_every_width(name: str) -> None:
    view = VIEWS[name]()
    whole = _words(as_text(view, 200))
    for width in WIDTHS:
        shown = as_text(view, width)
        assert set(whole - _words(shown)) <= NAME_HEADINGS, width
        assert "…" not in shown
        for line in shown.splitlines():
            assert cell_len(line) <= width or " " not in line.strip(), width


def test_a_training_on_50_columns() -> None:
    assert as_text(training_table(_summary(_epoch(1), _epoch(2, HUGE))), 50) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (0)\n"
        "\n"
        "                 train val   test\n"
        " epoch     loss    acc acc    acc examples/s\n"
        " ───────────────────────────────────────────\n"
        "     1   0.2661 0.9009   - 0.8712     17,834\n"
        "     2 9.19e+30 0.9009   - 0.8712     17,834\n"
        "\n"
        "  epoch   seconds\n"
        " ─────────────────\n"
        "      1     105.3\n"
        "      2     105.3\n"
        "\n"
        "loss 9.19e+30, train acc 0.901, test acc 0.871\n"
        "The loss ended above that of guessing: it is\n"
        "9.19e+30 (guessing: 2.303), though the train\n"
        "accuracy, 0.901, is above that of guessing\n"
        "(0.100). Its weights have blown up without\n"
        "becoming infinite. Try a smaller optimizer.lr than\n"
        "1.\n"
        "17,000 examples/s end to end (18,001 compute only)\n"
        "on cpu\n"
        "  Some CPU, 2 threads, engine eager\n"
    )


def test_a_comparison_on_50_columns() -> None:
    assert as_text(comparison_view(_comparison("scratch wild")), 50) == (
        "LeNet, scratch, wild, Fashion-MNIST, 10 epochs, 3\n"
        "seeds (0 to 2)\n"
        "\n"
        "mean ± 95 %         scratch                wild\n"
        "interval              n = 3               n = 3\n"
        "───────────────────────────────────────────────\n"
        "loss        0.2600 ± 0.0248 9.19e+30 ± 0.00e+00\n"
        "train acc   0.9000 ± 0.0000     0.9000 ± 0.0000\n"
        "test acc,   0.8000 ± 0.0000     0.8010 ± 0.0025\n"
        "moving\n"
        "test acc,   0.8500 ± 0.0000     0.8610 ± 0.0025\n"
        "population\n"
        "loss above           0 of 3              3 of 3\n"
        "guessing\n"
        "\n"
        "trained on cpu, Some CPU, 2 threads, engine eager\n"
        "Intervals cover the choice of seeds, not the\n"
        "choice of test images. The primary metric, test\n"
        "acc, population, is judged at 95 % by itself. The\n"
        "2 other verdicts are at 95 % together: their p is\n"
        "adjusted (Holm), their intervals are not.\n"
        "'no difference detected' does not mean that there\n"
        "is none. In brackets: a true difference of this\n"
        "size would show in 4 of 5 comparisons of this n,\n"
        "with this spread over seeds.\n"
        "wild ended with a loss above that of guessing in\n"
        "every trial. Seed 0: it is 9.19e+30 (guessing:\n"
        "2.303), though the train accuracy, 0.900, is above\n"
        "that of guessing (0.100). Its weights have blown\n"
        "up without becoming infinite. Try a smaller\n"
        "optimizer.lr than 1.\n"
        "With population in place of moving statistics, the\n"
        "test accuracy of the same weights changes by\n"
        "(points, over the trials): scratch +5.0, wild\n"
        "+6.0. That much depends on the moving average,\n"
        "which still holds statistics of earlier weights.\n"
        "\n"
        "differences, paired by seed, primary metric last:\n"
        "\n"
        "scratch - wild, n = 3\n"
        "loss\n"
        "  mean: -9.19e+30\n"
        "  95 % interval: -9.19e+30 to -9.19e+30  p: -\n"
        "  verdict: no spread over seeds: not judged\n"
        "train acc\n"
        "  mean: 0  95 % interval: 0 to 0  p: 1.00\n"
        "  verdict: no difference detected\n"
        "test acc, moving\n"
        "  mean: -0.0010  95 % interval: -0.0035 to +0.0015\n"
        "  p: .451\n"
        "  verdict: no difference detected (0.0046 would\n"
        "  show)\n"
        "test acc, population\n"
        "  mean: -0.0110  95 % interval: -0.0135 to -0.0085\n"
        "  p: .003  verdict: wild higher\n"
    )


def test_a_verification_on_50_columns() -> None:
    assert as_text(report_view(_report()), 50) == (
        "my_norm.py:Norm: fail, 1 fault\n"
        "By PyTorch's batch normalization: eager, float64;\n"
        "compiled, float32; on cpu.\n"
        "6 checks passed, 6 failed, 6 skipped, in 1.2 s.\n"
        "compiled: 9 checks (1234 kernel calls).\n"
        "The norm printed 2 lines, not shown here.\n"
        "\n"
        "1  The root is missing: it divides by var + eps\n"
        "   (in training only).\n"
        "   Evidence: y[0] is 3\n"
        "   Fix: Divide by the root.\n"
        "   root-missing, in forward in training;\n"
        "   track_running_stats=False; memory over many\n"
        "   steps\n"
        "\n"
        "failed               inputs  largest error  cause\n"
        "─────────────────────────────────────────────────\n"
        "eager, float64\n"
        "forward in training  all        not finite  1\n"
        "\n"
        "compiled, float64\n"
        "forward in training  all        not finite  1\n"
        "\n"
        "passed   eager, float64: 1 of mathematics, 1 of\n"
        "         moving statistics, 1 of the module\n"
        "         contract; largest error 2e-16,\n"
        "         track_running_stats=False\n"
        "passed   compiled, float32: 1 of mathematics, 1 of\n"
        "         moving statistics, 1 of the module\n"
        "         contract; largest error 2e-16,\n"
        "         track_running_stats=False\n"
        "skipped  memory over many steps: the class has no\n"
        "         such option\n"
        "more     --explain forward-in-training: what it\n"
        "         does, what was seen\n"
    )


def test_the_verdicts_of_a_comparison_are_on_the_last_screen() -> None:
    last = _last_screen(comparison_view(recorded.comparison()))
    for metric in ("test acc, population", "loss", "train acc", "test acc, moving"):
        (line,) = [line for line in last if line.startswith(f"{metric}  ")]
        assert line.endswith("no difference detected")


def test_the_verdict_and_the_faults_of_a_verification_are_on_the_first_screen() -> None:
    first = as_text(report_view(_report()), 80).splitlines()[:SCREEN]
    assert first[0] == "my_norm.py:Norm: fail, 1 fault"
    assert "1  The root is missing: it divides by var + eps (in training only)." in first


def test_the_ratios_of_a_benchmark_are_on_the_last_screen() -> None:
    last = _last_screen(benchmark_view(recorded.benchmark()))
    assert last[-7].startswith("───")
    assert last[-8].startswith("training ")


def test_the_wrong_cells_of_the_doctor_are_on_the_last_screen() -> None:
    examination = recorded.examination()
    wrong = replace(examination.results[-1], status="fail", units=123.4)
    results = (*examination.results[:-1], wrong)
    last = _last_screen(doctor_view(replace(examination, results=results)))
    assert last[-3:] == [
        "fail  RMSNorm any contiguous float16, cpu eager: 123.4 units",
        "",
        "fail: 1 of 64 cells are wrong",
    ]


def _last_screen(view: RenderableType) -> list[str]:
    return as_text(view, 80).splitlines()[-SCREEN:]
