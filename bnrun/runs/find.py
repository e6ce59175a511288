"""Finding the directory of a run, or of a comparison, by what a user calls it.

That is a path, a name below the folder of the runs, the beginning of a name, or `latest`: the
newest run directly there, or else the newest trial of the latest comparison. What is there wins
over the word `latest`, and that over a beginning.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bnrun.errors import RunError, did_you_mean

LATEST = "latest"
CANDIDATES_SHOWN = 5


class _OfTheOtherKind(RunError):
    """A run was asked for, and a comparison is there; or the other way round."""


@dataclass(frozen=True)
class _Kind:
    """A kind of directory: the file that each has, and the command that makes one."""

    word: str
    file: str
    command: str

    def __contains__(self, path: Path) -> bool:
        return (path / self.file).is_file()


RUN = _Kind("run", "config.yaml", "bnrun train")
COMPARISON = _Kind("comparison", "compare.yaml", "bnrun compare scratch builtin")


def find(name: str, out: Path) -> Path:
    """Return the directory of a run. A comparison is none; its trials are.

    Raises:
        RunError: there is none, or several begin so.
    """
    return _find(name, out, RUN)


def find_comparison(name: str, out: Path) -> Path:
    """Return the directory of a comparison.

    Raises:
        RunError: there is none, or several begin so.
    """
    return _find(name, out, COMPARISON)


def find_either(name: str, out: Path) -> Path:
    """Return the directory of a run or, where a name means none, of a comparison.

    Raises:
        RunError: there is neither, or several begin so.
    """
    try:
        return find(name, out)
    except _OfTheOtherKind:
        return find_comparison(name, out)


def newest_first(folder: Path, kind: _Kind) -> list[Path]:
    """Return what is of a kind directly below a folder, what was started last first."""
    below = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in below if path in kind), key=_age, reverse=True)


def started(path: Path) -> datetime | None:
    """Return when a run was started, by its name or else by its metrics; None if neither says."""
    with contextlib.suppress(ValueError):
        return _utc(path.name.partition("-")[0], "%Y%m%dT%H%M%SZ")
    try:
        with (path / "metrics.jsonl").open("rb") as file:
            return _utc(json.loads(file.readline())["time"], "%Y-%m-%dT%H:%M:%SZ")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _find(name: str, out: Path, kind: _Kind) -> Path:
    whole = [Path(name), out / name] if name else []
    for path in whole:
        if path in kind:
            return path
    _refuse_the_other(whole)
    if name == LATEST:
        begun = (newest_first(out, kind) or _newest_trials(out, kind))[:1]
    else:
        begun = [path for path in _beginning(name, out) if path in kind]
    if len(begun) > 1:
        raise _ambiguous(name, begun, kind)
    if begun:
        return begun[0]
    raise _missing(name, out, whole, kind)


def _newest_trials(out: Path, kind: _Kind) -> list[Path]:
    """Return the trials of the latest comparison: runs, too, where there are no others."""
    latest = newest_first(out, COMPARISON)[:1]
    return newest_first(latest[0] / "trials", kind) if latest else []


def _utc(text: str, form: str) -> datetime:
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def _age(path: Path) -> tuple[datetime, float, str]:
    kind = RUN if path in RUN else COMPARISON
    made = (path / kind.file).stat().st_mtime  # written once, as the directory is made
    return started(path) or datetime.fromtimestamp(made, UTC), made, path.name


def _beginning(name: str, out: Path) -> list[Path]:
    """Return what is there whose name begins as `name` does, which may hold folders before it.

    A name without a folder is looked for below `out` alone.
    """
    looked = [out / name, *([Path(name)] if len(Path(name).parts) > 1 else [])]
    found = [
        path
        for beginning in looked
        if name and beginning.parent.is_dir()
        for path in beginning.parent.iterdir()
        if path.name.startswith(beginning.name)
    ]
    return list(dict.fromkeys(found))


def _ambiguous(name: str, begun: list[Path], kind: _Kind) -> RunError:
    newest = sorted(begun, key=_age, reverse=True)
    lines = [f"  {path.name}" for path in newest[:CANDIDATES_SHOWN]]
    if len(newest) > CANDIDATES_SHOWN:
        lines.append(f"  and {len(newest) - CANDIDATES_SHOWN} more")
    return RunError(
        "\n".join(
            [f"{len(begun)} {kind.word}s begin with '{name}'; give more of the name:", *lines]
        )
    )


def _missing(name: str, out: Path, whole: Sequence[Path], kind: _Kind) -> RunError:
    if any(path.is_dir() for path in whole):
        return RunError(f"{name} is no {kind.word} directory: it has no {kind.file}.")
    _refuse_the_other(_beginning(name, out))
    names = [path.name for path in newest_first(out, kind)]
    near = did_you_mean(name, names) or " `bnrun runs` lists them."
    if not names:
        near = f" There is none at all: `{kind.command}` makes one."
    if name == LATEST:
        return RunError(f"there is no latest {kind.word} below {out}/.{near}")
    return RunError(f"there is no {kind.word} '{name}', neither as a path nor below {out}/.{near}")


def _refuse_the_other(paths: Sequence[Path]) -> None:
    """Say what a directory of the other kind is."""
    for path in paths:
        if path in COMPARISON:
            raise _OfTheOtherKind(f"{path} is a comparison; its runs are in {path / 'trials'}/.")
        if path in RUN:
            raise _OfTheOtherKind(f"{path} is a run, not a comparison.")
