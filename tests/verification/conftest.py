"""Verifying in this process, which is quick; what needs a process of its own says so."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnrun.events import drain
from bnrun.verification.experiment import Observation
from bnrun.verification.observer import InProcess, Job
from bnrun.verification.report import Report
from bnrun.verification.situations import LAYOUTS
from bnrun.verification.verify import verify, verify_by


class OfMainRanks(InProcess):
    """Leaves out inputs of other ranks than 2 and 4: a third of the time."""

    def observe(self, job: Job) -> Observation[Any]:
        if job.experiment.endswith(("(N, C, L)", "(N, C, D, H, W)", "smallest input")):
            return Observation(trouble="not run", message="left out here")
        return super().observe(job)


class OfFewSteps(OfMainRanks):
    """Leaves out what takes many steps, too, for faults that show at once."""

    LEFT_OUT = ("second derivatives", "many batches", "memory over many steps")

    def observe(self, job: Job) -> Observation[Any]:
        if job.experiment in self.LEFT_OUT:
            return Observation(trouble="not run", message="left out here")
        return super().observe(job)


class OfOneRank(InProcess):
    """Keeps what a diagnosis of the formula rests on, for inputs of one rank: a sixth of the time.

    What it leaves out looks alike in all families, and is tested with batch norms.
    """

    LEFT_OUT = (
        *("deepcopy", "pickle", "no graph kept", "memory over many steps", "memory layouts"),
        *("finite differences in training", "finite differences when predicting"),
        *("second derivatives", "smallest input", "tiny and odd shapes", "torch left alone"),
        *("many batches", "gradient handed in", "after loading", "state_dict"),
        "wrong channel count",
    )

    def observe(self, job: Job) -> Observation[Any]:
        main, ranks = job.construction.main_ranks[0], job.construction.ranks
        others = [f", {LAYOUTS[rank]}" for rank in ranks if rank != main]
        if job.experiment in self.LEFT_OUT or job.experiment.endswith(tuple(others)):
            return Observation(trouble="not run", message="left out here")
        return super().observe(job)


FEW = {"main_ranks": OfMainRanks, "few_steps": OfFewSteps, "one_rank": OfOneRank}


@functools.cache
def _verified(norm: Any, options: tuple[tuple[str, Any], ...]) -> Report:
    others = dict(options)
    kind = next((FEW[name] for name in FEW if others.pop(name, False)), None)
    if kind is not None:
        observer = kind(norm, {}, "cpu", others.get("family"))
        report = drain(verify_by(observer, getattr(norm, "__name__", norm), **others))
    else:
        report = drain(verify(norm, **others))
    return dataclasses.replace(report, seconds=0.0)


@pytest.fixture(scope="session")
def report_on() -> Callable[..., Report]:
    """Return the report on a norm, or on a class of this folder, `faulty_norms.py:Class`.

    Each is verified once, in this process and under the engine eager unless told otherwise. The
    files of this folder are imported once: to compile one takes a quarter of a verification. With
    `main_ranks`, sequences and volumes are left out; with `few_steps`, what takes many steps, too;
    with `one_rank`, all ranks but one.
    """

    def report(norm: Any, **options: Any) -> Report:
        file, _, name = str(norm).partition(":")
        if file in ("faulty_norms.py", "right_norms.py"):
            norm = getattr(importlib.import_module(file.removesuffix(".py")), name)
        where = {} if FEW.keys() & options.keys() else {"isolated": False}
        options = where | {"engine": "eager"} | options
        return _verified(norm, tuple(sorted(options.items())))

    return report


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file with a class `Norm`, and return how it is named."""

    def written(text: str) -> str:
        (tmp_path / "mine.py").write_text(text)
        return f"{tmp_path}/mine.py:Norm"

    return written
