"""Whole tables, from hand-made records, as a person reads them at 80 columns."""

from rich.console import Console, RenderableType

from bnrun.events import DataUsed, EpochEnded
from bnrun.show.training_tables import config_table, places_table, training_table
from bnrun.training_summary import Summary

FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 60_000, 0, 10_000)
EPOCHS = (
    EpochEnded(1, 0.72911, 0.73755, 0.7855, None, None, None, 5.2656),
    EpochEnded(10, 0.2661, 0.9009, 0.8712, None, 17_834.1, 18_259.9, 3.8312),
)


def _render(view: RenderableType) -> str:
    console = Console(width=80, no_color=True, record=True, quiet=True, highlight=False)
    with console.capture() as capture:
        console.quiet = False
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _summary(**changes: object) -> Summary:
    fields: dict[str, object] = {
        "config": {"optimizer": {"lr": 1.0}},
        "norm": "scratch",
        "device": "cpu",
        "machine": "Some CPU, 2 threads",
        "seed": 3,
        "data": FASHION,
        "epochs": EPOCHS,
        "status": "completed",
        "examples_per_second": 17_000.4,
        "compute_examples_per_second": 18_000.6,
    }
    return Summary(**(fields | changes))  # type: ignore[arg-type]


def test_a_training() -> None:
    assert _render(training_table(_summary())) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3)\n"
        "\n"
        "  epoch     loss   train acc   test acc   examples/s   seconds\n"
        " ──────────────────────────────────────────────────────────────\n"
        "      1   0.7291      0.7376     0.7855            -       5.3\n"
        "     10   0.2661      0.9009     0.8712       17,834       3.8\n"
        "\n"
        "loss 0.266, train acc 0.901, test acc 0.871\n"
        "17,000 examples/s end to end (18,001 compute only) on cpu\n"
        "  Some CPU, 2 threads, engine eager"
    )


def test_a_training_with_held_out_images_has_their_column() -> None:
    data = DataUsed("fashion-mnist", "", True, 55_000, 5_000, 10_000)
    epochs = (EpochEnded(1, 0.7, 0.7, 0.8, 0.75, 9_000.0, 9_500.0, 5.0),)
    assert _render(training_table(_summary(data=data, epochs=epochs))) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3)\n"
        "\n"
        "  epoch     loss   train acc   val acc   test acc   examples/s   seconds\n"
        " ────────────────────────────────────────────────────────────────────────\n"
        "      1   0.7000      0.7000    0.7500     0.8000        9,000       5.0\n"
        "\n"
        "loss 0.700, train acc 0.700, test acc 0.800\n"
        "17,000 examples/s end to end (18,001 compute only) on cpu\n"
        "  Some CPU, 2 threads, engine eager"
    )


def test_a_diverged_training_says_where() -> None:
    view = training_table(
        _summary(
            epochs=(),
            status="diverged",
            reason="the loss became nan at epoch 1, step 2",
            examples_per_second=None,
        )
    )
    assert _render(view) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3)\n"
        "diverged: the loss became nan at epoch 1, step 2"
    )


def test_an_interrupted_and_a_failed_training_say_so() -> None:
    interrupted = _render(training_table(_summary(status="interrupted")))
    assert interrupted.endswith("interrupted before its last epoch")
    failed = _render(training_table(_summary(status="failed", reason="shown on stderr")))
    assert failed.endswith("\nfailed")


def test_a_stand_in_never_goes_by_the_real_name() -> None:
    synthetic = DataUsed("synthetic", "generated", None, 4_000, 0, 1_000)
    other = DataUsed("fashion-mnist", "data.root: /x", False, 600, 0, 200)
    assert "synthetic data" in _render(training_table(_summary(data=synthetic)))
    shown = _render(training_table(_summary(data=other)))
    assert "not the published Fashion-MNIST" in " ".join(shown.split())


def test_a_users_norm_is_named_without_its_folders_and_markup_is_text() -> None:
    shown = _render(training_table(_summary(norm="/home/me/[bold]my.py:Norm")))
    assert shown.startswith("LeNet, norm [bold]my.py:Norm, Fashion-MNIST")


def test_a_resolved_config() -> None:
    rows = [
        ("model.norm", "scratch", "default"),
        ("data.root", None, "configs/[x].yaml:3"),
        ("optimizer.nesterov", True, "--set"),
        ("training.evaluate", ["moving"], "default"),
    ]
    assert _render(config_table(rows)) == (
        "\n"
        "  key                  value      from\n"
        " ────────────────────────────────────────────────────\n"
        "  model.norm           scratch    default\n"
        "  data.root            null       configs/[x].yaml:3\n"
        "  optimizer.nesterov   true       --set\n"
        "  training.evaluate    [moving]   default\n"
    )


def test_places() -> None:
    rows = [("data.root", "damaged", "/x/FashionMNIST/raw"), ("bnrun's cache", "absent", "/c")]
    assert _render(places_table(rows)) == (
        "\n"
        "  source          state     folder\n"
        " ───────────────────────────────────────────────\n"
        "  data.root       damaged   /x/FashionMNIST/raw\n"
        "  bnrun's cache   absent    /c\n"
    )


def _evaluated(moving: float, population: float | None, batch: float | None) -> str:
    epochs = (EpochEnded(1, 0.7, 0.7, moving, None, 9e3, 9e3, 5.0, population, batch),)
    return _render(training_table(_summary(epochs=epochs)))


def test_other_statistics_have_columns_and_a_wide_gap_a_sentence() -> None:
    assert _evaluated(0.7253, 0.8609, 0.8611) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3)\n"
        "\n"
        "                   train     test         test     test\n"
        " epoch     loss      acc   moving   population    batch   examples/s   seconds\n"
        " ─────────────────────────────────────────────────────────────────────────────\n"
        "     1   0.7000   0.7000   0.7253       0.8609   0.8611        9,000       5.0\n"
        "\n"
        "loss 0.700, train acc 0.700, test acc 0.725\n"
        "The same weights reach 0.725 with moving and 0.861 with population statistics:\n"
        "the moving average holds what batches were under earlier weights, the population\n"
        "what images are under these.\n"
        "17,000 examples/s end to end (18,001 compute only) on cpu\n"
        "  Some CPU, 2 threads, engine eager"
    )


def test_the_sentence_comes_from_two_points_on_in_either_direction() -> None:
    assert "The same weights" in _evaluated(0.860, 0.839, None)
    assert "The same weights" not in _evaluated(0.860, 0.879, None)
    assert "The same weights" not in _evaluated(0.860, None, None)


def test_every_column_there_is_fits_a_terminal() -> None:
    data = DataUsed("fashion-mnist", "", True, 55_000, 5_000, 10_000)
    epochs = (EpochEnded(10, 0.71, 0.7, 0.8, 0.75, 90_000.0, 9e4, 105.0, 0.81, 0.82),)
    shown = _render(training_table(_summary(data=data, epochs=epochs)))
    for figure in ("0.7100", "0.7500", "0.8000", "0.8100", "0.8200", "90,000", "105.0"):
        assert figure in shown
