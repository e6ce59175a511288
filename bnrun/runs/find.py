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
    """Return the directory of a run or of a comparison, whichever a name means.

    Raises:
        RunError: there is neither, or several begin so.
    """
    return _find(name, out, RUN, COMPARISON)


def newest_first(folder: Path, *kinds: _Kind) -> list[Path]:
    """Return what is of these kinds directly below a folder, what was started last first."""
    below = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in below if _is_any(path, kinds)), key=_age, reverse=True)


def started(path: Path) -> datetime | None:
    """Return when a run was started, by its name or else by its metrics; None if neither says."""
    with contextlib.suppress(ValueError):
        return _utc(path.name.partition("-")[0], "%Y%m%dT%H%M%SZ")
    try:
        with (path / "metrics.jsonl").open("rb") as file:
            return _utc(json.loads(file.readline())["time"], "%Y-%m-%dT%H:%M:%SZ")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _find(name: str, out: Path, *kinds: _Kind) -> Path:
    whole = [Path(name), out / name] if name else []
    for path in whole:
        if _is_any(path, kinds):
            return path
    _refuse_the_other(name, whole)
    if name == LATEST:
        begun = (newest_first(out, *kinds) or _newest_trials(out, kinds))[:1]
    else:
        begun = [path for path in _beginning(name, out) if _is_any(path, kinds)]
    if len(begun) > 1:
        raise _ambiguous(name, begun, kinds)
    if begun:
        return begun[0]
    raise _missing(name, out, whole, kinds)


def _newest_trials(out: Path, kinds: Sequence[_Kind]) -> list[Path]:
    """Return the trials of the latest comparison: runs, too, where there are no others."""
    latest = newest_first(out, COMPARISON)[:1]
    return newest_first(latest[0] / "trials", *kinds) if latest else []


def _is_any(path: Path, kinds: Sequence[_Kind]) -> bool:
    return any(path in kind for kind in kinds)


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


def _ambiguous(name: str, begun: list[Path], kinds: Sequence[_Kind]) -> RunError:
    newest = sorted(begun, key=_age, reverse=True)
    lines = [f"  {path.name}" for path in newest[:CANDIDATES_SHOWN]]
    if len(newest) > CANDIDATES_SHOWN:
        lines.append(f"  and {len(newest) - CANDIDATES_SHOWN} more")
    words = " or ".join(f"{kind.word}s" for kind in kinds)
    return RunError(
        "\n".join([f"'{name}' begins {len(begun)} {words}; give more of the name:", *lines])
    )


def _missing(name: str, out: Path, whole: Sequence[Path], kinds: Sequence[_Kind]) -> RunError:
    word = " or ".join(kind.word for kind in kinds)
    if any(path.is_dir() for path in whole):
        return RunError(f"{name} is no {word} directory: it has no {kinds[0].file}.")
    _refuse_the_other(name, _beginning(name, out))
    names = [path.name for path in newest_first(out, *kinds)]
    near = did_you_mean(name, names) or " `bnrun runs` lists them."
    if not names:
        near = f" There is none at all: `{kinds[0].command}` makes one."
    if name == LATEST:
        return RunError(f"there is no latest {word} below {out}/.{near}")
    return RunError(f"there is no {word} '{name}', neither as a path nor below {out}/.{near}")


def _refuse_the_other(name: str, paths: Sequence[Path]) -> None:
    """Say what a directory of the other kind is."""
    for path in paths:
        if path in COMPARISON:
            raise RunError(f"{path} is a comparison; its runs are in {path / 'trials'}/.")
        if path in RUN:
            raise RunError(f"{path} is a run, not a comparison.")
