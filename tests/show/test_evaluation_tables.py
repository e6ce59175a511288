"""Whole tables of a checkpoint's accuracies, as a person reads them at 80 columns."""

from typing import Any

from rich.console import Console, RenderableType

from bnrun.events import DataUsed
from bnrun.show.evaluation_tables import evaluation_table
from bnrun.training.evaluation import Evaluation

FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 60_000, 0, 10_000)


def _render(view: RenderableType) -> str:
    console = Console(width=80, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _evaluation(**changes: Any) -> Evaluation:
    fields: dict[str, Any] = {
        "norm": "scratch",
        "seed": 3,
        "epoch": 10,
        "data": FASHION,
        "device": "cpu",
        "accuracies": {"moving": 0.6786, "population": 0.8541, "batch": 0.6701},
        "keeps_moving": True,
        "population_images": 10_000,
        "batch_size": 256,
    }
    return Evaluation(**(fields | changes))


def test_all_three_kinds() -> None:
    assert _render(evaluation_table(_evaluation())) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3), after epoch 10\n"
        "\n"
        "  statistics   test acc   against moving\n"
        " ────────────────────────────────────────\n"
        "  moving         0.6786\n"
        "  population     0.8541    +17.55 points\n"
        "  batch          0.6701     -0.85 points\n"
        "\n"
        "over 10,000 test images, on cpu\n"
        "population: exact statistics over 10,000 training images\n"
        "batch: those of the 256 test images being predicted"
    )


def test_a_recalibrated_checkpoint_says_what_its_moving_statistics_are() -> None:
    found = _evaluation(accuracies={"moving": 0.0}, recalibrated=4000)
    assert _render(evaluation_table(found)) == (
        "LeNet, norm scratch, Fashion-MNIST, one seed (3), after epoch 10\n"
        "\n"
        "  statistics   test acc   against moving\n"
        " ────────────────────────────────────────\n"
        "  moving         0.0000\n"
        "\n"
        "over 10,000 test images, on cpu\n"
        "moving: in this checkpoint, population statistics over 4,000 training images"
    )


def test_a_norm_without_moving_statistics_predicts_in_one_way() -> None:
    found = _evaluation(
        norm="/home/me/my.py:[Norm]",
        accuracies={"moving": 0.78, "population": None, "batch": None},
        keeps_moving=False,
    )
    assert _render(evaluation_table(found)) == (
        "LeNet, norm my.py:[Norm], Fashion-MNIST, one seed (3), after epoch 10\n"
        "\n"
        "  statistics   test acc   against moving\n"
        " ────────────────────────────────────────\n"
        "  -              0.7800\n"
        "\n"
        "over 10,000 test images, on cpu\n"
        "No norm keeps moving statistics, so there is only one way to predict."
    )
