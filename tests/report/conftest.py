"""Results that are made by hand, and the page of all of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from bnrun import runs
from bnrun.config import resolve
from bnrun.events import DataUsed, EpochEnded, Probed, RunEnded, RunStarted, drain
from bnrun.report.page import build_page
from bnrun.runs.kept_results import newest_results
from bnrun.runs.study_directory import create_study
from bnrun.studies.claim import Evidence
from bnrun.studies.registry import find_study
from bnrun.studies.study import Measured, plan

STUDY = "20260101T000000Z-study-converge"
RUN = "20260102T000000Z-lenet_bn-scratch-s0"
EVIL = "norms.py:<script>alert(1)</script>"
DATA = DataUsed("synthetic", "generated", None, 600, 0, 200)
EVIDENCE = {
    "C2": Evidence({
        "sigmoid, moving statistics": [0.0, 0.05, 0.1],
        "sigmoid, population statistics": [0.09, 0.1, 0.11],
        "relu, each at its best rate, population": [0.0, 0.01, float("inf")],
    }, "A remark with <b>tags</b>."),
    "C6": Evidence({"a tenth or more": [0.2, 0.21, 0.22]}, curves={
        "no norm": [(float(step), step / 1000) for step in range(0, 800, 20)],
        "batch norm": [(0.0, 0.0), (780.0, 0.1)],
    }),
}  # fmt: skip
VERIFICATION: dict[str, Any] = {
    "implementation": EVIL, "family": "batch", "verdict": "fail", "contract": "torch",
    "device": "cpu", "seconds": 1.5, "dialects": [], "remarks": [],
    "faults": [{"name": "biased", "fault": "A fault.", "seen": "y is 1", "fix": "Mend it."}],
    "checks": [{"name": "forward", "group": "mathematics", "engine": "eager", "status": "fail",
                "max_error": 0.1, "message": ""}],
}  # fmt: skip
AUDIT: dict[str, Any] = {
    "network": "resnet.py:build", "verdict": "ill",
    "norms": [{"name": "bn1", "kind": "BatchNorm2d", "channels": 4, "momentum": 0.1}],
    "findings": [{"id": "never-updated", "severity": "error", "layers": ["bn1"],
                  "evidence": "mean 0, variance 1", "message": "It saw no data.", "fix": "Train."}],
    "outputs": {"distances": {"moving": 0.5}},
}  # fmt: skip


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, a run with probes, a verification and an audit."""
    out = tmp_path_factory.mktemp("kept") / "runs"
    with create_study(out, plan(find_study("converge"), "quick", "a machine")) as directory:
        for id_, one in EVIDENCE.items():
            directory.record(Measured(id_, one, 1.0))
    directory.path.rename(out / STUDY)
    run = runs.create(out, resolve(None, []))
    with run:
        run.record(RunStarted("scratch", "cpu", "a machine", 0, 1, 3, DATA))
        run.record(Probed("gradients", 0, {"fc1": {"rms": 0.5, "ratio": 0.25}}))
        run.record(EpochEnded(1, 0.5, 0.8, 0.7, None, 9_000.0, 11_000.0, 1.5, 0.75))
        run.record(RunEnded("completed", 10_000.0, 12_000.0))
    run.path.rename(out / RUN)
    (out / "verification.json").write_text(json.dumps(VERIFICATION))
    (out / "audit.json").write_text(json.dumps(AUDIT))
    (out / "other.json").write_text("{}")
    return out


@pytest.fixture(scope="session")
def page(out: Path) -> str:
    """The page of all of it."""
    return drain(build_page(newest_results(out)))
