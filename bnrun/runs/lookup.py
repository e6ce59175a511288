"""Finding the directory of a run, or of a comparison, by what a user calls it.

A user gives a path, a name below the folder of the runs, the start of a name, or `latest`: the
newest run directly there or, without any, the newest trial of the newest comparison.
Precedence: exact path or name, `latest`, start of a name.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bnrun.errors import RunError, did_you_mean
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.new_directory import TIME_FORMAT

LATEST = "latest"
CANDIDATES_SHOWN = 5


class _OtherKind(RunError):
    """A run was asked for and a comparison is there, or the other way round."""


@dataclass(frozen=True)
class DirectoryKind:
    """A kind of directory: what it is called, the file that marks it, the command that makes it."""

    word: str
    file: str
    command: str

    def __contains__(self, path: Path) -> bool:
        return (path / self.file).is_file()


RUN = DirectoryKind("run", "config.yaml", "bnrun train")
COMPARISON = DirectoryKind("comparison", "compare.yaml", "bnrun compare scratch builtin")


def find(name: str, out: Path) -> Path:
    """Return the directory of a run; a trial of a comparison is a run, too.

    Raises:
        RunError: it does not exist, or several names start like this.
    """
    return _find(name, out, RUN)


def find_comparison(name: str, out: Path) -> Path:
    """Return the directory of a comparison.

    Raises:
        RunError: it does not exist, or several names start like this.
    """
    return _find(name, out, COMPARISON)


def find_either(name: str, out: Path) -> Path:
    """Return the directory of a run or, where the name is not one of a run, of a comparison.

    Raises:
        RunError: there is neither, or several names start like this.
    """
    try:
        return find(name, out)
    except _OtherKind:
        return find_comparison(name, out)


def newest_first(folder: Path, kind: DirectoryKind) -> list[Path]:
    """Return the directories of a kind directly below a folder, the last one started first."""
    below = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in below if path in kind), key=_age, reverse=True)


def start_time(path: Path) -> datetime | None:
    """Return when a run started (UTC), from its name or its metrics; None if neither says."""
    with contextlib.suppress(ValueError):
        time = datetime.strptime(path.name.partition("-")[0], TIME_FORMAT)
        return time.replace(tzinfo=UTC)
    return MetricsFile(path).start_time()


def _find(name: str, out: Path, kind: DirectoryKind) -> Path:
    exact = [Path(name), out / name] if name else []
    for path in exact:
        if path in kind:
            return path
    _refuse_other_kind(exact)
    if name == LATEST:
        matches = (newest_first(out, kind) or _newest_trials(out, kind))[:1]
    else:
        matches = [path for path in _starting_with(name, out) if path in kind]
    if len(matches) > 1:
        raise _ambiguous(name, matches, kind)
    if matches:
        return matches[0]
    raise _missing(name, out, exact, kind)


def _newest_trials(out: Path, kind: DirectoryKind) -> list[Path]:
    """Return the trials of the newest comparison; they are runs, not comparisons."""
    comparisons = newest_first(out, COMPARISON)[:1]
    return newest_first(comparisons[0] / "trials", kind) if comparisons else []


def _age(path: Path) -> tuple[datetime, float, str]:
    kind = RUN if path in RUN else COMPARISON
    modified = (path / kind.file).stat().st_mtime  # written once, when the directory is made
    return start_time(path) or datetime.fromtimestamp(modified, UTC), modified, path.name


def _starting_with(name: str, out: Path) -> list[Path]:
    """Return what exists and has a name that starts like this; folders may stand before it.

    A name without folders is looked for below `out` only.
    """
    starts = [out / name, *([Path(name)] if len(Path(name).parts) > 1 else [])]
    matches = [
        path
        for start in starts
        if name and start.parent.is_dir()
        for path in start.parent.iterdir()
        if path.name.startswith(start.name)
    ]
    return list(dict.fromkeys(matches))


def _ambiguous(name: str, matches: list[Path], kind: DirectoryKind) -> RunError:
    newest = sorted(matches, key=_age, reverse=True)
    lines = [f"  {path.name}" for path in newest[:CANDIDATES_SHOWN]]
    if len(newest) > CANDIDATES_SHOWN:
        lines.append(f"  and {len(newest) - CANDIDATES_SHOWN} more")
    heading = f"{len(matches)} {kind.word}s start with '{name}'; give more of the name:"
    return RunError("\n".join([heading, *lines]))


def _missing(name: str, out: Path, exact: Sequence[Path], kind: DirectoryKind) -> RunError:
    if any(path.is_dir() for path in exact):
        return RunError(f"{name} is not a {kind.word} directory: it has no {kind.file}.")
    _refuse_other_kind(_starting_with(name, out))
    names = [path.name for path in newest_first(out, kind)]
    hint = did_you_mean(name, names) or " `bnrun runs` lists them."
    if not names:
        hint = f" No {kind.word} is there yet: `{kind.command}` makes one."
    if name == LATEST:
        return RunError(f"there is no latest {kind.word} below {out}/.{hint}")
    return RunError(f"there is no {kind.word} '{name}', neither as a path nor below {out}/.{hint}")


def _refuse_other_kind(paths: Sequence[Path]) -> None:
    """Refuse a directory of the other kind, and say which kind it is.

    Raises:
        _OtherKind: one of these is. The right kind has been looked for before.
    """
    for path in paths:
        if path in COMPARISON:
            raise _OtherKind(f"{path} is a comparison; its runs are in {path / 'trials'}/.")
        if path in RUN:
            raise _OtherKind(f"{path} is a run, not a comparison.")
