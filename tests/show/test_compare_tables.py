"""A comparison as a person reads it: whole, at the width of a terminal of 80 columns."""

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from bnrun.config import Config, parse_override, resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.experiments.comparison import (
    Arm,
    ArmResult,
    Comparison,
    Parity,
    Speeds,
    Throughput,
)
from bnrun.show.compare_tables import comparison_view, parity_sentence
from bnrun.summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)
PARITY = Parity("scratch", "builtin", "float64", 30, 9.2e-13, 7.1e-13, 4.1e-12)


def _config(*stated: str) -> Config:
    return resolve(None, [a for text in stated for a in parse_override(text)]).config


def _trial(seed: int, loss: float, test: float, population: float | None = None) -> Summary:
    epoch = EpochEnded(10, loss, 0.9, test, None, 1e4, 1e4, 3.0, population)
    config = Config().document()
    return Summary(config, "x", "cpu", "Some CPU, 2 threads", seed, DATA, (epoch,), "completed")


def _arm(name: str, *trials: Summary, stated: tuple[str, ...] = ()) -> ArmResult:
    return ArmResult(Arm(name, _config(*stated)), trials)


def _speed(name: str, rate: float, ratio: float, low: float, high: float) -> Throughput:
    return Throughput(name, name, rate, ratio, (low, high))


def _render(view: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(view)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


@pytest.fixture
def whole() -> Comparison:
    scratch = [(0.264, 0.725, 0.861), (0.269, 0.805, 0.839), (0.265, 0.868, 0.894)]
    builtin = [(0.263, 0.725, 0.860), (0.267, 0.808, 0.840), (0.264, 0.868, 0.894)]
    return Comparison(
        (
            _arm("scratch", *(_trial(s, *values) for s, values in enumerate(scratch))),
            _arm("builtin", *(_trial(s, *values) for s, values in enumerate(builtin))),
        ),
        (0, 1, 2),
        (PARITY,),
        Speeds(
            20,
            10,
            (_speed("scratch", 25_341, 1, 1, 1), _speed("builtin", 26_180, 1.038, 1.017, 1.097)),
            _speed("scratch", 25_048, 1.02, 0.944, 1.071),
        ),
        "completed",
        "runs/x",
    )


def test_a_whole_comparison(whole: Comparison) -> None:
    assert _render(comparison_view(whole)) == (
        "LeNet, scratch, builtin, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "                                 scratch           builtin\n"
        "  mean ± 95 % interval             n = 3             n = 3\n"
        " ──────────────────────────────────────────────────────────\n"
        "  loss                   0.2660 ± 0.0066   0.2647 ± 0.0052\n"
        "  train acc              0.9000 ± 0.0000   0.9000 ± 0.0000\n"
        "  test acc, moving       0.7993 ± 0.1780   0.8003 ± 0.1784\n"
        "  test acc, population   0.8647 ± 0.0688   0.8647 ± 0.0678\n"
        "\n"
        "differences, paired by seed:\n"
        "\n"
        "scratch - builtin         mean        95 % interval   n   verdict\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "loss                   +0.0013   -0.0001 to +0.0028   3   no difference detected\n"
        "train acc              +0.0000   +0.0000 to +0.0000   3   no difference detected\n"
        "test acc, moving       -0.0010   -0.0053 to +0.0033   3   no difference detected\n"
        "test acc, population   +0.0000   -0.0025 to +0.0025   3   no difference detected\n"
        "\n"
        "Parity: scratch and builtin are the same function, to rounding (30 steps in\n"
        "float64 from the same state: loss within 9e-13, weights within 7e-13, moving\n"
        "statistics within 4e-12).\n"
        "The same weights gain +2.6 to +13.6 points of test accuracy with population\n"
        "statistics in place of moving ones: the moving average lags behind the weights,\n"
        "which is much of why test accuracy jumps about.\n"
        "\n"
        "\n"
        "  throughput   examples/s   ratio to scratch   middle half of rounds\n"
        " ────────────────────────────────────────────────────────────────────\n"
        "  scratch          25,341                  1\n"
        "  builtin          26,180               1.04            1.02 to 1.10\n"
        "\n"
        "Noise: scratch against itself 1.02 (0.94 to 1.07). Medians of 20 rounds, in each\n"
        "of which every arm trains 10 steps, end to end.\n"
        "on cpu, Some CPU, 2 threads"
    )


def test_one_seed_is_shown_as_one_seed_without_an_interval() -> None:
    arms = (_arm("a", _trial(7, 0.3, 0.8)), _arm("b", _trial(7, 0.2, 0.8)))
    shown = _render(comparison_view(Comparison(arms, (7,), status="completed")))
    assert shown == (
        "LeNet, a, b, Fashion-MNIST, 10 epochs, one seed (7)\n"
        "\n"
        "                              a        b\n"
        "  mean ± 95 % interval    n = 1    n = 1\n"
        " ────────────────────────────────────────\n"
        "  loss                   0.3000   0.2000\n"
        "  train acc              0.9000   0.9000\n"
        "  test acc, moving       0.8000   0.8000\n"
        "  test acc, population        -        -\n"
        "\n"
        "differences, paired by seed:\n"
        "\n"
        "a - b                 mean   95 % interval   n   verdict\n"
        "───────────────────────────────────────────────────────────────────────\n"
        "loss               +0.1000               -   1   one seed: not judged\n"
        "train acc          +0.0000               -   1   one seed: not judged\n"
        "test acc, moving   +0.0000               -   1   one seed: not judged\n"
        "\n"
        "on cpu, Some CPU, 2 threads"
    )


def test_what_else_differs_is_said_and_that_it_is_not_the_norms_doing() -> None:
    pools = (_arm("max", stated=("model.pool=max",)), _arm("avg"))
    shown = _render(comparison_view(Comparison(pools, (0,))))
    assert "max and avg differ in model.pool: max against avg.\n" in shown
    assert "norm differing" not in shown

    both = (_arm("max", stated=("model.pool=max", "model.norm=builtin")), _arm("avg"))
    shown = _render(comparison_view(Comparison(both, (0,))))
    assert "With more than the norm differing, no difference is the norm's alone." in shown


def test_trials_that_did_not_complete_are_told_and_lower_n() -> None:
    lost = replace(_trial(1, 9.0, 0.1), status="diverged", reason="the loss became nan at step 3")
    broken = replace(_trial(0, 9.0, 0.1), status="failed", reason="step 2: ValueError: no [more]")
    arms = (_arm("a", _trial(0, 0.3, 0.8), lost), _arm("b", broken))
    shown = _render(comparison_view(Comparison(arms, (0, 1), status="failed")))
    assert "  mean ± 95 % interval    n = 1   n = 0\n" in shown
    assert "differences" not in shown
    assert "a, seed 1: diverged: the loss became nan at step 3\n" in shown
    assert "b, seed 0: failed: step 2: ValueError: no [more]\n" in shown


def test_an_interrupted_comparison_says_how_far_it_came() -> None:
    arms = (_arm("a", _trial(0, 0.3, 0.8)), _arm("b"))
    shown = _render(comparison_view(Comparison(arms, (0, 1))))
    assert shown.endswith("interrupted: 1 of 4 trials are complete")


def test_nothing_yet_is_a_title() -> None:
    shown = _render(comparison_view(Comparison((_arm("a"), _arm("b")), (0, 1))))
    assert shown == (
        "LeNet, a, b, 10 epochs, 2 seeds (0 to 1)\ninterrupted: 0 of 4 trials are complete"
    )


def test_many_intervals_come_with_a_warning(whole: Comparison) -> None:
    assert "stands by itself" not in _render(comparison_view(whole))
    third = replace(whole.arms[0], arm=Arm("third", Config()))
    shown = _render(comparison_view(replace(whole, arms=(*whole.arms, third))))
    assert "Each of these 12 intervals stands by itself" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "are the same function, to rounding (30 steps in float64 from the same state: loss"),
        ({"max_moving_difference": 1e-3}, "train as the same function, to rounding, but keep"),
        ({"max_loss_difference": 1e-3}, "scratch and builtin are not the same function (30 steps"),
        ({"max_weight_difference": 1e-3}, "scratch and builtin are not the same function"),
        ({"max_moving_difference": None}, "weights within 7e-13)."),
        ({"error": "step 31: ValueError"}, "; then step 31: ValueError)."),
        (
            {"max_loss_difference": None, "steps": 0, "error": "step 1: ValueError"},
            "Parity of scratch and builtin is unknown: step 1: ValueError",
        ),
    ],
)  # fmt: skip
def test_parity_in_words(changes: dict[str, object], said: str) -> None:
    assert said in parity_sentence(replace(PARITY, **changes))  # type: ignore[arg-type]
