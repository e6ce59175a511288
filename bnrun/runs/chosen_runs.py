"""The runs that a user names to put them side by side."""

from collections.abc import Sequence
from pathlib import Path

from bnrun.errors import ConfigError, RunError
from bnrun.norms.factories import NORMS
from bnrun.runs.lookup import (
    COMPARISON,
    LATEST,
    RUN,
    TRIALS,
    Obstacle,
    OnNotice,
    find_either,
    is_start_of_a_name,
    newest_first,
)
from bnrun.runs.run_records import read_run
from bnrun.training_summary import Summary


def are_runs(words: Sequence[str], out: Path) -> bool:
    """Return whether words of a command line name runs that exist, and no arms to train.

    A norm's name is an arm, also where a run is called so; its path names that run.

    Raises:
        ConfigError: some are runs, and some are arms.
    """
    runs = [word for word in words if _is_run(word, out)]
    arms = [word for word in words if word not in runs]
    if runs and arms:
        raise ConfigError(
            f"received {runs[0]}, which is a run, and {arms[0]}, which is an arm to train; compare "
            "takes either runs or arms."
        )
    return bool(runs)


def read_runs(
    names: Sequence[str], out: Path, obstacle: Obstacle, on_notice: OnNotice
) -> list[Summary]:
    """Read the runs that are named, each once; a comparison stands for its trials.

    Args:
        names: two or more, or one of a comparison.
        out, obstacle, on_notice: see `lookup.find`.

    Raises:
        RunError: one does not exist or is damaged, or there are fewer than two.
        ConfigError: the config.yaml of one is not acceptable.
    """
    paths: dict[Path, Path] = {}
    for name in names:
        path = find_either(name, out, obstacle, on_notice)
        trials = newest_first(path / TRIALS, RUN)[::-1] if path in COMPARISON else [path]
        paths |= {trial.resolve(): trial for trial in trials}
    if len(paths) < 2:
        count = "one run" if paths else "no run that was started"
        raise RunError(f"received {count}, {', '.join(names)}; two or more can be compared.")
    return [read_run(path).summary for path in paths.values()]


def _is_run(word: str, out: Path) -> bool:
    if word in NORMS or "=" in word or ":" in word:
        return False
    return word.partition("/")[0] == LATEST or word[:1].isdigit() or is_start_of_a_name(word, out)
