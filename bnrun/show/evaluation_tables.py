"""Test accuracies by the statistics that norms predict with."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.tables import label, number, table
from bnrun.show.wording import run_title
from bnrun.training.evaluation import Evaluation


def evaluation_table(found: Evaluation) -> RenderableType:
    """Show a checkpoint's accuracies: a row for each kind of statistics, and what they are of."""
    title = f"{run_title(found.norm, found.data, found.seed)}, after epoch {found.epoch}"
    columns = (label("statistics"), number("test acc"), number("against moving"))
    shown = table(*columns, gap=3, margin=2)
    moving = found.accuracies["moving"]
    for name, accuracy in found.accuracies.items():
        if accuracy is not None and moving is not None:
            points = "" if name == "moving" else f"{100 * (accuracy - moving):+.2f} points"
            shown.add_row(name if found.keeps_moving else "-", f"{accuracy:.4f}", points)
    return Group(Text(title), shown, *map(Text, _notes(found)))


def _notes(found: Evaluation) -> Iterator[str]:
    yield f"over {found.data.test_images:,} test images, on {found.device}"
    if not found.keeps_moving:
        yield "No norm of it keeps moving statistics: there is but the one way it predicts."
        return
    if found.recalibrated is not None:
        yield (
            "moving: in this checkpoint, population statistics over "
            f"{found.recalibrated:,} training images"
        )
    if "population" in found.accuracies:
        yield f"population: exact statistics over {found.population_images:,} training images"
    if "batch" in found.accuracies:
        yield f"batch: those of the {found.batch_size:,} test images being predicted"
