"""What a Dask cluster adds to trials: the figures on `bnrun guide cluster`.

    python .readme/cluster_overhead.py [TRIALS] [--json]     # let nothing else run; two minutes

A scheduler and two workers are started as processes of this machine, on its loopback device. The
same small trials (one epoch of 200 generated images, one thread) are trained with --jobs 2 and on
the cluster; the difference is what the cluster adds, without a network's latency.
`python .readme/renew.py --measure cluster` runs this, and puts the figures on the page.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.cluster import Cluster, TaskContext, connect
from bnrun.comparison.comparison_events import ResultSoFar, Trial, TrialEnded
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import Comparison
from bnrun.comparison.trials import run_trials
from bnrun.config import parse_override
from bnrun.runs.cluster_trials import run_on_cluster
from bnrun.runs.comparison_directory import ComparisonDirectory, create_comparison
from bnrun.runs.run_records import read_run
from bnrun.runs.trial_directory import train_trial
from bnrun.runs.trial_parcel import pack, unpack
from bnrun.training.device import device_name

FOLDERS = (Path(__file__).parent, Path(__file__).parents[1])
"""Where a worker finds this file, and bnrun."""

MANY = 10_000
LOCAL_CLUSTER = """
import time
from distributed import LocalCluster
start = time.perf_counter()
LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0").close()
print(time.perf_counter() - start)
"""
"""Starts and ends workers in processes, as Dask does by itself; prints how long it takes."""
TRIAL_SECONDS = 12
"""Of a trial in the plan of the guide: ten epochs of the default recipe, and the start."""
TRIAL_EVENTS = 25
"""Of that trial, beside a report of progress each second."""
SETTINGS = (
    "data.name=synthetic", "data.images=200", "training.epochs=1", "training.device=cpu",
    "training.engine=eager", "training.population_images=100",
)  # fmt: skip


def send(parcel: bytes, context: TaskContext) -> None:
    """Say as many things as the parcel is long; run on a worker."""
    for number in range(len(parcel)):
        context.send(event="Progress", epoch=1, step=number, loss=0.5, accuracy=0.8)


def seconds(function: Callable[[], Any]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Cluster, float]]:
    """Start a scheduler and two workers; yield a connection, and the seconds until it was there."""
    start = time.perf_counter()
    file = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        for arguments in (("scheduler", "--port", "0"), *2 * (("worker", "--nthreads", "1"),)):
            command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(file)]
            process = subprocess.Popen(
                [*command, "--no-dashboard"],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, FOLDERS))},
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            while not file.exists() and process.poll() is None:
                time.sleep(0.02)
        connection = stack.enter_context(connect(json.loads(file.read_text())["address"]))
        while sum(connection._client.nthreads().values()) < 2:
            time.sleep(0.02)
        yield connection, time.perf_counter() - start


def directory(folder: Path, trials: int) -> ComparisonDirectory:
    """Make a comparison of two arms with so many trials in all."""
    overrides = [a for text in SETTINGS for a in parse_override(text)]
    plan = make_plan(build_arms(["scratch", "builtin"], None, overrides), seeds=trials // 2)
    return create_comparison(folder, plan)


def tasks_per_second(connection: Cluster, count: int, parcel: bytes) -> float:
    """Return how many tasks a second are done, each of which says len(parcel) things."""
    tasks, done = connection.tasks(send), 0
    start = time.perf_counter()
    while done < count:
        while tasks.has_room and done + tasks.count < count:
            tasks.start(f"{done + tasks.count}-{time.monotonic_ns()}", parcel)
        before = tasks.count
        list(tasks.receive())
        done += before - tasks.count
    tasks.close()
    return count / (time.perf_counter() - start)


def trial_facts(trial: Trial) -> tuple[int, int]:
    """Return the bytes of a trial's parcel before it starts, and those of its files at the end."""
    files = [file for file in Path(str(trial.run)).rglob("*") if file.is_file()]
    there = sum(file.stat().st_size for file in files)
    moved = Path(str(trial.run)).rename(f"{trial.run}.away")
    sent = len(pack(trial, 1))
    moved.rename(str(trial.run))
    return sent, there


def result_seconds(trial: Trial, repetitions: int = 20) -> float:
    """Return how long a trial's files, as they come back, take to be written and read here."""
    path = Path(str(trial.run))
    files = {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}

    def take() -> None:
        for _ in range(repetitions):
            unpack(trial, files, "tcp://127.0.0.1:1")
            read_run(path)

    return seconds(take) / repetitions


def many(result: Comparison, ended: TrialEnded, folder: Path) -> tuple[float, int]:
    """Return the seconds that a result with `MANY` trials takes to write, and its bytes."""
    seeds = tuple(range(MANY // 2))
    trials = tuple(dataclasses.replace(ended.summary, seed=seed) for seed in seeds)
    arms = tuple(dataclasses.replace(arm, trials=trials) for arm in result.arms)
    large = dataclasses.replace(result, arms=arms, seeds=seeds)
    with directory(folder, 2) as place:
        taken = seconds(lambda: place.record(ResultSoFar(large)))
        return taken, (place.path / "summary.json").stat().st_size


def train(trials: list[Trial], connection: Cluster | None) -> tuple[float, list[TrialEnded]]:
    """Train trials on a cluster, or two at a time here; return the seconds, and how they ended."""
    ended: list[TrialEnded] = []

    def work() -> None:
        way = run_trials(trials, train_trial, 2)
        if connection is not None:
            way = run_on_cluster(trials, connection)
        ended.extend(message for message in way if isinstance(message, TrialEnded))

    return seconds(work), ended


@dataclass(frozen=True)
class Overhead:
    """What was measured. A small trial is one epoch of 200 images; `_ms` are of wall time.

    Attributes:
        local_start_s, local_cluster_s: `--cluster local --jobs 2` starts and ends; and so does
            Dask's `LocalCluster`, with two processes.
        start_s: a scheduler and two workers start.
        trial_jobs_ms, trial_cluster_ms: of a small trial, two at a time.
        tasks_per_second, events_per_second: through the scheduler, which do nothing else.
        result_ms: of the command, to write and read the files of one trial that came back.
        sent_bytes, back_bytes: of a trial on its way to a worker, and of its result.
        summary_s, summary_bytes: of `summary.json` with 10,000 trials, written.
        conditions: when, on what and with which versions.
    """

    trials: int
    local_start_s: float
    local_cluster_s: float
    start_s: float
    trial_jobs_ms: float
    trial_cluster_ms: float
    tasks_per_second: float
    events_per_second: float
    result_ms: float
    sent_bytes: int
    back_bytes: int
    summary_s: float
    summary_bytes: int
    conditions: str

    @property
    def limits(self) -> dict[str, float]:
        """Return how many workers keep each part busy, with the trials of the plan."""
        one_by_one = 1 / (1 / self.tasks_per_second + self.result_ms / 1000)
        return {
            "The command, which takes one result after another": one_by_one * TRIAL_SECONDS,
            "Events": self.events_per_second / (TRIAL_EVENTS / TRIAL_SECONDS + 1),
            "A network of 1 Gbit/s": 125e6 / (self.back_bytes / TRIAL_SECONDS),
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return the figures as the guide shows them."""
        added = self.trial_cluster_ms - self.trial_jobs_ms
        return [
            ("`--cluster local --jobs 2` starts and ends", f"{self.local_start_s:.1f} s"),
            (
                "Dask's `LocalCluster` with two processes starts and ends",
                f"{self.local_cluster_s:.1f} s",
            ),
            ("a scheduler and two workers start", f"{self.start_s:.1f} s"),
            (f"a small trial with `--jobs 2`, of {self.trials}", f"{self.trial_jobs_ms:.0f} ms"),
            (f"a small trial on two workers, of {self.trials}", f"{self.trial_cluster_ms:.0f} ms"),
            ("so the cluster adds to a trial", f"{added:.0f} ms"),
            ("tasks through the scheduler", f"{self.tasks_per_second:,.0f} a second"),
            ("events through the scheduler", f"{self.events_per_second:,.0f} a second"),
            ("so an event takes", f"{1000 / self.events_per_second:.2f} ms"),
            ("a result that came back, written and read", f"{self.result_ms:.0f} ms"),
            ("a trial on its way to a worker", f"{self.sent_bytes / 1000:.1f} kB"),
            ("a trial on its way back", f"{self.back_bytes / 1000:.0f} kB"),
            (
                f"`summary.json` of {MANY:,} trials, written",
                f"{self.summary_bytes / 1e6:.0f} MB, {self.summary_s:.1f} s",
            ),
        ]

    def to_markdown(self) -> str:
        """Return the table of the guide, and how many workers keep each part busy."""
        rows = "".join(f"| {what} | {figure} |\n" for what, figure in self.rows())
        limits = "".join(f"- {what}: {limit:,.0f}\n" for what, limit in self.limits.items())
        return (
            f"| what | measured |\n|---|---:|\n{rows}\n{self.conditions}\n\n"
            f"With trials of {TRIAL_SECONDS} s, so many workers keep each part busy:\n\n{limits}"
        )


def conditions() -> str:
    """Return when, on what and with which versions this is measured."""
    device = torch.device("cpu")
    versions = f"torch {torch.__version__}, Dask {version('dask')}"
    today = datetime.datetime.now(datetime.UTC)
    return (
        f"One run, {today:%Y-%m-%d}: {os.cpu_count()} CPUs, {device_name(device)} a trial, "
        f"loopback;\n{versions}."
    )


def measure(count: int, folder: Path) -> Overhead:
    """Start what is needed, and measure."""
    local = seconds(lambda: connect("local", 2).__exit__())
    command = [sys.executable, "-c", LOCAL_CLUSTER]
    local_cluster = float(subprocess.check_output(command, stderr=subprocess.DEVNULL))
    with (
        cluster(folder) as (connection, started),
        directory(folder / "there", count) as there,
        directory(folder / "here", count) as here,
    ):
        each = {}
        for place, where in ((here, None), (there, connection)):
            first, *others = trials = place.unfinished_trials()
            _, ended = train(trials[:4], where)  # what processes are forked from starts
            taken, _ = train(others[3:], where)
            each[where] = 1000 * taken / len(others[3:])
        rate = tasks_per_second(connection, 500, b"")
        events = 100 * tasks_per_second(connection, 50, b"x" * 100)
        sent, back = trial_facts(first)
        result = there.comparison.with_trial(ended[0].trial.arm, ended[0].summary)
        taking = result_seconds(first)
    writing, size = many(result, ended[0], folder / "many")
    return Overhead(
        len(others[3:]), local, local_cluster, started, each[None], each[connection], rate, events,
        1000 * taking, sent, back, writing, size, conditions(),
    )  # fmt: skip


def main() -> None:
    """Measure, and print the figures as Markdown, or as JSON."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers
    torch.set_num_threads(1)
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(int(arguments[0]) if arguments else 40, Path(folder))
    if "--json" not in sys.argv:
        print(found.to_markdown())
        return
    bottleneck = min(found.limits, key=lambda name: found.limits[name])
    extra = {"limits_workers": found.limits, "first_bottleneck": bottleneck}
    print(json.dumps(dataclasses.asdict(found) | extra, indent=2))


if __name__ == "__main__":
    main()
