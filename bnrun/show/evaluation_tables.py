"""A checkpoint's test accuracies as a table: a row per kind of statistics."""

from collections.abc import Iterator

from rich.console import Group, RenderableType

from bnrun.show.folding import Paragraph
from bnrun.show.tables import label, number, table
from bnrun.show.wording import run_title
from bnrun.training.evaluation import Evaluation, no_moving_statistics


def evaluation_table(evaluation: Evaluation) -> RenderableType:
    """Show a checkpoint's accuracies, and what each kind of statistics was computed from."""
    run = run_title(evaluation.norm, evaluation.data, evaluation.seed)
    title = Paragraph(f"{run}, after epoch {evaluation.epoch}")
    columns = (label("statistics"), number("test acc"), number("against moving"))
    shown = table(*columns, gap=3, margin=2)
    moving = evaluation.accuracies["moving"]
    for name, accuracy in evaluation.accuracies.items():
        if accuracy is not None and moving is not None:
            points = "" if name == "moving" else f"{100 * (accuracy - moving):+.2f} points"
            shown.add_row(name if evaluation.keeps_moving else "-", f"{accuracy:.4f}", points)
    return Group(title, shown, *map(Paragraph, _notes(evaluation)))


def _notes(evaluation: Evaluation) -> Iterator[str]:
    yield f"over {evaluation.data.test_images:,} test images, on {evaluation.device}"
    if not evaluation.keeps_moving:
        yield "No norm keeps moving statistics, so there is only one way to predict."
        if evaluation.unknown:
            said = no_moving_statistics(evaluation.unknown)
            yield f"Looked for by name: {said}."
        return
    if evaluation.recalibrated is not None:
        yield (
            "moving: in this checkpoint, population statistics over "
            f"{evaluation.recalibrated:,} training images"
        )
    if "population" in evaluation.accuracies:
        yield f"population: exact statistics over {evaluation.population_images:,} training images"
    if "batch" in evaluation.accuracies:
        yield f"batch: those of the {evaluation.batch_size:,} test images being predicted"
