"""Finding the directory of a run, a comparison or a study by what a user calls it.

A user gives a path, a name below the folder of the runs, the start of a name, or `latest`. A trial
of a comparison is a run, too: `COMPARISON/scratch-s0`, with whatever names the comparison.
Precedence: exact path or name, `latest`, trial of a comparison, start of a name.

`latest` is the newest that can be asked for what is asked. Where a run is needed, that is the
newest run directly in the folder or, without any, the newest trial of the newest comparison. What
is newer and was passed over is said in a notice.
"""

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bnrun.errors import RunError, did_you_mean
from bnrun.runs.metrics_file import MetricsFile
from bnrun.runs.new_directory import TIME_FORMAT

LATEST = "latest"
TRIALS = "trials"
"""The folder of a comparison's trials, in its directory."""

CANDIDATES_SHOWN = 5
"""How many directories that a name may stand for are listed."""
PASSED_OVER_SHOWN = 3
"""How many directories that `latest` has passed over are named, each with the reason."""
TRIALS_SHOWN = 12
"""How many trials to choose from are named."""
_A_TRIAL = f"{LATEST}/TRIAL"

Obstacle = Callable[[Path], str | None]
"""Returns why a directory cannot be asked for something; None where it can (obstacles.py)."""
OnNotice = Callable[[str], object]
"""Called with a sentence that the user should read."""


class _OtherKind(RunError):
    """A run was asked for and a comparison is there, or the other way round."""


class _Ambiguous(RunError):
    """Several names start as the one that was given."""


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
STUDY = DirectoryKind("study", "study.json", "bnrun study exact")


def no_obstacle(path: Path) -> str | None:
    """Return None: any directory will do."""


def ignore_notice(sentence: str) -> None:
    """Do nothing with a notice."""


def find(
    name: str,
    out: Path,
    obstacle: Obstacle = no_obstacle,
    on_notice: OnNotice = ignore_notice,
    doubt: Obstacle = no_obstacle,
) -> Path:
    """Return the directory of a run; a trial of a comparison is a run, too.

    Args:
        name: what the user calls it (see the top of this file).
        out: the folder that runs are in.
        obstacle: runs that have one are passed over by `latest`, unless all have.
        on_notice: called with a sentence on what `latest` has passed over.
        doubt: runs that have one are passed over, too, unless all that are left have one.

    Raises:
        RunError: it does not exist, several names start like this, or it is a comparison.
    """
    return _find(name, out, RUN) or _latest_run(out, obstacle, on_notice, doubt)


def find_comparison(
    name: str, out: Path, obstacle: Obstacle = no_obstacle, on_notice: OnNotice = ignore_notice
) -> Path:
    """Return the directory of a comparison. For the arguments, see `find`.

    Raises:
        RunError: it does not exist, or several names start like this.
    """
    return _find(name, out, COMPARISON) or _latest_comparison(out, obstacle, on_notice)


def find_study_directory(name: str, out: Path) -> Path:
    """Return the directory of a study.

    Raises:
        RunError: it does not exist, or several names start like this.
    """
    found = _find(name, out, STUDY)
    if found is not None:
        return found
    studies = newest_first(out, STUDY)
    if not studies:
        raise _missing(LATEST, out, [], STUDY)
    return studies[0]


def find_either(
    name: str, out: Path, obstacle: Obstacle = no_obstacle, on_notice: OnNotice = ignore_notice
) -> Path:
    """Return the directory of a run or, where the name is not one of a run, of a comparison.

    `latest` is the newest of both kinds. For the arguments, see `find`.

    Raises:
        RunError: there is neither, or several names start like this.
    """
    try:
        found = _find(name, out, RUN)
    except _OtherKind:
        return find_comparison(name, out)
    if found is not None:
        return found
    both = newest_first(out, RUN, COMPARISON)
    if not both:
        raise _missing(LATEST, out, [], RUN)
    return _first_able(both, [], obstacle, on_notice)


def find_any(name: str, out: Path) -> Path:
    """Return the directory of a run, a comparison or a study, whichever is called so.

    `latest` is the newest of all.

    Raises:
        RunError: there is none, or several names start like this.
    """
    kinds = (RUN, COMPARISON, STUDY)
    for path in [Path(name), out / name] if name else []:
        if any(path in kind for kind in kinds):
            return path
    if name == LATEST:
        matches = newest_first(out, *kinds)[:1]
    else:
        begun = _starting_with(name, out)
        matches = _trials_called(name, out) or [
            path for path in begun if any(path in kind for kind in kinds)
        ]
    if len(matches) > 1:
        raise _ambiguous(name, matches, "directories")
    if not matches:
        hint = did_you_mean(name, [LATEST, *(path.name for path in newest_first(out, *kinds))])
        raise RunError(
            f"there is no run, comparison or study '{name}', neither as a path nor below {out}/."
            f"{hint or ' `bnrun runs` lists them.'}"
        )
    return matches[0]


def refuse_trial(path: Path) -> None:
    """Refuse a trial of a comparison, where it would no longer be what the plan says.

    Raises:
        RunError: it is one.
    """
    folder = path.resolve().parent
    if folder.name == TRIALS and folder.parent in COMPARISON:
        raise RunError(
            f"{path} is a trial of a comparison, whose plan says how long its trials are. A new "
            f"run of the same config: bnrun train {path / 'config.yaml'} --epochs N"
        )


def newest_first(folder: Path, *kinds: DirectoryKind) -> list[Path]:
    """Return the directories of these kinds directly below a folder, the last one started first."""
    below = folder.iterdir() if folder.is_dir() else ()
    found = (path for path in below if any(path in kind for kind in kinds))
    return sorted(found, key=_age, reverse=True)


def is_start_of_a_name(name: str, out: Path) -> bool:
    """Return whether a run or a comparison is called so: by path, by name, or by its start."""
    found = [Path(name), out / name, *_starting_with(name, out)]
    return any(path in kind for path in found for kind in (RUN, COMPARISON)) or bool(
        _trials_called(name, out)
    )


def start_time(path: Path) -> datetime | None:
    """Return when a run started (UTC), from its name or its metrics; None if neither says."""
    with contextlib.suppress(ValueError):
        time = datetime.strptime(path.name.partition("-")[0], TIME_FORMAT)
        return time.replace(tzinfo=UTC)
    return MetricsFile(path).start_time()


def _find(name: str, out: Path, kind: DirectoryKind) -> Path | None:
    """Return the directory of this kind; None where the name is `latest` and no directory's.

    Raises:
        RunError: see `find`.
    """
    exact = [Path(name), out / name] if name else []
    for path in exact:
        if path in kind:
            return path
    _refuse_other_kind(exact, kind)
    if name == LATEST:
        return None
    found = _trials_called(name, out) if kind is RUN else []
    matches = found or [path for path in _starting_with(name, out) if path in kind]
    if len(matches) > 1:
        raise _ambiguous(name, matches, f"{kind.word}s")
    if matches:
        return matches[0]
    raise _missing(name, out, exact, kind)


def _latest_run(out: Path, obstacle: Obstacle, on_notice: OnNotice, doubt: Obstacle) -> Path:
    """Return the latest run, or the latest trial where there is no run.

    Raises:
        RunError: there is neither.
    """
    comparisons = newest_first(out, COMPARISON)
    runs = newest_first(out, RUN)
    if not runs and comparisons:
        runs, comparisons = _trials(comparisons[0]), []
    if not runs:
        raise _missing(LATEST, out, [], RUN)
    return _first_able(runs, comparisons, obstacle, on_notice, doubt)


def _latest_comparison(out: Path, obstacle: Obstacle, on_notice: OnNotice) -> Path:
    comparisons = newest_first(out, COMPARISON)
    if not comparisons:
        raise _missing(LATEST, out, [], COMPARISON)
    return _first_able(comparisons, [], obstacle, on_notice)


def _first_able(
    candidates: Sequence[Path],
    others: Sequence[Path],
    obstacle: Obstacle,
    on_notice: OnNotice,
    doubt: Obstacle = no_obstacle,
) -> Path:
    """Return the first candidate without an obstacle, or the first one where all have one.

    Args:
        candidates: directories, the newest first; at least one.
        others: comparisons that are no candidates, the newest first.
        obstacle, on_notice, doubt: see `find`.
    """
    reasons: dict[Path, str] = {}
    doubtful: list[Path] = []
    for path in candidates:
        reason = obstacle(path)
        if reason is None and (reason := doubt(path)) is not None:
            doubtful.append(path)
        if reason is None:
            break
        reasons[path] = reason
    else:
        if not doubtful:
            return candidates[0]
        path = doubtful[0]
    newer = [other for other in (*reasons, *others) if _age(other) > _age(path)]
    if newer:
        on_notice(_passed_over(path, newer, reasons))
    return path


def _passed_over(path: Path, newer: Sequence[Path], reasons: Mapping[Path, str]) -> str:
    """Return the sentence that names what is newer than `path` and cannot be asked for.

    What has no reason is a comparison; the newest of them comes with how to ask for a trial.
    """
    newest = sorted(newer, key=_age, reverse=True)
    comparisons = [other for other in newest if other not in reasons]
    reasons = {
        **dict.fromkeys(comparisons, "a comparison"),
        **dict.fromkeys(comparisons[:1], f"a comparison; for a trial of it: {_A_TRIAL}"),
        **reasons,
    }
    named = [f"{other.name} ({reasons[other]})" for other in newest[:PASSED_OVER_SHOWN]]
    if len(newest) > PASSED_OVER_SHOWN:
        named.append(f"{len(newest) - PASSED_OVER_SHOWN} more")
    return f"{LATEST} is {path.name}; passed over: {', '.join(named)}"


def _trials(comparison: Path) -> list[Path]:
    """Return the trials of a comparison that were started, the last one first."""
    return newest_first(comparison / TRIALS, RUN)


def _trials_called(name: str, out: Path) -> list[Path]:
    """Return the trials that `COMPARISON/TRIAL` may stand for; the exact one is alone.

    Raises:
        RunError: several comparisons are called so; or there is no such trial in the one that is.
    """
    head, slash, tail = name.rpartition("/")
    if not slash or not tail:
        return []
    try:
        comparison = find_comparison(head, out)
    except _Ambiguous:
        raise
    except RunError:
        return []
    trials = _trials(comparison)
    exact = [path for path in trials if path.name == tail]
    matches = exact or [path for path in trials if path.name.startswith(tail)]
    if not matches:
        near = did_you_mean(tail, [path.name for path in trials])
        raise RunError(f"there is no trial '{tail}' in {comparison}.{near} {_choice(comparison)}")
    return matches


def _choice(comparison: Path) -> str:
    """Return a sentence that names the trials of a comparison, to choose from."""
    names = [path.name for path in reversed(_trials(comparison))]
    if not names:
        return "None of its trials was started yet."
    more = f" and {len(names) - TRIALS_SHOWN} more" if len(names) > TRIALS_SHOWN else ""
    return f"Its trials: {', '.join(names[:TRIALS_SHOWN])}{more}."


def _age(path: Path) -> tuple[datetime, float, str]:
    kind = next(kind for kind in (RUN, COMPARISON, STUDY) if path in kind)
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


def _ambiguous(name: str, matches: list[Path], what: str) -> _Ambiguous:
    newest = sorted(matches, key=_age, reverse=True)
    lines = [f"  {path.name}" for path in newest[:CANDIDATES_SHOWN]]
    if len(newest) > CANDIDATES_SHOWN:
        lines.append(f"  and {len(newest) - CANDIDATES_SHOWN} more")
    heading = f"{len(matches)} {what} start with '{name}'; give more of the name:"
    return _Ambiguous("\n".join([heading, *lines]))


def _missing(name: str, out: Path, exact: Sequence[Path], kind: DirectoryKind) -> RunError:
    if any(path.is_dir() for path in exact):
        return RunError(f"{name} is not a {kind.word} directory: it has no {kind.file}.")
    _refuse_other_kind(_starting_with(name, out), kind)
    names = [path.name for path in newest_first(out, kind)]
    hint = did_you_mean(name, [LATEST, *names]) or " `bnrun runs` lists them."
    if not names:
        hint = f" No {kind.word} is there yet: `{kind.command}` makes one."
    if name == LATEST:
        return RunError(f"there is no latest {kind.word} below {out}/.{hint}")
    return RunError(f"there is no {kind.word} '{name}', neither as a path nor below {out}/.{hint}")


def _refuse_other_kind(paths: Sequence[Path], kind: DirectoryKind) -> None:
    """Refuse a directory of another kind than was asked for, and say which kind it is.

    Raises:
        RunError: one of these is of another kind. `_OtherKind` where it is a run or a comparison.
    """
    for path in paths:
        if path in COMPARISON and kind is STUDY:
            raise _OtherKind(f"{path} is a comparison, not a study.")
        if path in COMPARISON:
            first = next(iter(reversed(_trials(path))), path / "scratch-s0").name
            raise _OtherKind(
                f"{path} is a comparison. Ask for a trial of it, as in {path.name}/{first}. "
                f"{_choice(path)}"
            )
        if path in RUN:
            raise _OtherKind(f"{path} is a run, not a {kind.word}.")
        if path in STUDY:
            command = f"bnrun study --judge {shlex.quote(str(path))}"
            raise RunError(f"{path} is a study: `{command}` shows it.")
