"""The directory of a comparison: its plan, its trials, its result.

    runs/<UTC time>-compare-<arm>-<arm>/
        compare.yaml              the plan: arms with their configs, seeds, engine, criteria
        arms/<arm>/norm/          a copy of the norm's file, where it is a user's own
        trials/<arm>-s<seed>/     a run directory for each trial
        summary.json              the result, or as much of it as there is
        compare.svg, compare.png  the picture of it

An interrupted comparison needs nothing else to continue.
"""

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.comparison_events import CompareEvent, CompareStarted, ResultSoFar, Trial
from bnrun.comparison.plan import plan_from_dict, plan_to_dict
from bnrun.comparison.result import Comparison
from bnrun.comparison.trials import unfinished_trials
from bnrun.config import yaml_text
from bnrun.config.difference import config_difference
from bnrun.errors import ConfigError, RunError
from bnrun.locks import Busy, Lock
from bnrun.paths import folder_name
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.lookup import COMPARISON, TRIALS
from bnrun.runs.new_directory import make_directory
from bnrun.runs.norm_files import find_norm, keep_norm, norm_folder
from bnrun.runs.run_records import read_run
from bnrun.training_summary import Summary

MAX_STEM = 60
"""Longest part of a directory's name that arms give it, so that it can be read and copied."""

RESULT = "summary.json"

WRITING_SHARE = 0.1
"""Largest part of the time that writing the result may take. Of 10,000 trials, it is some 50 MB."""


class ComparisonDirectory:
    """A comparison's directory, locked for writing until its `with` block ends.

    The result is written after each trial and each measurement; of very many trials, not after each
    one, since it holds them all. Until the comparison ends, its status is `interrupted`.

    Raises:
        RunError: a file cannot be written, or another process works in this directory.
    """

    def __init__(self, path: Path, comparison: Comparison, lock: Lock) -> None:
        self.path = path
        self.comparison = comparison
        self._lock = lock
        self._is_at_work = False
        self._is_written = True
        self._next_write = 0.0

    def __enter__(self) -> Self:
        return self

    def unfinished_trials(self) -> list[Trial]:
        """Return the trials still to be trained, each with its directory."""
        return unfinished_trials(self.comparison, lambda name: str(_trial_folder(self.path, name)))

    def record(self, event: CompareEvent) -> None:
        """Write the results so far, where an event has them."""
        match event:
            case CompareStarted():
                self._is_at_work = True
            case ResultSoFar():
                self.comparison, self._is_written = event.comparison, False
                if time.monotonic() >= self._next_write:
                    self._write_result()

    def write_plan(self, comparison: Comparison) -> None:
        """Replace the plan by that of a comparison, which is otherwise the same."""
        self.comparison = comparison
        self._write(COMPARISON.file, _yaml(comparison))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is not None and self._is_at_work:
                self.comparison = _with_started_trials(self.comparison, self.path)
                self.comparison = dataclasses.replace(self.comparison, status="interrupted")
                self._write_result()
            elif not self._is_written:
                self._write_result()
        except RunError:
            if error is None:  # otherwise the first error is the one to report
                raise
        finally:
            self._lock.release()

    def _write_result(self) -> None:
        """Write the result; the next one is due when that has not taken much of the time."""
        start = time.monotonic()
        self._write(RESULT, _json(self.comparison))
        end = time.monotonic()
        self._is_written, self._next_write = True, end + (end - start) / WRITING_SHARE

    def _write(self, name: str, content: str) -> None:
        try:
            write_atomically(self.path / name, content.encode())
        except OSError as error:
            raise RunError(
                f"{self.path / name} can't be written: {error.strerror or error}. The trials are "
                "complete files; fix that, then continue with `bnrun compare --resume "
                f"{shlex.quote(str(self.path))}`."
            ) from error


def create_comparison(out: Path, plan: Comparison) -> ComparisonDirectory:
    """Make a comparison's directory below `out`, with the plan in it, and lock it.

    Raises:
        RunError: it cannot be made or written.
    """
    path = make_directory(out, _stem(plan)[:MAX_STEM], COMPARISON.file, _yaml(plan))
    keep_norms(path, plan)
    return reopen_comparison(path)


def keep_norms(path: Path, plan: Comparison) -> Comparison:
    """Copy the files of the arms' norms, and return the comparison with arms that load the copies.

    Raises:
        RunError: a copy cannot be written.
    """
    for result in plan.arms:
        try:
            keep_norm(norm_folder(path, result.arm.name), result.arm.config)
        except OSError as error:
            raise RunError(f"{path} can't be written: {error.strerror or error}.") from error
    return _with_norms(path, plan, lambda notice: None)


def _stem(plan: Comparison) -> str:
    """Return the part of a directory's name that the arms give it."""
    names = [folder_name(result.arm.name) for result in plan.arms]
    stem = "-".join(["compare", *names])
    return stem if len(stem) <= MAX_STEM else f"compare-{len(names)}-arms-{names[0]}"


def reopen_comparison(
    path: Path, on_notice: Callable[[str], object] = lambda notice: None
) -> ComparisonDirectory:
    """Lock a comparison's directory, and return it to be continued.

    Args:
        path: the directory.
        on_notice: is called with a sentence for each arm whose norm is taken from a copy.

    Raises:
        RunError: another process works in it, or a file of it is damaged.
    """
    lock = _locked(path)  # before it is read: another process may be writing to it
    try:
        comparison = _with_norms(path, read_comparison(path), on_notice)
        return ComparisonDirectory(path, comparison, lock)
    except BaseException:
        lock.release()
        raise


def read_comparison(path: Path) -> Comparison:
    """Read a comparison's directory: its plan, and as much of its result as there is.

    Raises:
        RunError: a file of it is damaged, or a trial does not belong to the plan.
    """
    plan = _read_plan(path / COMPARISON.file)
    arms = tuple(
        ArmResult(result.arm, tuple(_read_trials(path, result.arm, plan.seeds)))
        for result in plan.arms
    )
    comparison = dataclasses.replace(plan, arms=arms, run=str(path))
    return _with_measurements(comparison, path / RESULT)


def _with_norms(
    path: Path, comparison: Comparison, on_notice: Callable[[str], object]
) -> Comparison:
    """Return a comparison whose arms load their norms as they were when it began."""
    arms = []
    for result in comparison.arms:
        config, notice = find_norm(norm_folder(path, result.arm.name), result.arm.config, True)
        if notice is not None:
            on_notice(f"arm {result.arm.name}: {notice}")
        arms.append(dataclasses.replace(result, arm=dataclasses.replace(result.arm, config=config)))
    return dataclasses.replace(comparison, arms=tuple(arms))


def _locked(path: Path) -> Lock:
    lock = Lock(path / ".lock")
    try:
        lock.acquire()
    except Busy as error:
        raise RunError(f"{path}: another process is working on this comparison.") from error
    except OSError as error:
        raise RunError(f"{path / '.lock'} can't be written: {error.strerror or error}.") from error
    return lock


def _yaml(plan: Comparison) -> str:
    return yaml_text.dump(plan_to_dict(plan))


def _json(comparison: Comparison) -> str:
    return json.dumps(comparison.to_dict(), indent=2) + "\n"


def _read_plan(file: Path) -> Comparison:
    try:
        return plan_from_dict(yaml_text.parse(file.read_text(encoding="utf-8"), str(file)).value)
    except (OSError, ConfigError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file} is damaged, or is not the plan of a comparison: {error}") from error


def _trial_folder(path: Path, name: str) -> Path:
    return path / TRIALS / folder_name(name)


def _read_trials(path: Path, arm: Arm, seeds: tuple[int, ...]) -> Iterator[Summary]:
    """Yield the trials of an arm that were started."""
    for seed in seeds:
        trial = _trial_folder(path, f"{arm.name}-s{seed}")
        if not (trial / "config.yaml").is_file():
            continue
        summary = read_run(trial).summary
        for difference in config_difference(arm.with_seed(seed).to_dict(), summary.config):
            if difference.key == "training.engine" and difference.b == "auto":
                continue  # older versions left the engine to each trial
            raise RunError(
                f"{trial} does not belong to this plan: {difference.key} is {difference.b} there, "
                f"and {difference.a} in {path / COMPARISON.file}. Put the plan back, or move the "
                "trial away."
            )
        yield summary


def _with_started_trials(comparison: Comparison, path: Path) -> Comparison:
    """Return a comparison with the trials that are on disk, as far as they came.

    A trial that has ended stays as the comparison has it: a process that was killed wrote down no
    end of its own.
    """
    for result in comparison.arms:
        ended = {trial.seed for trial in result.trials if trial.status != "interrupted"}
        for trial in _read_trials(path, result.arm, comparison.seeds):
            if trial.seed not in ended:
                comparison = comparison.with_trial(result.arm.name, trial)
    return comparison


def _with_measurements(comparison: Comparison, file: Path) -> Comparison:
    """Return a comparison with what an earlier session measured, if there was one."""
    try:
        document = json.loads(file.read_bytes())
        return comparison.with_measurements(document)
    except FileNotFoundError:
        return comparison
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{file} is damaged: {error!r}. Move it away, and the comparison continues from its "
            "trials; parity and throughput are measured again."
        ) from error
