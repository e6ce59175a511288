"""Pictures, from hand-made records: what is drawn is what the record holds."""

import dataclasses
import itertools
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.result import Comparison
from bnrun.config import resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.show import plot_layout
from bnrun.show.pictures import compare, curves, gamma, render, run_footer
from bnrun.show.plot_style import PNG_DPI, stroke
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


def _arms(name: str, n: int = 3, epochs: int = 4, **changes: object) -> ArmResult:
    return _arm(name, *(_trial(seed, epochs, **changes) for seed in range(n)))


def _guessing(trial: Summary, factor: float = 1.0) -> Summary:
    """A trial that stays at the loss and the accuracy of guessing."""
    epochs = (
        dataclasses.replace(
            e, loss=2.3026 * factor, train_acc=0.1, test_acc=0.1, test_acc_population=0.1
        )
        for e in trial.epochs
    )
    return dataclasses.replace(trial, epochs=tuple(epochs))


def _picture(arms: Sequence[ArmResult]) -> Figure:
    return compare(Comparison(tuple(arms), SEEDS))


LONG = "mine.py:VeryLongBatchNormName(eps=0.001)"


def _lost() -> list[ArmResult]:
    dead = [dataclasses.replace(_trial(seed, 2), status="diverged") for seed in SEEDS]
    return [_arm("a", _trial(0), _trial(1), dead[2]), _arm("_b", *dead)]


def _with_huge_loss() -> list[ArmResult]:
    huge = [_guessing(_trial(seed), 1e30) for seed in SEEDS]
    return [_arms("scratch"), _arms("builtin"), _arm("huge", *huge), _arms("none")]


def _gamma() -> Figure:
    layers = [_layer(f"norm{n}", (1.0, 0.01, -0.5) * (n // 3)) for n in (6, 16, 120, 84)]
    figure = gamma(layers, "γ and β of a run", run_footer(_trial()))
    assert figure is not None
    return figure


def _plain(name: str) -> ArmResult:
    return _arm(name, *(_without_population(_trial(seed)) for seed in SEEDS))


FIGURES: dict[str, Callable[[], Figure]] = {
    "arms that coincide": lambda: _picture([_arms("scratch"), _arms("builtin")]),
    "long names": lambda: _picture([_arms(f"{LONG}{number}", n=2) for number in range(9)]),
    "one epoch": lambda: _picture([_arms(LONG, 3, 1), _arms("_b", 3, 1), _arms("c", 6, 1)]),
    "a huge loss": lambda: _picture(_with_huge_loss()),
    "three panels": lambda: _picture([_plain("my_batchnorm.py:BatchNorm"), _plain("b")]),
    "a run": lambda: curves(_with_every_accuracy(_trial())),
    "gamma": _gamma,
}


@cache
def _figure(name: str) -> Figure:
    """Return a figure that several tests look at."""
    return FIGURES[name]()


def _with_every_accuracy(trial: Summary) -> Summary:
    epochs = (
        dataclasses.replace(e, validation_acc=e.test_acc, test_acc_batch=e.test_acc)
        for e in trial.epochs
    )
    return dataclasses.replace(trial, epochs=tuple(epochs))


def _title(figure: Figure) -> str:
    return figure.get_suptitle()


def _footer(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def _panel(figure: Figure, title: str) -> Axes:
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return axes


def _heights(axes: Axes) -> list[list[float]]:
    return [np.asarray(line.get_ydata()).tolist() for line in axes.lines]


def _means(axes: Axes) -> list[list[float]]:
    """The curves that are marked at their epochs."""
    return [
        np.asarray(line.get_ydata()).tolist()
        for line in axes.lines
        if line.get_marker() not in ("None", "x")
    ]


def _end_labels(axes: Axes) -> list[str]:
    """The labels at the ends of curves, from the top."""
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    labels.sort(key=lambda text: -text.get_position()[1])
    return [" ".join(text.get_text().split()) for text in labels]


def _legend(figure: Figure) -> list[str]:
    """The entries of the legend, from the top."""
    texts = figure.legends[0].get_texts()
    figure.draw_without_rendering()
    texts.sort(key=lambda text: -text.get_window_extent().y0)
    return [text.get_text() for text in texts]


def _shown_ticks(axes: Axes) -> list[float]:
    low, high = axes.get_xlim()
    ticks = np.asarray(axes.get_xticks(), dtype=float)
    return [tick for tick in ticks.tolist() if low <= tick <= high]


def _texts(figure: Figure) -> Iterator[Text]:
    """Every text that is drawn: numbers of ticks count where the axis has the tick."""
    hidden = {
        id(tick.label1)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not _holds(axis.get_view_interval(), float(tick.get_loc())) or not axes.axison
    }
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and id(text) not in hidden:
            yield text


def _holds(interval: tuple[float, float], place: float) -> bool:
    return min(interval) <= place <= max(interval)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_overlaps_another_or_leaves_the_canvas(name: str) -> None:
    figure = _figure(name)
    figure.set_dpi(PNG_DPI)
    figure.draw_without_rendering()
    texts = list(_texts(figure))
    # An annotation's own extent has its arrow, too, which comes from elsewhere.
    boxes = [Text.get_window_extent(text) for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, text
    lows, highs = np.array([box.min for box in boxes]), np.array([box.max for box in boxes])
    overlaps = np.all((lows[:, None] < highs) & (lows < highs[:, None]), axis=-1)
    assert [(texts[a], texts[b]) for a, b in np.argwhere(np.triu(overlaps, 1))] == []


@pytest.mark.parametrize("dpi", [72, PNG_DPI])
def test_a_title_is_no_wider_than_the_picture(dpi: int) -> None:
    sentence = "Data-parallel replicas with batch norm compute what one process computes on the"
    figure, _ = plot_layout.page(f"X9  {sentence} whole batch.", "", plot_layout.Grid(1, 1.0))
    figure.set_dpi(dpi)
    (title,) = (text for text in _texts(figure) if text.get_text().startswith("X9"))
    assert title.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_readable_at_half_the_size(name: str) -> None:
    assert min(float(text.get_fontsize()) for text in _texts(_figure(name))) >= 14


def test_curves_name_the_run_and_where_it_comes_from() -> None:
    figure = _figure("a run")
    assert _title(figure) == "LeNet, norm scratch, Fashion-MNIST, one seed (3)"
    assert _footer(figure) == "n = 1 seed (3) · Some CPU, 2 threads · Fashion-MNIST"
    assert run_footer(_trial(data=SYNTHETIC)).endswith("· synthetic data")


def test_curves_are_the_loss_and_every_accuracy_that_was_taken() -> None:
    trial = _with_every_accuracy(_trial())
    figure = _figure("a run")
    assert _heights(_panel(figure, "training loss")) == [[e.loss for e in trial.epochs]]
    assert _heights(_panel(figure, "accuracy")) == [
        [getattr(epoch, metric) for epoch in trial.epochs]
        for metric in (
            "train_acc",
            "validation_acc",
            "test_acc",
            "test_acc_population",
            "test_acc_batch",
        )
    ]
    assert sorted(_end_labels(figure.axes[1])) == [
        "held out",
        "test, batch statistics",
        "test, moving statistics",
        "test, population statistics",
        "train, while learning",
    ]


def test_curves_of_one_epoch_are_markers_above_epoch_1() -> None:
    figure = curves(_without_population(_trial(epochs=1)))
    axes = _panel(figure, "accuracy")
    assert {line.get_marker() for line in axes.lines} == {"o", "s"}
    assert _shown_ticks(axes) == [1]
    assert sorted(_end_labels(axes)) == ["test", "train, while learning"]


def test_curves_say_how_a_run_ended_that_did_not_complete() -> None:
    diverged = _trial(status="diverged", reason="the loss became nan at epoch 5, step 2")
    assert run_footer(diverged).endswith("\ndiverged: the loss became nan at epoch 5, step 2")
    nothing = curves(_trial(epochs=0, status="interrupted"))
    assert nothing.axes[0].texts[0].get_text() == "No epoch has ended."


def test_curves_of_a_run_that_did_not_learn_show_what_guessing_reaches() -> None:
    figure = curves(_guessing(_trial()))
    assert "The network did not learn:" in _footer(figure)
    assert _footer(figure).endswith("Dotted: guessing one of ten classes.")
    guesses = [axes.lines[-1] for axes in figure.axes]
    assert [line.get_linestyle() for line in guesses] == [":", ":"]
    assert [_heights(axes)[-1][0] for axes in figure.axes] == [pytest.approx(2.3026, 1e-4), 0.1]


def test_arms_say_n_machine_and_data() -> None:
    figure = _figure("arms that coincide")
    assert _title(figure) == "LeNet on Fashion-MNIST, 4 epochs"
    assert _footer(figure) == (
        "n = 3 seeds (0, 1, 2) per arm · Some CPU, 2 threads · Fashion-MNIST "
        "Thin: one seed each; strong: their mean."
    )


PANELS = {
    "training loss": "loss",
    "train accuracy": "train_acc",
    "test accuracy, moving statistics": "test_acc",
    "test accuracy, population statistics": "test_acc_population",
}


def test_few_seeds_are_thin_lines_around_their_mean() -> None:
    figure = _figure("arms that coincide")
    for title, metric in PANELS.items():
        axes = _panel(figure, title)
        assert not axes.collections
        taken = [[getattr(e, metric) for e in _trial(seed).epochs] for seed in SEEDS]
        mean = [pytest.approx(sum(values) / 3) for values in zip(*taken, strict=True)]
        assert _heights(axes) == 2 * [*taken, mean]
        thin, strong = axes.lines[2], axes.lines[3]
        assert thin.get_linewidth() < strong.get_linewidth() / 2


def test_many_seeds_are_a_mean_with_its_interval_as_a_band() -> None:
    figure = _picture([_arms("scratch", n=6), _arms("builtin", n=6)])
    assert _footer(figure).endswith("Bands: 95 % interval of the mean over seeds.")
    result = _arms("scratch", n=6)
    for title, metric in PANELS.items():
        axes = _panel(figure, title)
        assert len(axes.lines) == 2
        last = result.estimate(metric)
        assert last is not None
        assert last.ci95 is not None
        assert _heights(axes)[0][-1] == last.mean
        band = axes.collections[0]
        assert isinstance(band, PolyCollection)
        corners = np.asarray(band.get_paths()[0].vertices)
        ends = sorted(set(corners[corners[:, 0] == 4, 1]))
        assert ends == pytest.approx(list(last.ci95))


def test_arms_that_coincide_are_drawn_one_inside_the_other() -> None:
    axes = _figure("arms that coincide").axes[0]
    below, above = axes.lines[3], axes.lines[7]
    assert _means(axes)[0] == _means(axes)[1]
    assert below.get_linewidth() > above.get_linewidth() + 0.5
    assert below.get_markersize() > above.get_markersize() + 1
    assert below.get_zorder() < above.get_zorder()
    assert (below.get_linestyle(), above.get_linestyle()) == ("-", "--")


def test_strokes_stay_apart_in_grey_and_by_their_dashes() -> None:
    greys = sorted(_lightness(stroke(number).colour) for number in range(4))
    assert all(lighter - darker > 15 for darker, lighter in itertools.pairwise(greys))
    assert greys[-1] < 80  # of 100: white paper
    assert len({(stroke(n).colour, stroke(n).dashes) for n in range(45)}) == 45


def _lightness(colour: str) -> float:
    """CIE L*, from 0 (black) to 100 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_few_arms_are_labelled_where_they_end() -> None:
    coincide = _figure("arms that coincide")
    assert not coincide.legends
    assert [_end_labels(axes) for axes in coincide.axes] == 4 * [["scratch", "builtin"]]
    three = _figure("three panels")
    assert _end_labels(three.axes[0]) == ["my_batchnorm.py: BatchNorm", "b"]


def test_many_arms_have_a_legend_in_their_order() -> None:
    figure = _figure("long names")
    entries = ["".join(entry.split()) for entry in _legend(figure)]
    assert entries == [f"{LONG}{number}" for number in range(9)]
    assert not any(_end_labels(axes) for axes in figure.axes)


def test_a_few_epochs_have_whole_ticks() -> None:
    for epochs in (2, 3):
        axes = curves(_trial(epochs=epochs)).axes[0]
        assert _shown_ticks(axes) == list(range(1, epochs + 1))
    long = curves(_trial(epochs=200)).axes[0]
    assert all(tick == int(tick) >= 1 for tick in _shown_ticks(long))


def test_arms_of_one_epoch_are_rows_of_dots() -> None:
    figure = _figure("one epoch")
    assert _title(figure) == "LeNet on Fashion-MNIST, 1 epoch"
    axes = _panel(figure, "training loss")
    assert axes.get_xlabel() == "nats per image"
    names = ["".join(label.get_text().split()) for label in axes.get_yticklabels()]
    assert names == [LONG, "_b", "c"]
    rows = [float(row) for row in axes.get_yticks()]
    assert rows == sorted(rows, reverse=True)
    dots = [float(np.asarray(line.get_ydata())[0]) for line in axes.lines]
    assert dots == [*[rows[0]] * 4, *[rows[1]] * 4, rows[2]]
    assert len(axes.collections) == 1  # the interval of the arm with many seeds
    assert "Small dots: one seed each; large: their mean. Bars: 95 %" in _footer(figure)


def test_one_seed_is_a_curve_of_its_own() -> None:
    figure = _picture([_arms("scratch", n=1), _arms("none", n=1)])
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2, 2]
    assert _footer(figure) == "n = 1 seed (0) per arm · Some CPU, 2 threads · Fashion-MNIST"


def test_lost_trials_are_drawn_to_their_end_and_are_in_no_mean() -> None:
    figure = _picture(_lost())
    assert _legend(figure) == ["a\n1 of 3 seeds diverged", "_b\ndiverged"]
    assert _footer(figure) == (
        "a: n = 2 seeds (0, 1); arm _b: n = 0 · Some CPU, 2 threads · Fashion-MNIST Thin: one seed "
        "each; strong: their mean. ×: a seed that ended here without a result; it is in no mean."
    )
    axes = _panel(figure, "training loss")
    mean, gone = _means(axes)
    first = [_trial(seed).epochs[0].loss for seed in (0, 1)]
    assert mean[0] == pytest.approx(sum(first) / 2)
    assert gone == []
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [np.asarray(line.get_xdata()).tolist() for line in crosses] == [[2]] * 4


def test_arms_without_an_epoch_say_so() -> None:
    failed = _trial(0, epochs=0, status="failed", machine="")
    figure = _picture([_arm("a", failed), _arm("b")])
    assert _title(figure) == "LeNet"
    assert _footer(figure) == "n = 0: no trial completed"
    assert figure.axes[0].texts[0].get_text() == "No trial has finished an epoch."


def test_a_huge_loss_does_not_flatten_the_others() -> None:
    figure = _figure("a huge loss")
    axes = _panel(figure, "training loss")
    assert axes.get_ylim()[1] < 2.5
    assert _end_labels(axes)[0] == "↑ huge did not learn"
    assert "The axis of the loss ends at 2.1: huge reaches 2e+30." in _footer(figure)


def test_an_arm_that_did_not_learn_is_marked_in_every_panel() -> None:
    figure = _figure("a huge loss")
    for axes in figure.axes[1:]:
        assert _end_labels(axes)[-1] == "huge did not learn"
    assert "Dotted: guessing one of ten classes." in _footer(figure)


def test_an_arm_without_population_statistics_is_named() -> None:
    figure = _picture([_arms("scratch"), _plain("none")])
    assert _footer(figure).endswith("No population accuracy: arm none.")
    assert _end_labels(_panel(figure, "test accuracy, population statistics")) == ["scratch"]
    titles = [axes.get_title(loc="left") for axes in _figure("three panels").axes]
    assert titles == ["training loss", "train accuracy", "test accuracy"]


def test_accuracy_on_held_out_images_has_a_panel() -> None:
    trials = [_with_every_accuracy(_trial(seed)) for seed in SEEDS]
    titles = [axes.get_title(loc="left") for axes in _picture([_arm("a", *trials)]).axes]
    assert titles[2] == "held-out accuracy"
    assert len(titles) == 5


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


def test_channels_that_are_nearly_off_are_crossed_in_both() -> None:
    figure = gamma([_layer("norm1", (1.0, 0.01, -1.2, 0.9))], "a title", "a footer")
    assert figure is not None
    assert _footer(figure).endswith(
        "×: nearly off, with |γ| at most a tenth of the layer's median."
    )
    assert [_heights(axes)[2] for axes in figure.axes] == [[0.01], [0.1]]


def test_layers_without_gamma_and_beta_are_left_out() -> None:
    bare = _layer("bare", None, betas=False)
    assert gamma([bare], "a title", "a footer") is None
    figure = gamma([bare, _layer("half", (1.0, 2.0), betas=False)], "a title", "a footer")
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["half: γ", "half: β"]
    assert figure.axes[1].texts[0].get_text() == "no β"


def test_a_picture_is_an_svg_and_a_png_with_the_same_bytes_under_any_matplotlibrc() -> None:
    # A name of the user's: no formula, no hidden label, and in a script that the font lacks.
    name = "_my_$x_规.py"
    trial = _trial(epochs=1, norm=name)
    files = render(curves(trial))
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 10}):
        assert render(curves(trial)) == files
    assert dict(matplotlib.rcParams) == before
    assert files["svg"].startswith(b"<?xml")
    assert name.encode() in files["svg"]
    assert files["png"].startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", files["png"][16:24])
    assert width == 1800
    assert height > 600


@pytest.mark.process
def test_pictures_of_records_load_neither_torch_nor_a_screen() -> None:
    code = (
        "import sys, bnrun.show.pictures; "
        "print({'torch', 'matplotlib.pyplot', 'tkinter'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
