"""`bnrun plot`: pictures of a run, or of a comparison, in its own directory."""

from pathlib import Path
from typing import TYPE_CHECKING

from bnrun.cli.options import RUNS, AnyRunArgument, CheckpointOption, JsonOption, OutOption
from bnrun.errors import RunError

if TYPE_CHECKING:
    from bnrun.comparison.result import Comparison


def plot(
    run: AnyRunArgument = "latest",
    checkpoint: CheckpointOption = "last",
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """Draw a run's curves and gammas, or a comparison, as SVG and PNG."""
    from bnrun.runs.lookup import COMPARISON, find_either
    from bnrun.runs.obstacles import nothing_to_draw
    from bnrun.show.console import show_json, show_line, show_note

    path = find_either(run, out, nothing_to_draw, show_note)
    if path in COMPARISON:
        from bnrun.runs.comparison_directory import read_comparison

        files = draw_comparison(path, read_comparison(path))
    else:
        files = _draw_run(path, checkpoint)
    if json:
        show_json({"files": [str(file) for file in files]})
        return
    for file in files:
        show_line(str(file))


def draw_comparison(path: Path, comparison: "Comparison") -> list[Path]:
    """Draw a comparison into its directory; return the files.

    Raises:
        RunError: a file cannot be written.
    """
    from bnrun.runs.picture_files import write_picture
    from bnrun.show import pictures

    return write_picture(path, "compare", pictures.render(pictures.compare(comparison)))


def _draw_run(path: Path, checkpoint: str) -> list[Path]:
    """Draw a run's curves, and its gammas where its norms have any; return the files.

    Raises:
        RunError: the run has finished no epoch, has no such checkpoint, or cannot be written.
    """
    from bnrun import runs
    from bnrun.runs.picture_files import write_picture
    from bnrun.runs.run_records import read_run
    from bnrun.show import pictures
    from bnrun.show.wording import training_title
    from bnrun.training.gamma_inspection import norm_layers

    summary = read_run(path).summary
    if not summary.epochs:
        raise RunError(f"{path} has finished no epoch: there is nothing to draw.")
    state = runs.read_checkpoint(path, checkpoint)  # first: where it is missing, draw nothing
    files = write_picture(path, "curves", pictures.render(pictures.curves(summary)))
    title = f"γ and β after epoch {len(state['epochs'])}: {training_title(summary)}"
    gamma = pictures.gamma(norm_layers(state), title, pictures.run_footer(summary))
    return files + (write_picture(path, "gamma", pictures.render(gamma)) if gamma else [])
