"""Trials on workers that are killed, under a scheduler that goes away."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from dask_worker import serve

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.cluster import Cluster, connect
from bnrun.comparison.comparison_events import Trial, TrialEnded, TrialEvent
from bnrun.comparison.plan import make_plan
from bnrun.config import parse_override
from bnrun.errors import TrainingFailed
from bnrun.events import Notice, RunStarted, drain
from bnrun.runs.cluster_trials import run_on_cluster
from bnrun.runs.comparison_directory import create_comparison, reopen_comparison
from bnrun.runs.trial_directory import train_trial
from bnrun.workers import process_context, start_ignoring_sigint

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install '.[cluster]'")
pytestmark = pytest.mark.process

WAITING = """
import time
from pathlib import Path
from torch import nn

class Waiting(nn.Identity):
    def forward(self, X):
        while not Path({go!r}).exists():
            time.sleep(0.02)
        return X / 2
"""


@pytest.fixture(scope="module")
def workers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Any, Cluster, dict[str, BaseProcess]]]:
    """A scheduler in this process, a connection to it, and two workers in processes of theirs."""
    own = distributed.LocalCluster(
        n_workers=0,
        processes=False,
        protocol="tcp://",
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
    )
    address, context = own.scheduler_address, process_context()
    processes = {
        name: context.Process(
            target=serve, args=(address, name, str(tmp_path_factory.mktemp(name)))
        )
        for name in ("one", "other")
    }
    for process in processes.values():
        start_ignoring_sigint(process)
    try:
        with connect(address) as cluster:
            yield own, cluster, processes
    finally:
        own.close()
        for process in processes.values():
            process.kill()
            process.join()


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Fail a test that waits forever: where no worker is left, a comparison waits for a new one."""

    def fail(*_: object) -> None:
        pytest.fail("it waited for two minutes")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def trials_in(tmp_path: Path, idx_root: Path) -> Callable[[str], list[Trial]]:
    """Make the trials of a new comparison; those of the second arm wait until `go` is there."""
    (tmp_path / "mine.py").write_text(WAITING.format(go=str(tmp_path / "go")))
    settings = [
        f"data.root={idx_root}", "training.device=cpu", "training.batch_size=100",
        "training.epochs=1", "training.engine=eager", "training.population_images=50",
    ]  # fmt: skip
    overrides = [a for text in settings for a in parse_override(text)]

    def make(out: str) -> list[Trial]:
        arms = build_arms(["none", f"mine={tmp_path / 'mine.py'}:Waiting"], None, overrides)
        with create_comparison(tmp_path / out, make_plan(arms, seeds=1)) as directory:
            return directory.unfinished_trials()

    return make


def test_a_trial_whose_worker_is_killed_is_trained_on_another_one(
    workers: tuple[Any, Cluster, dict[str, BaseProcess]],
    trials_in: Callable[[str], list[Trial]],
    tmp_path: Path,
) -> None:
    own, cluster, processes = workers
    ended, notices = {}, []
    for message in run_on_cluster(trials_in("there"), cluster):
        match message:
            case TrialEvent(trial=Trial(arm="mine"), event=RunStarted()) if not notices:
                (name,) = (
                    worker.name
                    for worker in own.scheduler.workers.values()
                    if any(task.key.startswith("mine-s0") for task in worker.processing)
                )
                os.kill(int(processes[name].pid or 0), signal.SIGKILL)
                (tmp_path / "go").touch()
            case TrialEvent(event=Notice(message=notice)):
                notices.append(notice)
            case TrialEnded():
                ended[message.trial.name] = message.summary
    (notice,) = notices
    assert re.fullmatch(r"worker tcp://\S+ was lost; the trial starts again on tcp://\S+", notice)
    for trial in trials_in("here"):
        here = drain(train_trial(trial))
        assert ended[trial.name].status == "completed"
        assert ended[trial.name].epochs[-1].loss == here.epochs[-1].loss
        assert ended[trial.name].epochs[-1].test_acc == here.epochs[-1].test_acc


def test_without_its_scheduler_a_comparison_says_how_it_goes_on(
    workers: tuple[Any, Cluster, dict[str, BaseProcess]], trials_in: Callable[[str], list[Trial]]
) -> None:
    own, cluster, _ = workers
    trials = trials_in("there")
    with pytest.raises(TrainingFailed) as error:
        for message in run_on_cluster(trials, cluster):
            if isinstance(message, TrialEnded):  # the other one waits
                own.close()
    (path,) = {Path(str(trial.run)).parents[1] for trial in trials}
    assert str(error.value) == (
        f"the connection to the scheduler at {cluster.address} is lost, and with it 1 trial that "
        "was not done. What came back before is kept.\n"
        f"Continue with:\nbnrun compare --resume {path} --cluster {cluster.address}"
    )
    with reopen_comparison(path) as directory:
        assert [trial.name for trial in directory.unfinished_trials()] == ["mine-s0"]
