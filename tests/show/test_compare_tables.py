"""A comparison as a person reads it: whole, at the width of a terminal of 80 columns."""

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.paired_differences import Criteria
from bnrun.comparison.parity_verdict import Agreement, Parity
from bnrun.comparison.result import Comparison, Speeds, Throughput
from bnrun.config import Config, parse_override, resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.show import compare_tables
from bnrun.show.compare_tables import comparison_view
from bnrun.training_summary import Summary

DATA = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)
EXACT = Agreement(("eager", "eager"), "float64", 30, 9.2e-13, 7.1e-13, 4.1e-12, 5.2e-12)
TRAINED = Agreement(
    ("compiled", "compiled"), "float32", 30, 1.2e-7, 6e-8, 1.8e-7, 9.5e-7, per_step=True
)
PARITY = Parity("scratch", "builtin", EXACT, TRAINED)


def _config(*overrides: str) -> Config:
    return resolve(None, [a for text in overrides for a in parse_override(text)]).config


def _trial(seed: int, loss: float, test: float, population: float | None = None) -> Summary:
    epoch = EpochEnded(10, loss, 0.9 + 0.001 * seed, test, None, 1e4, 1e4, 3.0, population)
    config, machine = Config().to_dict(), "Some CPU, 2 threads"
    return Summary(
        *(config, "x", "cpu", machine, seed, DATA, (epoch,), "completed"), engine="compiled"
    )


def _arm(name: str, *trials: Summary, overrides: tuple[str, ...] = ()) -> ArmResult:
    return ArmResult(Arm(name, _config(*overrides)), trials)


def _speed(name: str, rate: float, ratio: float, low: float, high: float) -> Throughput:
    return Throughput(name, name, rate, ratio, (low, high), "compiled")


def _render(view: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(view)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _words(comparison: Comparison) -> str:
    """All that is shown, without its lines."""
    return " ".join(_render(comparison_view(comparison)).split())


SCRATCH = _arm(
    "scratch", _trial(0, 0.264, 0.725, 0.861), _trial(1, 0.269, 0.805, 0.839),
    _trial(2, 0.265, 0.868, 0.894),
)  # fmt: skip
BUILTIN = _arm(
    "builtin", _trial(0, 0.263, 0.725, 0.860), _trial(1, 0.267, 0.808, 0.840),
    _trial(2, 0.264, 0.868, 0.894), overrides=("model.norm=builtin",),
)  # fmt: skip
NONE = _arm(
    "none", *(_trial(s, 0.4 + 0.01 * s, 0.70 + 0.01 * s * s) for s in range(3)),
    overrides=("model.norm=none",),
)  # fmt: skip
WILD = _arm(
    "wild",
    *NONE.trials[:2],
    replace(
        _trial(2, 9.0, 0.1), status="diverged", reason="the loss became nan at step 3", epochs=()
    ),
    overrides=("model.norm=none", "optimizer.lr=50"),
)


@pytest.fixture
def whole() -> Comparison:
    return Comparison(
        (SCRATCH, BUILTIN),
        (0, 1, 2),
        engine="compiled",
        parity=(PARITY,),
        speeds=Speeds(
            10,
            10,
            "Some CPU, 2 threads",
            (_speed("scratch", 25_341, 1, 1, 1), _speed("builtin", 26_180, 1.038, 1.017, 1.097)),
            _speed("scratch", 25_048, 1.02, 0.944, 1.071),
        ),
        status="completed",
        run="runs/x",
    )


def test_two_arms(whole: Comparison) -> None:
    assert _render(comparison_view(whole)) == (
        "LeNet, scratch, builtin, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "                              scratch          builtin\n"
        "mean ± 95 % interval            n = 3            n = 3\n"
        "──────────────────────────────────────────────────────\n"
        "loss                  0.2660 ± 0.0066  0.2647 ± 0.0052\n"
        "train acc             0.9010 ± 0.0025  0.9010 ± 0.0025\n"
        "test acc, moving      0.7993 ± 0.1780  0.8003 ± 0.1784\n"
        "test acc, population  0.8647 ± 0.0688  0.8647 ± 0.0678\n"
        "\n"
        "throughput  examples/s  ratio to scratch   middle half\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "scratch         25,341                 1\n"
        "builtin         26,180              1.04  1.02 to 1.10  within the noise\n"
        "Noise: scratch against itself 1.02 (0.94 to 1.07). Medians and middle half of 10\n"
        "rounds, in each of which every arm trains 10 steps, end to end, engine compiled,\n"
        "on Some CPU, 2 threads.\n"
        "\n"
        "trained on cpu, Some CPU, 2 threads, engine compiled\n"
        "Intervals cover the choice of seeds, not the choice of test images. The primary\n"
        "metric, test acc, population, is judged at 95 % by itself. The 3 other verdicts\n"
        "are at 95 % together: their p is adjusted (Holm), their intervals are not.\n"
        "'no difference detected' does not mean that there is none. In brackets: a true\n"
        "difference of this size would show in 4 of 5 comparisons of this n, with this\n"
        "spread over seeds.\n"
        "Parity: scratch and builtin are the same function, to rounding: they agree to\n"
        "5e-12 over 30 steps, eager, float64; to 1e-06 a step, compiled, float32.\n"
        "With population in place of moving statistics, the test accuracy of the same\n"
        "weights changes by (points, over the trials): scratch +2.6 to +13.6, builtin\n"
        "+2.6 to +13.5. That much depends on the moving average, which still holds\n"
        "statistics of earlier weights.\n"
        "\n"
        "differences, paired by seed, primary metric last:\n"
        "\n"
        "scratch - builtin, n = 3\n"
        "metric                   mean       95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "loss                  +0.0013  -0.0001 to +0.0028  .172  no difference detected\n"
        "                                                         (0.0033 would show)\n"
        "train acc                   0              0 to 0  1.00  no difference detected\n"
        "test acc, moving      -0.0010  -0.0053 to +0.0033  .845  no difference detected\n"
        "                                                         (0.0098 would show)\n"
        "test acc, population        0  -0.0025 to +0.0025  1.00  no difference detected\n"
        "                                                         (0.0033 would show)\n"
    )


def test_three_arms() -> None:
    comparison = Comparison((SCRATCH, BUILTIN, NONE), (0, 1, 2), status="completed")
    assert _render(comparison_view(comparison)) == (
        "LeNet, scratch, builtin, none, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "                              scratch          builtin             none\n"
        "mean ± 95 % interval            n = 3            n = 3            n = 3\n"
        "───────────────────────────────────────────────────────────────────────\n"
        "loss                  0.2660 ± 0.0066  0.2647 ± 0.0052  0.4100 ± 0.0248\n"
        "train acc             0.9010 ± 0.0025  0.9010 ± 0.0025  0.9010 ± 0.0025\n"
        "test acc, moving      0.7993 ± 0.1780  0.8003 ± 0.1784  0.7167 ± 0.0517\n"
        "test acc, population  0.8647 ± 0.0688  0.8647 ± 0.0678                -\n"
        "\n"
        "trained on cpu, Some CPU, 2 threads, engine compiled\n"
        "Intervals cover the choice of seeds, not the choice of test images. The 3\n"
        "verdicts on the primary metric, test acc, population, are at 95 % together, and\n"
        "so are the 9 on the other metrics: their p is adjusted (Holm), their intervals\n"
        "are not.\n"
        "'no difference detected' does not mean that there is none. In brackets: a true\n"
        "difference of this size would show in 4 of 5 comparisons of this n, with this\n"
        "spread over seeds.\n"
        "With population in place of moving statistics, the test accuracy of the same\n"
        "weights changes by (points, over the trials): scratch +2.6 to +13.6, builtin\n"
        "+2.6 to +13.5. That much depends on the moving average, which still holds\n"
        "statistics of earlier weights.\n"
        "Arm none keeps no moving statistics: it predicts in one way only, and that\n"
        "accuracy stands for both kinds in differences.\n"
        "\n"
        "differences, paired by seed, primary metric last:\n"
        "\n"
        "loss:\n"
        "pair               n     mean       95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "scratch - builtin  3  +0.0013  -0.0001 to +0.0028  .400  no difference detected\n"
        "                                                         (0.0057 would show)\n"
        "scratch - none     3  -0.1440  -0.1685 to -0.1195  .013  arm none higher\n"
        "builtin - none     3  -0.1453  -0.1695 to -0.1212  .013  arm none higher\n"
        "\n"
        "train acc:\n"
        "pair               n  mean  95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────\n"
        "scratch - builtin  3     0         0 to 0  1.00  no difference detected\n"
        "scratch - none     3     0         0 to 0  1.00  no difference detected\n"
        "builtin - none     3     0         0 to 0  1.00  no difference detected\n"
        "\n"
        "test acc, moving:\n"
        "pair               n     mean       95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "scratch - builtin  3  -0.0010  -0.0053 to +0.0033  1.00  no difference detected\n"
        "                                                         (0.0170 would show)\n"
        "scratch - none     3  +0.0827  -0.0480 to +0.2133  .670  no difference detected\n"
        "                                                         (0.5167 would show)\n"
        "builtin - none     3  +0.0837  -0.0479 to +0.2153  .670  no difference detected\n"
        "                                                         (0.5204 would show)\n"
        "\n"
        "primary metric, test acc, population:\n"
        "pair               n     mean       95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "scratch - builtin  3        0  -0.0025 to +0.0025  1.00  no difference detected\n"
        "                                                         (0.0057 would show)\n"
        "scratch - none     3  +0.1480  +0.1062 to +0.1898  .011  scratch higher\n"
        "builtin - none     3  +0.1480  +0.1086 to +0.1874  .011  builtin higher\n"
    )


def test_a_pair_that_lost_a_trial() -> None:
    comparison = Comparison((SCRATCH, WILD), (0, 1, 2), status="failed")
    assert _render(comparison_view(comparison)) == (
        "LeNet, scratch, wild, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "                              scratch             wild\n"
        "mean ± 95 % interval            n = 3            n = 2\n"
        "──────────────────────────────────────────────────────\n"
        "loss                  0.2660 ± 0.0066  0.4050 ± 0.0635\n"
        "train acc             0.9010 ± 0.0025  0.9005 ± 0.0064\n"
        "test acc, moving      0.7993 ± 0.1780  0.7050 ± 0.0635\n"
        "test acc, population  0.8647 ± 0.0688                -\n"
        "\n"
        "trained on cpu, Some CPU, 2 threads, engine compiled\n"
        "A pair that lost trials is not judged, since which are lost may depend on the\n"
        "arm. `bnrun compare --resume DIR --survivors` judges those that are left.\n"
        "scratch and wild differ in optimizer.lr: 1.0 in scratch, 50.0 in wild.\n"
        "Where arms differ in more than the norm, no difference can be put down to the\n"
        "norm alone.\n"
        "With population in place of moving statistics, the test accuracy of the same\n"
        "weights changes by (points, over the trials): scratch +2.6 to +13.6. That much\n"
        "depends on the moving average, which still holds statistics of earlier weights.\n"
        "wild keeps no moving statistics: it predicts in one way only, and that accuracy\n"
        "stands for both kinds in differences.\n"
        "wild, seed 2: diverged: the loss became nan at step 3\n"
        "\n"
        "differences, paired by seed, primary metric last:\n"
        "\n"
        "scratch - wild, n = 2 of 3\n"
        "metric                   mean       95 % interval  p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "loss                  -0.1385  -0.1703 to -0.1067  -  not judged: 1 of 3 trials\n"
        "                                                      lost\n"
        "train acc                   0              0 to 0  -  not judged: 1 of 3 trials\n"
        "                                                      lost\n"
        "test acc, moving      +0.0600  -0.3847 to +0.5047  -  not judged: 1 of 3 trials\n"
        "                                                      lost\n"
        "test acc, population  +0.1450  -0.0583 to +0.3483  -  not judged: 1 of 3 trials\n"
        "                                                      lost\n"
    )


def test_an_arm_that_did_not_learn_is_marked_everywhere() -> None:
    """`bad=scratch,optimizer.lr=1e30`: status completed, and a loss of 31 digits."""
    config = {"optimizer": {"lr": 1e30}}
    blown = [replace(_trial(s, 9.18e30, 0.1), config=config) for s in range(3)]
    guesses = (replace(trial.epochs[0], train_acc=0.1) for trial in blown)
    trials = (replace(trial, epochs=(one,)) for trial, one in zip(blown, guesses, strict=True))
    bad = _arm("bad", *trials, overrides=("optimizer.lr=1e30",))
    comparison = Comparison((SCRATCH, bad), (0, 1, 2), status="completed")
    words = _words(comparison)
    assert "did not learn 0 of 3 3 of 3" in words
    assert "scratch - bad, n = 3 (bad did not learn)" in words
    assert (
        "bad did not learn in any trial. Seed 0: its loss ended at 9.18e+30, where guessing has "
        "2.303, and its train accuracy, 0.100, is that of guessing (0.100). Its weights have blown "
        "up without becoming infinite. Try a smaller optimizer.lr than 1e+30. A difference to an "
        "arm that did not learn shows just that, under these "
        "settings. It does not tell how good the arm's norm is."
    ) in words
    three = _render(comparison_view(Comparison((SCRATCH, BUILTIN, bad), (0, 1, 2))))
    assert "differences, paired by seed, primary metric last (* did not learn):\n" in three
    assert three.count("scratch - bad* ") == three.count("builtin - bad* ") == 4
    document = comparison.to_dict()
    assert [arm["not_learned"] for arm in document["arms"]] == [0, 3]
    assert {tuple(pair["not_learned"]) for pair in document["pairs"]} == {("bad",)}
    assert document["arms"][1]["trials"][0]["learned"] is False


def test_an_arm_whose_loss_blew_up_is_not_said_not_to_have_learned() -> None:
    bad = _arm("bad", _trial(0, 0.3, 0.7), _trial(1, 3.8e4, 0.7), _trial(2, 0.3, 0.7))
    words = _words(Comparison((SCRATCH, bad), (0, 1, 2), status="completed"))
    assert "loss above guessing 0 of 3 1 of 3" in words
    assert (
        "bad ended with a loss above that of guessing in 1 of 3 trials. Seed 1: it is 3.80e+04 "
        "(guessing: 2.303), though the train accuracy, 0.901, is above that of guessing (0.100). "
    ) in words
    assert "did not learn" not in words


def test_survivors_are_marked() -> None:
    criteria = Criteria(survivors=True)
    comparison = Comparison((SCRATCH, WILD), (0, 1, 2), criteria, status="failed")
    shown = _render(comparison_view(comparison))
    assert (
        "scratch - wild, n = 2 of 3\n"
        "metric                   mean       95 % interval     p  verdict\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "loss                  -0.1385  -0.1703 to -0.1067  .034  wild higher (survivors:\n"
        "                                                         2 of 3)\n"
        "train acc                   0              0 to 0  1.00  no difference detected\n"
        "                                                         (survivors: 2 of 3)\n"
        "test acc, moving      +0.0600  -0.3847 to +0.5047  .672  no difference detected\n"
        "                                                         (survivors: 2 of 3)\n"
        "                                                         (nothing would show)\n"
        "test acc, population  +0.1450  -0.0583 to +0.3483  .070  no difference detected\n"
        "                                                         (survivors: 2 of 3)\n"
        "                                                         (0.2613 would show)\n"
    ) in shown
    assert (
        "Survivors: as asked, pairs are judged although trials were lost. Which trials\n"
        "are lost may depend on the arm, and then these verdicts are biased.\n"
    ) in shown


def test_equivalence(whole: Comparison) -> None:
    shown = _render(comparison_view(replace(whole, criteria=Criteria(equivalence=0.005))))
    assert (
        "scratch - builtin, n = 3\n"
        "metric                   mean       95 % interval     p  verdict\n"
        "───────────────────────────────────────────────────────────────────────────────\n"
        "loss                  +0.0013  -0.0001 to +0.0028  .172  no difference detected\n"
        "                                                         (0.0033 would show)\n"
        "train acc                   0              0 to 0  1.00  no difference detected\n"
        "                                                         equivalent within\n"
        "                                                         ±0.005\n"
        "test acc, moving      -0.0010  -0.0053 to +0.0033  .845  no difference detected\n"
        "                                                         (0.0098 would show)\n"
        "                                                         equivalent within\n"
        "                                                         ±0.005\n"
        "test acc, population        0  -0.0025 to +0.0025  1.00  no difference detected\n"
        "                                                         (0.0033 would show)\n"
        "                                                         equivalent within\n"
        "                                                         ±0.005\n"
    ) in shown
    assert (
        "Equivalence: by two one-sided tests at 5 %, the 90 % interval must lie within\n"
        "±0.005. The p of several such tests are adjusted (Holm), too, which asks for\nmore.\n"
    ) in shown
    narrow = replace(whole, criteria=Criteria(equivalence=0.001))
    assert "not shown to be equivalent" in _words(narrow)


def test_a_difference_that_is_zero_on_every_seed_has_no_size_that_would_show() -> None:
    same = tuple(_trial(seed, 0.3, 0.8) for seed in (0, 1))
    shown = _words(Comparison((_arm("a", *same), _arm("b", *same)), (0, 1)))
    assert "'no difference detected' does not mean that there is none." in shown
    assert "In brackets" not in shown


def test_a_verdict_that_is_alone_in_its_family_is_at_95_percent_by_itself() -> None:
    """An accuracy that differs by the same on every seed is not judged, which leaves the loss."""
    arms = (
        _arm("a", _trial(0, 0.3, 0.8), _trial(1, 0.4, 0.8)),
        _arm("b", _trial(0, 0.2, 0.7), _trial(1, 0.1, 0.7)),
    )
    shown = _words(Comparison(arms, (0, 1)))
    assert "not the choice of test images. The 2 other verdicts are at 95 % together:" in shown
    primary = _words(Comparison(arms, (0, 1), Criteria("train_acc")))
    assert "metric, train acc, is judged at 95 % by itself. The other verdict is at 95" in primary


def test_one_seed_is_shown_as_one_seed_without_an_interval() -> None:
    arms = (_arm("a", _trial(7, 0.3, 0.8)), _arm("b", _trial(7, 0.2, 0.8)))
    shown = _render(comparison_view(Comparison(arms, (7,), status="completed")))
    assert shown == (
        "LeNet, a, b, Fashion-MNIST, 10 epochs, one seed (7)\n"
        "\n"
        "                           a       b\n"
        "value                  n = 1   n = 1\n"
        "────────────────────────────────────\n"
        "loss                  0.3000  0.2000\n"
        "train acc             0.9070  0.9070\n"
        "test acc, moving      0.8000  0.8000\n"
        "test acc, population       -       -\n"
        "\n"
        "trained on cpu, Some CPU, 2 threads, engine compiled\n"
        "One seed shows no spread, so no difference is judged. Three or more seeds show\n"
        "it.\n"
        "Parity: a and b are the same network with the same norm, scratch; there is\n"
        "nothing to measure.\n"
        "a and b keep no moving statistics: they predict in one way only, and that\n"
        "accuracy stands for both kinds in differences.\n"
        "\n"
        "differences, paired by seed, primary metric last:\n"
        "\n"
        "a - b, n = 1\n"
        "metric               mean  95 % interval  p  verdict\n"
        "─────────────────────────────────────────────────────────────────\n"
        "loss              +0.1000              -  -  one seed: not judged\n"
        "train acc               0              -  -  one seed: not judged\n"
        "test acc, moving        0              -  -  one seed: not judged\n"
    )


def test_an_interval_that_tells_nothing_is_not_shown() -> None:
    """`test acc 0.7225 ± 1.3405`, from two seeds."""
    arms = (
        _arm("a", _trial(0, 0.3, 0.617), _trial(1, 2.1, 0.828)),
        _arm("b", _trial(0, 0.30, 0.70), _trial(1, 0.31, 0.71), overrides=("model.pool=max",)),
    )
    comparison = Comparison(arms, (0, 1), status="completed")
    shown = _render(comparison_view(comparison))
    assert (
        "loss                       1.2000 ± ?  0.3050 ± 0.0635\n"
        "train acc             0.9005 ± 0.0064  0.9005 ± 0.0064\n"
        "test acc, moving           0.7225 ± ?  0.7050 ± 0.0635\n"
    ) in shown
    assert "loss              +0.8950  -10.4771 to +12.2671  1.00  no diff" in shown
    assert (
        "test acc, moving  +0.0175                     ?  .890  no difference detected\n"
        "                                                       (nothing would show)\n"
    ) in shown
    words = " ".join(shown.split())
    assert (
        "?: from so few seeds, the 95 % interval would reach beyond what is possible (accuracies "
        "lie between 0 and 1, so they differ by at most 1; losses lie above 0)."
    ) in words
    assert (
        "From two seeds, a 95 % interval is 13 times as wide as the two values are apart." in words
    )
    low, high = comparison.to_dict()["arms"][0]["ci95"]["test_acc"]
    assert high - low == pytest.approx(2 * 1.3405, abs=1e-4)  # scripts get it as it is


def test_many_arms_are_judged_against_the_first_unless_all_pairs_are_asked_for() -> None:
    rates = ("0.01", "0.1", "0.3", "1", "3")
    arms = tuple(
        _arm(f"lr={r}", *(_trial(s, 0.3 + s, 0.8) for s in (0, 1, 2)),
             overrides=(f"optimizer.lr={r}",))
        for r in rates
    )  # fmt: skip
    first = Comparison(arms, (0, 1, 2), Criteria(pairs="first"), status="completed")
    shown = _render(comparison_view(first))
    assert shown.startswith("LeNet, 5 arms, Fashion-MNIST, 10 epochs, 3 seeds (0 to 2)\n")
    last_screen = shown.splitlines()[-22:]  # of 24 lines: where it is kept, and the prompt
    primary = last_screen[last_screen.index("primary metric, test acc, moving:") :]
    assert len([line for line in primary if line.startswith("lr=0.01 - lr=")]) == 4
    assert {(pair.a, pair.tests) for pair in first.pairs} == {("lr=0.01", 4), ("lr=0.01", 8)}
    words = " ".join(shown.split())
    assert (
        "Of all pairs, the 4 with lr=0.01 are judged, and 6 are left out: `bnrun compare --resume "
        "DIR --pairs all` adds them and trains nothing again, but adjusts more verdicts together."
    ) in words
    assert "The arms differ in optimizer.lr: 0.01 in lr=0.01, 0.1 in lr=0.1, 0.3 in lr" in words
    assert "lr=0.1, lr=0.3, lr=1 and lr=3 are the same network with the same norm, scr" in words
    every = replace(first, criteria=Criteria(pairs="all"))
    assert len({(pair.a, pair.b) for pair in every.pairs}) == 10
    assert "left out" not in _words(every)


def test_a_difference_too_small_for_four_digits_is_shown_by_its_size() -> None:
    arms = (
        _arm("a", *(_trial(s, 0.3, 0.8) for s in (0, 1, 2))),
        _arm("b", *(_trial(s, 0.3 - 1e-5 * (s + 1), 0.8) for s in (0, 1, 2))),
    )
    assert "loss +2e-05 -5e-06 to +4e-05 .148 no difference" in _words(Comparison(arms, (0, 1, 2)))


def test_long_names_and_many_arms_lose_no_figure() -> None:
    names = [f"MyBatchNormWithALongName{i}" for i in range(5)]
    arms = tuple(_arm(n, *(_trial(s, 0.3 + s, 0.8, 0.81) for s in (0, 1))) for n in names)
    shown = _render(comparison_view(Comparison(arms, (0, 1))))
    assert shown.count("0.8000 ± 0.0000") == 5
    assert " ".join(shown.split()).count("no difference") == 4 * 10 + 1
    assert "…" not in shown.replace("KEY=VALUE,…", "")
    assert max(map(len, shown.splitlines())) <= 80


def test_what_else_differs_is_said_and_that_it_is_not_the_norms_doing() -> None:
    pools = (_arm("max", overrides=("model.pool=max",)), _arm("avg"))
    shown = _render(comparison_view(Comparison(pools, (0,))))
    assert "max and avg differ in model.pool: max in max, avg in avg.\n" in shown
    assert "more than the norm" not in shown

    both = (_arm("max", overrides=("model.pool=max", "model.norm=builtin")), _arm("avg"))
    assert "Where arms differ in more than the norm, no diff" in _words(Comparison(both, (0,)))


def test_trials_that_did_not_complete_are_reported_and_lower_n() -> None:
    lost = replace(_trial(1, 9.0, 0.1), status="diverged", reason="the loss became nan at step 3")
    broken = replace(_trial(0, 9.0, 0.1), status="failed", reason="step 2: ValueError: no [more]")
    arms = (_arm("a", _trial(0, 0.3, 0.8), lost), _arm("b", broken))
    shown = _render(comparison_view(Comparison(arms, (0, 1), status="failed")))
    assert "value                  n = 1  n = 0\n" in shown
    assert "paired by seed" not in shown
    assert "a, seed 1: diverged: the loss became nan at step 3\n" in shown
    assert "b, seed 0: failed: step 2: ValueError: no [more]\n" in shown


def test_an_interrupted_comparison_says_how_far_it_came() -> None:
    arms = (_arm("a", _trial(0, 0.3, 0.8)), _arm("b"))
    shown = _render(comparison_view(Comparison(arms, (0, 1))))
    assert shown.endswith("interrupted with 1 of 4 trials complete\n")


def test_nothing_yet_is_a_title() -> None:
    shown = _render(
        comparison_view(
            Comparison((_arm("a"), _arm("none", overrides=("model.norm=none",))), (0, 1))
        )
    )
    assert shown == (
        "LeNet, a, none, 10 epochs, 2 seeds (0, 1)\n\ninterrupted with 0 of 4 trials complete\n"
    )


def test_arms_on_several_engines_have_each_in_the_table(whole: Comparison) -> None:
    assert whole.speeds is not None
    first, other = whole.speeds.arms
    speeds = replace(whole.speeds, arms=(first, replace(other, engine="eager")))
    shown = _render(comparison_view(replace(whole, speeds=speeds)))
    assert (
        "                                  ratio to\n"
        "throughput  engine    examples/s   scratch   middle half\n"
        "──────────────────────────────────────────────────────────────────────────\n"
        "scratch     compiled      25,341         1\n"
        "builtin     eager         26,180      1.04  1.02 to 1.10  within the noise\n"
    ) in shown
    assert "engine compiled, on Some CPU" not in _words(replace(whole, speeds=speeds))


def test_an_arm_that_is_one_call_of_a_kernel_is_told_from_one_that_is_layers(
    whole: Comparison,
) -> None:
    assert whole.speeds is not None
    first, other = whole.speeds.arms
    assert whole.speeds.remark is None
    speeds = replace(whole.speeds, arms=(replace(first, in_one_call=True), other))
    assert (
        "In scratch, a training step is one call of a kernel, from the batch to SGD. In builtin, "
        "it calls layer by layer: kernels for the layers and norms that have one, and the others "
        "as their authors wrote them. So part of the difference is not the norms' own; --set "
        "training.engine=eager compares the layers alone."
    ) in _words(replace(whole, speeds=speeds))
    eager = replace(speeds, arms=(speeds.arms[0], replace(other, engine="eager")))
    assert eager.remark is None  # the table then has the engines


def test_throughput_that_was_not_measured_is_reported(whole: Comparison) -> None:
    shown = _render(comparison_view(replace(whole, speeds=None, speeds_error="b raised")))
    assert "throughput was not measured: b raised\n" in shown


def test_trials_of_several_machines_name_each(whole: Comparison) -> None:
    other = replace(whole.arms[0].trials[0], machine="Another CPU, 8 threads")
    arms = (ArmResult(whole.arms[0].arm, (other,)), whole.arms[1])
    shown = _words(replace(whole, arms=arms))
    assert "trained on cpu, Another CPU, 8 threads, engine compiled; cpu, Some CPU, 2 thr" in shown


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (None, "-"),
        (0.0004, "<.001"),
        (0.0312, ".031"),
        (0.0499, ".0499"),
        (0.05, ".050"),
        (0.0501, ".0501"),
        (0.416, ".416"),
        (0.0996, ".100"),
        (0.9996, "1.00"),
        (1.0, "1.00"),
    ],
)
def test_a_p_value_shows_on_which_side_of_05_it_is(p: float | None, shown: str) -> None:
    assert compare_tables._p(p) == shown
