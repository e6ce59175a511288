"""The directory of a study: what was measured, and the result.

    runs/<UTC time>-study-<name>/
        study.json      the study, its budget and machine, and the evidence for each claim
        trials/<arm>-s<seed>/     a run directory for each training
        summary.json    the claims as they were judged: what `bnrun study NAME --json` prints
        <id>-<name>.svg, .png     the picture of each claim

An interrupted study continues with the claims that have no evidence, and trains no trial again.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bnrun.comparison.cluster import Cluster
from bnrun.environment import describe
from bnrun.errors import RunError
from bnrun.locks import Busy, Lock
from bnrun.runs.atomic_write import write_atomically
from bnrun.runs.lookup import STUDY, TRIALS
from bnrun.runs.new_directory import make_directory
from bnrun.runs.study_file import read_study, study_document
from bnrun.runs.study_trials import StudyTrials
from bnrun.studies.study import Measured, StudyEvent, StudyResult

RESULT = "summary.json"


class StudyDirectory:
    """A study's directory, locked for writing until its `with` block ends.

    Attributes:
        path, result: the directory, and what was found so far.
    """

    def __init__(self, path: Path, result: StudyResult, environment: Mapping[str, Any]) -> None:
        self.path = path
        self.result = result
        self._environment = environment
        self._lock = Lock(path / ".lock")

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Busy as error:
            raise RunError(f"{self.path}: another process is working on this study.") from error
        except OSError as error:
            raise self._unwritable(".lock", error) from error
        # Another process may have measured something since this object was made.
        self.result = read_study(self.path).result
        return self

    def laboratory(self, jobs: int | Cluster | None = 1) -> StudyTrials:
        """Return where the study's trials are trained; see `StudyTrials`."""
        return StudyTrials(self.path / TRIALS, jobs)

    def record(self, event: StudyEvent) -> None:
        """Write down the evidence for a claim, and how it is judged.

        Raises:
            RunError: a file cannot be written.
        """
        if isinstance(event, Measured):
            self.result = self.result.with_measured(event)
            self._write(STUDY.file, study_document(self.result, self._environment))
            self._write(RESULT, self.result.to_dict())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            write_atomically(self.path / name, _json(document).encode())
        except OSError as error:
            raise self._unwritable(name, error) from error

    def _unwritable(self, name: str, error: OSError) -> RunError:
        command = f"bnrun study {self.result.study.name} --resume {shlex.quote(str(self.path))}"
        return RunError(
            f"{self.path / name} can't be written: {error.strerror or error}. Fix that, then "
            f"continue with `{command}`."
        )


def create_study(out: Path, plan: StudyResult) -> StudyDirectory:
    """Make a study's directory below `out`.

    Raises:
        RunError: it cannot be made or written.
    """
    environment = describe("cpu", plan.machine)
    content = _json(study_document(plan, environment))
    path = make_directory(out, f"study-{plan.study.name}", STUDY.file, content)
    return reopen_study(path)


def reopen_study(path: Path) -> StudyDirectory:
    """Return a study's directory, to continue it, with its claims judged by today's rules.

    Raises:
        ConfigError: this version of bnrun has no such study.
        RunError: its file is damaged.
    """
    kept = read_study(path)
    return StudyDirectory(path, kept.result, kept.environment)


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
