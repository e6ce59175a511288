"""`study`: claims about normalization, put to the test."""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bnrun.comparison.cluster import connect
from bnrun.errors import ConfigError, known_value
from bnrun.events import drain
from bnrun.runs.study_directory import create_study
from bnrun.studies.registry import find_study
from bnrun.studies.study import BUDGETS, StudyResult, plan, run_study
from bnrun.training.device import device_name


def study(
    name: str,
    *,
    budget: str = "standard",
    claims: Collection[str] | None = None,
    jobs: int = 1,
    cluster: str | None = None,
    out: str | Path | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> StudyResult:
    """Put claims about normalization to the test, and return a verdict on each.

    Args:
        name: of the study, such as `exact`; `bnrun study` lists them.
        budget: `quick`, `standard` or `thorough`.
        claims: ids of the claims to decide, such as `["X2", "X5"]`; None decides all.
        jobs: how many trainings run at a time. Several run in processes of their own; the command's
            default is one for each thread.
        cluster: the address of a Dask scheduler, whose workers train, or `local`.
        out: a folder to keep the study in, as `bnrun study --out` does. None keeps nothing.
        on_event: called with each event as it happens (bnrun/studies/study.py).

    Returns:
        The result: `claims`, each with its `verdict`, the `judgments` of its parts and a `note`.

    Raises:
        ConfigError: there is no such study, budget or claim, or no cluster answers.
        DataError: the images are missing, damaged, or cannot be fetched.
        RunError: `out` cannot be written.
        TrainingFailed: a training failed; one that diverges is a result.

    Example:
        >>> import bnrun
        >>> result = bnrun.study("exact", budget="quick", claims=["X5", "X7"])
        >>> {one.claim.name: one.verdict for one in result.claims}
        {'fold': 'contradicted', 'one-formula': 'supported'}
    """
    found = find_study(name)
    ids = [claim.id for claim in found.claims]
    for one in claims or ():
        if one not in ids:
            raise ConfigError(f"study {name} has no claim '{one}'. It has: {', '.join(ids)}.")
    start = plan(found, known_value("budget", budget, BUDGETS), device_name(torch.device("cpu")))
    with (
        TemporaryDirectory() if out is None else nullcontext(out) as folder,
        nullcontext(jobs) if cluster is None else connect(cluster, jobs) as where,
        create_study(Path(folder), start) as directory,
    ):

        def handle(event: Any) -> None:
            directory.record(event)
            on_event(event)

        work = run_study(directory.result, directory.laboratory(where), claims)
        result = drain(work, handle)
    return replace(result, run=None) if out is None else result
