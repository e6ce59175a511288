"""`bnrun compare RUN RUN …` and `bnrun plot RUN RUN …`: runs that exist, side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnrun.errors import ConfigError

if TYPE_CHECKING:
    from bnrun.comparison.existing_runs import SideBySide
    from bnrun.comparison.paired_differences import Criteria

MAX_STEM = 100
"""Longest part of a picture's name that arms give it: file systems take names of 255 bytes."""


def compare_runs(
    words: Sequence[str],
    out: Path,
    criteria: "Criteria",
    json: bool,
    options: Mapping[str, Any],
) -> bool:
    """Show runs side by side where the words name runs, and return whether they do.

    Nothing is trained, and nothing is written.

    Args:
        words: what the user has written: runs, or arms.
        out: the folder that runs are in.
        criteria: how pairs are judged.
        json: whether to print one JSON document.
        options: values of the options that say what to train, by option.

    Raises:
        ConfigError: the words are runs, and one of these options was given.
        RunError: see `read_runs`.
    """
    from bnrun.runs.chosen_runs import are_runs

    if not are_runs(words, out):
        return False
    from bnrun.show.compare_tables import comparison_view
    from bnrun.show.console import show_json, show_view

    given = [option for option, value in options.items() if value is not None and value != []]
    if given:
        raise ConfigError(
            f"{words[0]} is a run that exists, so nothing is trained, and this option has nothing "
            "to say; leave it out.",
            key=f"--{given[0].removeprefix('--')}",
        )
    comparison = _read(words, out, criteria)
    if json:
        show_json(comparison.to_dict())
    else:
        show_view(comparison_view(comparison))
    return True


def draw_runs(names: Sequence[str], out: Path) -> list[Path]:
    """Draw the curves of runs into one picture, in the folder of the runs; return the files.

    Raises:
        RunError: see `read_runs`; or a file cannot be written.
    """
    from datetime import UTC, datetime

    from bnrun.comparison.paired_differences import DEFAULT_CRITERIA
    from bnrun.runs.new_directory import TIME_FORMAT, plain
    from bnrun.runs.picture_files import write_picture
    from bnrun.show import pictures

    comparison = _read(names, out, DEFAULT_CRITERIA)
    arms = "-".join(result.arm.name for result in comparison.arms)[:MAX_STEM]
    name = f"{datetime.now(UTC).strftime(TIME_FORMAT)}-plot-{plain(arms)}"
    return write_picture(out, name, pictures.render(pictures.compare(comparison)))


def _read(names: Sequence[str], out: Path, criteria: "Criteria") -> "SideBySide":
    from bnrun.comparison.existing_runs import side_by_side
    from bnrun.runs.chosen_runs import read_runs
    from bnrun.runs.obstacles import nothing_to_draw
    from bnrun.show.console import show_notice

    return side_by_side(read_runs(names, out, nothing_to_draw, show_notice), criteria)
