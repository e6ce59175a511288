"""The directory of a comparison: its plan, its trials, its result.

    runs/<UTC time>-compare-<arm>-<arm>/
        compare.yaml              the plan: every arm's name and config, and the seeds
        trials/<arm>-s<seed>/     a run directory for each trial
        summary.json              the result, or as much of it as there is
        compare.svg, compare.png  the picture of it

It is all that an interrupted comparison needs to go on.
"""

import dataclasses
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from bnrun.comparison.arms import check_plan
from bnrun.comparison.experiment import CompareEvent, TrialEnded, after, ended
from bnrun.comparison.json_document import document, measured
from bnrun.comparison.outcome import (
    Arm,
    ArmResult,
    Comparison,
    Ending,
    Parity,
    Speeds,
)
from bnrun.comparison.trials import Trial
from bnrun.config import Config, yaml_text
from bnrun.config.difference import config_difference
from bnrun.errors import ConfigError, RunError
from bnrun.locks import Busy, Lock
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.lookup import COMPARISON
from bnrun.runs.new_directory import make_directory
from bnrun.runs.run_directory import Run, reopen
from bnrun.runs.run_records import read_run
from bnrun.summary import Summary

MAX_STEM = 120  # file systems take names of 255 bytes
_ENDING: TypeAdapter[Ending] = TypeAdapter(Ending)
FINISHED = ("completed", "diverged")  # a failed trial may go better, once the layer is mended


class ComparisonFolder:
    """A comparison's directory, held for writing from `with` to its end.

    `summary.json` is written whenever something has been found, and last on leaving the block.

    Raises:
        RunError: a file cannot be written, or another process works in this directory.
    """

    def __init__(self, path: Path, comparison: Comparison, lock: Lock) -> None:
        self.path = path
        self.comparison = comparison
        self._lock = lock

    def __enter__(self) -> Self:
        self.comparison = dataclasses.replace(self.comparison, status="interrupted")  # till its end
        return self

    def unfinished(self) -> list[Trial]:
        """Return the trials still to be trained, a seed after the other."""
        finished = {
            (result.arm.name, trial.seed)
            for result in self.comparison.arms
            for trial in result.trials
            if trial.status in FINISHED
        }
        return [
            Trial(arm.name, arm.with_seed(seed), str(_trial_path(self.path, arm, seed)))
            for seed in self.comparison.seeds
            for arm in (result.arm for result in self.comparison.arms)
            if (arm.name, seed) not in finished
        ]

    def record(self, event: CompareEvent) -> None:
        """Count an event towards the result, and keep what it found."""
        self.comparison = after(self.comparison, event)
        if isinstance(event, Parity | Speeds | TrialEnded):
            self._write()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.comparison = ended(self.comparison)
            self._write()
        except RunError:
            if error is None:  # else the first error is the one to tell
                raise
        finally:
            self._lock.release()

    def _write(self) -> None:
        content = json.dumps(document(self.comparison), indent=2) + "\n"
        try:
            write_atomically(self.path / "summary.json", content.encode())
        except OSError as error:
            raise RunError(
                f"{self.path / 'summary.json'} can't be written: {error.strerror or error}. The "
                "trials are whole; mend that, then go on with `bnrun compare --resume "
                f"{shlex.quote(str(self.path))}`."
            ) from error


def create_comparison(out: Path, arms: Sequence[Arm], seeds: Sequence[int]) -> ComparisonFolder:
    """Make a comparison's directory below `out`, with the plan in it, and hold it.

    Raises:
        ConfigError: the seeds are no seeds.
        RunError: it cannot be made or written.
    """
    check_plan(arms, seeds)
    plan = {
        "arms": [{"name": arm.name, "config": arm.config.to_dict()} for arm in arms],
        "seeds": list(seeds),
    }
    stem = "-".join(["compare", *(arm.name for arm in arms)])
    path = make_directory(out, stem[:MAX_STEM], COMPARISON.file, yaml_text.dump(plan))
    return reopen_comparison(path)


def reopen_comparison(path: Path) -> ComparisonFolder:
    """Return a comparison to go on with, from its directory, and hold that.

    Raises:
        RunError: another process works in it, or a file of it is damaged.
    """
    lock = _hold(path)  # before it is read: the other process may be finding something
    try:
        return ComparisonFolder(path, read_comparison(path), lock)
    except BaseException:
        lock.release()
        raise


def read_comparison(path: Path) -> Comparison:
    """Read a comparison's directory, as far as it has come.

    Raises:
        RunError: a file of it is damaged, or a trial is not of the plan.
    """
    arms, seeds = _read_plan(path / COMPARISON.file)
    results = tuple(ArmResult(arm, tuple(_read_trials(path, arm, seeds))) for arm in arms)
    return dataclasses.replace(
        _read_summary(path / "summary.json", Comparison(results, seeds)), run=str(path)
    )


def open_trial(trial: Trial) -> tuple[Run, Mapping[str, Any] | None]:
    """Return the run directory of a trial, made or gone on with, and its checkpoint, if any.

    Raises:
        ConfigError, RunError: it cannot be made, or not gone on with (see `reopen`).
    """
    assert trial.run is not None
    path = Path(trial.run)
    advice = f"bnrun compare --resume {shlex.quote(str(path.parents[1]))}"
    if (path / "config.yaml").is_file():
        try:
            return reopen(path, advice)
        except RunError as error:
            raise RunError(
                f"{error} Or move {path} away: `{advice}` then trains this trial anew."
            ) from error
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(path / "config.yaml", trial.config.yaml().encode())
    except OSError as error:
        raise RunError(f"the trial's directory {path} can't be made: {error.strerror}.") from error
    return Run(path, trial.config, advice), None


def _trial_path(path: Path, arm: Arm, seed: int) -> Path:
    return path / "trials" / f"{arm.name}-s{seed}"


def _hold(path: Path) -> Lock:
    lock = Lock(path / ".lock")
    try:
        lock.acquire()
    except Busy as error:
        raise RunError(f"{path}: another process is working on this comparison.") from error
    except OSError as error:
        raise RunError(f"{path / '.lock'} can't be written: {error.strerror or error}.") from error
    return lock


def _read_plan(file: Path) -> tuple[tuple[Arm, ...], tuple[int, ...]]:
    try:
        plan = yaml_text.parse(file.read_text(encoding="utf-8"), str(file)).value
        arms = [Arm(str(arm["name"]), Config.model_validate(arm["config"])) for arm in plan["arms"]]
        seeds = [int(seed) for seed in plan["seeds"]]
        check_plan(arms, seeds)
        return tuple(arms), tuple(seeds)
    except (OSError, ConfigError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file} is damaged, or no plan of a comparison: {error}") from error


def _read_trials(path: Path, arm: Arm, seeds: Sequence[int]) -> Iterator[Summary]:
    """Read the trials of an arm that have begun."""
    for seed in seeds:
        trial = _trial_path(path, arm, seed)
        if not (trial / "config.yaml").is_file():
            continue
        summary = read_run(trial).summary
        for found in config_difference(arm.with_seed(seed).to_dict(), summary.config):
            raise RunError(
                f"{trial} is no trial of this plan: {found.key} is {found.b} there, and {found.a} "
                f"in {path / COMPARISON.file}. Put the plan back, or move the trial away."
            )
        yield summary


def _read_summary(file: Path, comparison: Comparison) -> Comparison:
    """Add to a comparison what an earlier session measured, if one did, and how it ended."""
    try:
        found = json.loads(file.read_bytes())
        parity, speeds = measured(found)
        return dataclasses.replace(
            comparison,
            parity=parity,
            speeds=speeds,
            speeds_error=found["throughput_error"],
            status=_ENDING.validate_python(found["status"]),
        )
    except FileNotFoundError:
        return comparison
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{file} is damaged: {error!r}. Move it away, and the comparison goes on from its "
            "trials; parity and throughput are measured again."
        ) from error
