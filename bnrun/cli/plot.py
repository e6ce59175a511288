"""`bnrun plot`: pictures of a run, or of a comparison, in its own directory."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import RUNS, CheckpointOption, JsonOption, OutOption
from bnrun.errors import RunError
from bnrun.events import Activity

if TYPE_CHECKING:
    from bnrun.comparison.result import Comparison
    from bnrun.studies.study import StudyResult


def plot(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="A run, or a comparison; of several, the curves are drawn together.",
            autocompletion=completion.runs_and_comparisons,
        ),
    ] = None,
    checkpoint: CheckpointOption = "last",
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Draw a run's curves and gammas, or a comparison, as SVG and PNG.

    What probes saw (bnrun train --probe) is drawn as well. The pictures of a run, or of a
    comparison, are in its directory; that of several runs is beside them, in the folder that runs
    are in.
    """
    from bnrun.cli.compare_runs import draw_runs
    from bnrun.runs.lookup import COMPARISON, LATEST, find_either
    from bnrun.runs.obstacles import nothing_to_draw
    from bnrun.show.console import show_json, show_line, show_notice

    if runs is not None and len(runs) > 1:
        _refuse_checkpoint(checkpoint, "several runs")
        draw = partial(draw_runs, runs, out)
    else:
        path = find_either(runs[0] if runs else LATEST, out, nothing_to_draw, show_notice)
        if path in COMPARISON:
            _refuse_checkpoint(checkpoint, "a comparison")
        draw = partial(_draw, path, checkpoint)
    with drawing(quiet=False):
        files = draw()
    if json:
        show_json({"files": [str(file) for file in files]})
        return
    for file in files:
        show_line(str(file))


def _refuse_checkpoint(checkpoint: str, drawn: str) -> None:
    """Refuse a choice of weights where only curves are drawn.

    Raises:
        RunError: there is one.
    """
    if checkpoint != "last":
        raise RunError(
            f"received '{checkpoint}', but of {drawn} only the curves are drawn, and no gammas of "
            "a checkpoint. Leave it out, or name one run.",
            key="--checkpoint",
        )


@contextlib.contextmanager
def drawing(*, quiet: bool) -> Iterator[None]:
    """Load matplotlib for the block, and say on a terminal that this, and drawing, takes time."""
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    with open_screen(stderr(), quiet=quiet) as screen:
        with loading(screen, "matplotlib"):
            from bnrun.show import pictures  # noqa: F401
        screen.show(Activity("drawing"))
        yield


def _draw(path: Path, checkpoint: str) -> list[Path]:
    from bnrun.runs.comparison_directory import read_comparison
    from bnrun.runs.lookup import COMPARISON

    if path in COMPARISON:
        return draw_comparison(path, read_comparison(path))
    return _draw_run(path, checkpoint)


def draw_comparison(path: Path, comparison: "Comparison") -> list[Path]:
    """Draw a comparison into its directory; return the files.

    Raises:
        RunError: a file cannot be written.
    """
    from bnrun.runs.picture_files import write_picture
    from bnrun.show import pictures

    return write_picture(path, "compare", pictures.render(pictures.compare(comparison)))


def draw_study(path: Path, result: "StudyResult") -> dict[str, Path]:
    """Draw the claims of a study into its directory; return the PNG of each by the claim's id.

    Raises:
        RunError: a file cannot be written.
    """
    from bnrun.runs.picture_files import write_picture
    from bnrun.show import pictures

    drawn = {}
    for one in result.claims:
        files = pictures.render(pictures.claim_picture(one, result))
        written = write_picture(path, f"{one.claim.id}-{one.claim.name}", files)
        drawn[one.claim.id] = next(file for file in written if file.suffix == ".png")
    return drawn


def _draw_run(path: Path, checkpoint: str) -> list[Path]:
    """Draw a run's curves, its gammas, and what its probes saw; return the files.

    Raises:
        RunError: the run has finished no epoch, has no such checkpoint, or cannot be written.
    """
    from bnrun import runs
    from bnrun.runs.picture_files import write_picture
    from bnrun.runs.probe_records import read_probes
    from bnrun.runs.run_records import read_run
    from bnrun.show import pictures
    from bnrun.show.probe_words import probes_of
    from bnrun.show.wording import training_title
    from bnrun.training.gamma_inspection import norm_layers

    summary = read_run(path).summary
    if not summary.epochs:
        raise RunError(f"{path} has finished no epoch: there is nothing to draw.")
    state = runs.read_checkpoint(path, checkpoint)  # first: where it is missing, draw nothing
    files = write_picture(path, "curves", pictures.render(pictures.curves(summary)))
    title = f"γ and β after epoch {len(state['epochs'])}: {training_title(summary)}"
    footer = pictures.run_footer(summary)
    gamma = pictures.gamma(norm_layers(state), title, footer)
    if gamma is not None:
        files += write_picture(path, "gamma", pictures.render(gamma))
    looks = read_probes(path)
    for probe in probes_of(looks):
        title = f"probe {probe}: {training_title(summary)}"
        figure = pictures.probe_picture(looks, probe, title, footer)
        files += write_picture(path, f"probe-{probe}", pictures.render(figure))
    return files
