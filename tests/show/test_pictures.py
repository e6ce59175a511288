"""Pictures, from hand-made records: what is drawn is what the record holds."""

import dataclasses
import itertools
import struct
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.result import Comparison
from bnrun.config import resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.show.pictures import compare, curves, gamma, render, run_footer
from bnrun.show.plot_style import stroke
from bnrun.training.gamma_inspection import NormLayer
from bnrun.training_summary import Summary

FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 60_000, 0, 10_000)
SYNTHETIC = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
CONFIG = resolve(None).config
SEEDS = (0, 1, 2)


def _trial(seed: int = 3, epochs: int = 4, **changes: object) -> Summary:
    """A training whose every value depends on its seed and epoch."""
    ended = tuple(
        EpochEnded(
            epoch,
            loss=2 / (epoch + 0.1 * seed),
            train_acc=0.9 - 0.3 / (epoch + 0.1 * seed),
            test_acc=0.85 - 0.3 / (epoch + 0.4 * seed),
            validation_acc=None,
            examples_per_second=None,
            compute_examples_per_second=None,
            seconds=5.0,
            test_acc_population=0.87 - 0.3 / (epoch + 0.1 * seed),
        )
        for epoch in range(1, epochs + 1)
    )
    fields: dict[str, object] = {
        "config": {"optimizer": {"lr": 1.0}},
        "norm": "scratch",
        "device": "cpu",
        "machine": "Some CPU, 2 threads",
        "seed": seed,
        "data": FASHION,
        "epochs": ended,
        "status": "completed",
    }
    return Summary(**(fields | changes))  # type: ignore[arg-type]


def _without_population(trial: Summary) -> Summary:
    epochs = tuple(dataclasses.replace(e, test_acc_population=None) for e in trial.epochs)
    return dataclasses.replace(trial, epochs=epochs)


def _arm(name: str, *trials: Summary) -> ArmResult:
    return ArmResult(Arm(name, CONFIG), trials)


def _comparison(*arms: ArmResult, seeds: tuple[int, ...] = SEEDS) -> Comparison:
    return Comparison(arms, seeds)


def _two_arms(epochs: int = 4) -> Comparison:
    """Arms that coincide, as two implementations of one function do."""
    trials = [_trial(seed, epochs) for seed in SEEDS]
    return _comparison(_arm("scratch", *trials), _arm("builtin", *trials))


def _title(figure: Figure) -> str:
    return figure.legends[0].get_title().get_text()


def _key(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _footer(figure: Figure) -> str:
    text = figure.get_supxlabel()
    return " ".join(text.split())


def _panel(figure: Figure, title: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return axes


def _heights(axes: Axes) -> list[list[float]]:
    return [np.asarray(line.get_ydata()).tolist() for line in axes.lines]


def test_curves_name_the_run_and_where_it_comes_from() -> None:
    figure = curves(_trial())
    assert _title(figure) == "LeNet, norm scratch, Fashion-MNIST, one seed (3)"
    assert _footer(figure) == "n = 1 seed (3) · Some CPU, 2 threads · Fashion-MNIST"
    assert _footer(curves(_trial(data=SYNTHETIC))).endswith("· synthetic data")


def test_curves_are_the_loss_and_every_accuracy_that_was_taken() -> None:
    trial = _trial()
    figure = curves(trial)
    assert _heights(_panel(figure, "training loss")) == [[e.loss for e in trial.epochs]]
    assert dict(zip(_key(figure), _heights(_panel(figure, "accuracy")), strict=True)) == {
        "train, while learning": [e.train_acc for e in trial.epochs],
        "test, moving statistics": [e.test_acc for e in trial.epochs],
        "test, population statistics": [e.test_acc_population for e in trial.epochs],
    }
    assert _key(curves(_without_population(trial))) == ["train, while learning", "test"]


def test_curves_of_one_epoch_are_markers_above_epoch_1() -> None:
    axes = _panel(curves(_trial(epochs=1)), "accuracy")
    assert {line.get_marker() for line in axes.lines} == {"o", "s", "D"}
    assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_curves_say_how_a_run_ended_that_did_not_complete() -> None:
    diverged = _trial(status="diverged", reason="the loss became nan at epoch 5, step 2")
    assert _footer(curves(diverged)).endswith("diverged: the loss became nan at epoch 5, step 2")
    nothing = curves(_trial(epochs=0, status="interrupted"))
    assert nothing.axes[0].texts[0].get_text() == "No epoch has ended."


def test_a_comparison_says_n_machine_and_data() -> None:
    figure = compare(_two_arms())
    assert _key(figure) == ["scratch, n = 3", "builtin, n = 3"]
    assert _footer(figure) == (
        "n = 3 seeds per arm (0, 1, 2) · Some CPU, 2 threads · Fashion-MNIST "
        "Bands: 95 % interval of the mean; the axes are fitted to the means."
    )


def test_an_arms_curve_is_its_mean_and_its_band_the_interval() -> None:
    comparison = _two_arms()
    figure = compare(comparison)
    for title, metric in {
        "training loss": "loss",
        "train accuracy": "train_acc",
        "test accuracy, moving statistics": "test_acc",
        "test accuracy, population statistics": "test_acc_population",
    }.items():
        axes = _panel(figure, title)
        for number, result in enumerate(comparison.arms):
            last = result.estimate(metric)
            assert last is not None
            assert last.ci95 is not None
            means = _heights(axes)[number]
            assert len(means) == 4
            assert means[-1] == last.mean
            band = axes.collections[number]
            assert isinstance(band, PolyCollection)
            corners = np.asarray(band.get_paths()[0].vertices)
            ends = sorted(set(corners[corners[:, 0] == 4, 1]))
            assert ends == pytest.approx(list(last.ci95))


def test_arms_that_coincide_are_drawn_one_inside_the_other() -> None:
    axes = compare(_two_arms()).axes[0]
    assert _heights(axes)[0] == _heights(axes)[1]
    below, above = axes.lines
    assert below.get_linewidth() > above.get_linewidth() + 1.5
    assert below.get_markersize() > above.get_markersize() + 1.5
    assert below.get_zorder() < above.get_zorder()
    assert (below.get_linestyle(), above.get_linestyle()) == ("-", "--")


def test_strokes_stay_apart_in_grey_and_by_their_dashes() -> None:
    greys = sorted(_lightness(stroke(number).colour) for number in range(4))
    assert all(lighter - darker > 15 for darker, lighter in itertools.pairwise(greys))
    assert greys[-1] < 80  # of 100: white paper
    assert len({(stroke(n).colour, stroke(n).dashes) for n in range(30)}) == 30


def _lightness(colour: str) -> float:
    """CIE L*, from 0 (black) to 100 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_arms_of_a_single_epoch_stand_side_by_side_with_bars() -> None:
    axes = _panel(compare(_two_arms(epochs=1)), "training loss")
    left, right = (np.asarray(line.get_xdata())[0] for line in axes.lines)
    assert 0.5 < left < 1 < right < 1.5
    assert len(axes.collections) == 2


def test_one_seed_has_no_band_and_says_so() -> None:
    comparison = _comparison(_arm("scratch", _trial(0)), _arm("none", _trial(0)), seeds=(0,))
    figure = compare(comparison)
    assert all(not axes.collections for axes in figure.axes)
    assert _footer(figure).startswith("n = 1 seed per arm (0) ·")
    assert _footer(figure).endswith("One seed shows no spread: there are no bands.")


def test_trials_that_did_not_complete_are_in_no_curve_and_are_counted() -> None:
    trials = [_trial(seed) for seed in SEEDS]
    dead = [dataclasses.replace(trial, status="diverged") for trial in trials]
    figure = compare(_comparison(_arm("a", *trials[:2], dead[2]), _arm("_b", *dead)))
    assert _key(figure) == ["a, n = 2 of 3 (1 diverged)", "_b, n = 0 of 3 (3 diverged): no curve"]
    assert _footer(figure).startswith("n = 0 to 2 of 3 seeds per arm (0, 1, 2) ·")
    curve, gone = _heights(_panel(figure, "training loss"))
    assert curve[0] == pytest.approx((trials[0].epochs[0].loss + trials[1].epochs[0].loss) / 2)
    assert gone == []


def test_an_arm_without_population_statistics_is_named() -> None:
    trials = [_trial(seed) for seed in SEEDS]
    plain = [_without_population(trial) for trial in trials]
    footer = _footer(compare(_comparison(_arm("scratch", *trials), _arm("none", *plain))))
    assert footer.endswith("No population accuracy: 'none'.")
    figure = compare(_comparison(_arm("a", *plain), _arm("b", *plain)))
    axes = _panel(figure, "test accuracy, population statistics")
    assert [text.get_text() for text in axes.texts] == ["No completed trial has it."]


def test_the_frame_holds_the_means_whatever_the_intervals() -> None:
    far = [_trial(seed) for seed in (0, 40)]  # two seeds, far apart: an interval from below 0
    axes = _panel(compare(_comparison(_arm("a", *far), _arm("b", *far))), "train accuracy")
    low, high = axes.get_ylim()
    means, _ = _heights(axes)
    assert low < min(means) < max(means) < high
    assert high - low < 3 * (max(means) - min(means))
    assert -0.1 < low < high < 1.1


def _layer(name: str, gammas: tuple[float, ...] | None, betas: bool = True) -> NormLayer:
    channels = len(gammas or (0,) * 6)
    beta = tuple(0.1 * channel for channel in range(channels)) if betas else None
    return NormLayer(name, channels, gammas, beta, None, None)


def test_gamma_and_beta_stand_by_layer_and_channel() -> None:
    layers = [_layer("norm1", (1.0, 1.5, -0.5)), _layer("norm2", (0.5,) * 120)]
    figure = gamma(layers, "γ and β of a run", run_footer(_trial()))
    assert figure is not None
    assert _title(figure) == "γ and β of a run"
    assert _footer(figure) == (
        "n = 1 seed (3) · Some CPU, 2 threads · Fashion-MNIST "
        "Stems start at γ = 1 and β = 0. Each layer has its own scale."
    )
    dots = [_heights(axes)[1] for axes in figure.axes]
    assert dots[0] == [1.0, 1.5, -0.5]
    assert dots[1] == pytest.approx([0.0, 0.1, 0.2])
    assert [len(found) for found in dots] == [3, 3, 120, 120]
    assert _key(figure) == []


def test_channels_that_are_nearly_off_are_crossed_in_both() -> None:
    figure = gamma([_layer("norm1", (1.0, 0.01, -1.2, 0.9))], "a title", "a footer")
    assert figure is not None
    assert _key(figure) == ["nearly off: |γ| at most a tenth of the layer's median"]
    assert [_heights(axes)[2] for axes in figure.axes] == [[0.01], [0.1]]


def test_layers_without_gamma_and_beta_are_left_out() -> None:
    bare = _layer("bare", None, betas=False)
    assert gamma([bare], "a title", "a footer") is None
    figure = gamma([bare, _layer("half", (1.0, 2.0), betas=False)], "a title", "a footer")
    assert figure is not None
    assert [axes.get_ylabel() for axes in figure.axes] == ["half", ""]
    assert figure.axes[1].texts[0].get_text() == "none"


def test_a_picture_has_the_same_bytes_every_time_and_under_any_matplotlibrc() -> None:
    figure = curves(_trial())
    files = render(figure)
    assert render(figure) == files
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 10}):
        assert render(curves(_trial())) == files
    assert dict(matplotlib.rcParams) == before


def test_a_picture_is_an_svg_and_a_png_of_1350_pixels() -> None:
    # A name of the user's: no formula, no hidden label, and in a script that the font lacks.
    name = "_my_$x_规.py"
    files = render(compare(_comparison(_arm(name, _trial(0)), _arm("b", _trial(0)), seeds=(0,))))
    assert files["svg"].startswith(b"<?xml")
    assert name.encode() in files["svg"]
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", files["png"][16:24])
    assert width == 1350
    assert height > 1000


@pytest.mark.process
def test_pictures_of_records_load_neither_torch_nor_a_screen() -> None:
    code = (
        "import sys, bnrun.show.pictures; "
        "print({'torch', 'matplotlib.pyplot', 'tkinter'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
