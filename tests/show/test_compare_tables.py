"""A comparison as a person reads it: whole, at the width of a terminal of 80 columns."""

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from bnrun.comparison.outcome import (
    Arm,
    ArmResult,
    Comparison,
    Parity,
    Speeds,
    Throughput,
)
from bnrun.config import Config, parse_override, resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.show.compare_tables import comparison_view
from bnrun.show.remarks import parity_sentence
from bnrun.summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)
PARITY = Parity("scratch", "builtin", "float64", 30, 9.2e-13, 7.1e-13, 4.1e-12, 5.2e-12)


def _config(*stated: str) -> Config:
    return resolve(None, [a for text in stated for a in parse_override(text)]).config


def _trial(seed: int, loss: float, test: float, population: float | None = None) -> Summary:
    epoch = EpochEnded(10, loss, 0.9, test, None, 1e4, 1e4, 3.0, population)
    config = Config().to_dict()
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
            "Some CPU, 2 threads",
            (_speed("scratch", 25_341, 1, 1, 1), _speed("builtin", 26_180, 1.038, 1.017, 1.097)),
            _speed("scratch", 25_048, 1.02, 0.944, 1.071),
        ),
        status="completed",
        run="runs/x",
    )


def test_a_whole_comparison(whole: Comparison) -> None:
    assert _render(comparison_view(whole)) == (
        "LeNet, scratch, builtin, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "                              scratch          builtin\n"
        "mean ± 95 % interval            n = 3            n = 3\n"
        "──────────────────────────────────────────────────────\n"
        "loss                  0.2660 ± 0.0066  0.2647 ± 0.0052\n"
        "train acc             0.9000 ± 0.0000  0.9000 ± 0.0000\n"
        "test acc, moving      0.7993 ± 0.1780  0.8003 ± 0.1784\n"
        "test acc, population  0.8647 ± 0.0688  0.8647 ± 0.0678\n"
        "\n"
        "differences, paired by seed:\n"
        "\n"
        "scratch - builtin\n"
        "                         mean       95 % interval  n  verdict\n"
        "────────────────────────────────────────────────────────────────────────────\n"
        "loss                  +0.0013  -0.0001 to +0.0028  3  no difference detected\n"
        "train acc                   0              0 to 0  3  no difference detected\n"
        "test acc, moving      -0.0010  -0.0053 to +0.0033  3  no difference detected\n"
        "test acc, population        0  -0.0025 to +0.0025  3  no difference detected\n"
        "\n"
        "'no difference detected': 0 lies in the interval. It is not proof that there is\n"
        "none; more seeds narrow the interval.\n"
        "Parity: scratch and builtin are the same function, to rounding: they differ by\n"
        "up to 9e-13 in loss, 7e-13 in weights, 4e-12 in moving statistics, 5e-12 in\n"
        "logits (30 steps in float64 from the same state).\n"
        "With population in place of moving statistics, the test accuracy of the same\n"
        "weights changes by (points, over the trials): scratch +2.6 to +13.6, builtin\n"
        "+2.6 to +13.5. That much of it hangs on the moving average, which holds what\n"
        "batches were under earlier weights.\n"
        "\n"
        "throughput  examples/s  ratio to scratch   middle half\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "scratch         25,341                 1\n"
        "builtin         26,180              1.04  1.02 to 1.10  within the noise\n"
        "Noise: scratch against itself 1.02 (0.94 to 1.07). Medians and middle half of 20\n"
        "rounds, in each of which every arm trains 10 steps, end to end, engine eager, on\n"
        "Some CPU, 2 threads.\n"
        "trained on cpu, Some CPU, 2 threads"
    )


def test_one_seed_is_shown_as_one_seed_without_an_interval() -> None:
    arms = (_arm("a", _trial(7, 0.3, 0.8)), _arm("b", _trial(7, 0.2, 0.8)))
    shown = _render(comparison_view(Comparison(arms, (7,), status="completed")))
    assert shown == (
        "LeNet, a, b, Fashion-MNIST, 10 epochs, one seed (7)\n"
        "\n"
        "                           a       b\n"
        "mean ± 95 % interval   n = 1   n = 1\n"
        "────────────────────────────────────\n"
        "loss                  0.3000  0.2000\n"
        "train acc             0.9000  0.9000\n"
        "test acc, moving      0.8000  0.8000\n"
        "test acc, population       -       -\n"
        "\n"
        "differences, paired by seed:\n"
        "\n"
        "a - b\n"
        "                     mean  95 % interval  n  verdict\n"
        "───────────────────────────────────────────────────────────────────\n"
        "loss              +0.1000              -  1  one seed: not judged\n"
        "train acc               0              -  1  one seed: not judged\n"
        "test acc, moving        0              -  1  one seed: not judged\n"
        "\n"
        "a, b: no moving statistics are kept; the row 'test acc, moving' holds the one\n"
        "way in which it predicts.\n"
        "trained on cpu, Some CPU, 2 threads"
    )


def test_a_difference_too_small_for_four_digits_is_shown_by_its_size() -> None:
    arms = (
        _arm("a", *(_trial(s, 0.3, 0.8) for s in (0, 1, 2))),
        _arm("b", *(_trial(s, 0.3 - 1e-5 * (s + 1), 0.8) for s in (0, 1, 2))),
    )
    shown = _render(comparison_view(Comparison(arms, (0, 1, 2))))
    assert "loss +2e-05 -5e-06 to +4e-05 3 no difference" in " ".join(shown.split())


def test_long_names_and_many_arms_lose_no_figure() -> None:
    names = [f"MyBatchNormWithALongName{i}" for i in range(5)]
    arms = tuple(_arm(n, *(_trial(s, 0.3 + s, 0.8, 0.81) for s in (0, 1))) for n in names)
    shown = _render(comparison_view(Comparison(arms, (0, 1))))
    assert shown.count("0.8000 ± 0.0000") == 5
    assert shown.count("no difference detected") == 4 * 10 + 1
    assert "…" not in shown.replace("KEY=VALUE,…", "")
    assert max(map(len, shown.splitlines())) <= 80


def test_what_else_differs_is_said_and_that_it_is_not_the_norms_doing() -> None:
    pools = (_arm("max", stated=("model.pool=max",)), _arm("avg"))
    shown = _render(comparison_view(Comparison(pools, (0,))))
    assert "max and avg differ in model.pool: max in max, avg in avg.\n" in shown
    assert "norm differing" not in shown

    both = (_arm("max", stated=("model.pool=max", "model.norm=builtin")), _arm("avg"))
    shown = _render(comparison_view(Comparison(both, (0,))))
    assert "With more than the norm differing, no difference is the norm's alone." in shown


def test_trials_that_did_not_complete_are_told_and_lower_n() -> None:
    lost = replace(_trial(1, 9.0, 0.1), status="diverged", reason="the loss became nan at step 3")
    broken = replace(_trial(0, 9.0, 0.1), status="failed", reason="step 2: ValueError: no [more]")
    arms = (_arm("a", _trial(0, 0.3, 0.8), lost), _arm("b", broken))
    shown = _render(comparison_view(Comparison(arms, (0, 1), status="failed")))
    assert "mean ± 95 % interval   n = 1  n = 0\n" in shown
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
        "LeNet, a, b, 10 epochs, 2 seeds (0, 1)\n\ninterrupted: 0 of 4 trials are complete"
    )


def test_many_intervals_come_with_a_warning(whole: Comparison) -> None:
    assert "stands by itself" not in _render(comparison_view(whole))
    third = replace(whole.arms[0], arm=Arm("third", Config()))
    shown = _render(comparison_view(replace(whole, arms=(*whole.arms, third))))
    assert "Each of these 12 intervals stands by itself" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "are the same function, to rounding: they differ by up to 9e-13 in loss, 7e-13 in w"),
        ({"max_moving_difference": 1e-3}, "but do not predict as one: they differ by up to 1e-03"),
        ({"max_prediction_difference": 0.5}, "train as the same function, to rounding, but do not"),
        ({"max_loss_difference": 1e-3}, "scratch and builtin are not the same function: they diff"),
        ({"max_weight_difference": 1e-3}, "by up to 9e-13 in loss, 1e-03 in weights (30 steps"),
        ({"max_moving_difference": None}, "7e-13 in weights, 5e-12 in logits (30 steps in float64"),
        (
            {"max_prediction_difference": None, "error": "arm b, predicting: ValueError"},
            "train as the same function, to rounding (30 steps in float64 from the same state); "
            "then arm b, predicting: ValueError",
        ),
        (
            {"max_loss_difference": None, "steps": 0, "error": "step 1: ValueError"},
            "scratch and builtin can't be compared: step 1: ValueError",
        ),
    ],
)  # fmt: skip
def test_parity_in_words(changes: dict[str, object], said: str) -> None:
    assert said in parity_sentence(replace(PARITY, **changes))  # type: ignore[arg-type]


def test_throughput_is_judged_against_the_noise(whole: Comparison) -> None:
    assert whole.speeds is not None
    first = whole.speeds.arms[0]
    for spread, said in (((1.2, 1.3), "faster"), ((0.5, 0.6), "slower"), ((0.9, 1.0), "within")):
        arms = (first, _speed("builtin", 1e4, 1, *spread))
        shown = _render(comparison_view(replace(whole, speeds=replace(whole.speeds, arms=arms))))
        assert said in shown.partition("ratio to scratch")[2]


def test_throughput_that_was_not_measured_is_told(whole: Comparison) -> None:
    shown = _render(comparison_view(replace(whole, speeds=None, speeds_error="b raised")))
    assert "throughput was not measured: b raised\n" in shown


def test_trials_of_several_machines_name_each(whole: Comparison) -> None:
    other = replace(whole.arms[0].trials[0], machine="Another CPU, 8 threads")
    arms = (ArmResult(whole.arms[0].arm, (other,)), whole.arms[1])
    shown = " ".join(_render(comparison_view(replace(whole, arms=arms))).split())
    assert "trained on cpu, Another CPU, 8 threads; cpu, Some CPU, 2 threads" in shown
