"""What a Dask cluster adds to trials: the figures on `bnrun guide cluster`.

    python .readme/cluster_overhead.py [TRIALS]     # let nothing else run; some minutes

A scheduler and two workers are started as processes of this machine, on its loopback device. The
same small trials (one epoch of 200 generated images, one thread) are trained with --jobs 2 and on
the cluster; the difference is what the cluster adds, without a network's latency.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.cluster import Cluster, TaskContext, connect
from bnrun.comparison.comparison_events import ResultSoFar, Trial, TrialEnded
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import Comparison
from bnrun.comparison.trials import run_trials
from bnrun.config import parse_override
from bnrun.runs.cluster_trials import run_on_cluster
from bnrun.runs.comparison_directory import ComparisonDirectory, create_comparison
from bnrun.runs.trial_directory import train_trial
from bnrun.runs.trial_parcel import pack

FOLDERS = (Path(__file__).parent, Path(__file__).parents[1])
"""Where a worker finds this file, and bnrun."""

MANY = 10_000
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


def many(result: Comparison, ended: TrialEnded, folder: Path) -> tuple[float, float]:
    """Return the seconds that a result with `MANY` trials takes to write, and its megabytes."""
    seeds = tuple(range(MANY // 2))
    trials = tuple(dataclasses.replace(ended.summary, seed=seed) for seed in seeds)
    arms = tuple(dataclasses.replace(arm, trials=trials) for arm in result.arms)
    large = dataclasses.replace(result, arms=arms, seeds=seeds)
    with directory(folder, 2) as place:
        taken = seconds(lambda: place.record(ResultSoFar(large)))
        return taken, (place.path / "summary.json").stat().st_size / 1e6


def train(trials: list[Trial], connection: Cluster | None) -> tuple[float, list[TrialEnded]]:
    """Train trials on a cluster, or two at a time here; return the seconds, and how they ended."""
    ended: list[TrialEnded] = []

    def work() -> None:
        way = run_trials(trials, train_trial, 2)
        if connection is not None:
            way = run_on_cluster(trials, connection)
        ended.extend(message for message in way if isinstance(message, TrialEnded))

    return seconds(work), ended


def main() -> None:
    """Measure, and print the figures as a Markdown table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    rows = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        local = seconds(lambda: connect("local", 2).__exit__())
        rows.append(("`--cluster local --jobs 2` starts and ends", f"{local:.1f} s"))
        with (
            cluster(folder) as (connection, started),
            directory(folder / "there", count) as there,
            directory(folder / "here", count) as here,
        ):
            rows.append(("a scheduler and two workers start", f"{started:.1f} s"))
            for way, place, where in (
                ("with `--jobs 2`", here, None),
                ("on two workers", there, connection),
            ):
                first, *others = here_or_there = place.unfinished_trials()
                _, ended = train(here_or_there[:4], where)  # what processes are forked from starts
                taken, _ = train(others[3:], where)
                each = 1000 * taken / len(others[3:])
                rows.append((f"a small trial {way}, of {len(others[3:])}", f"{each:.0f} ms"))
            rate = tasks_per_second(connection, 500, b"")
            events = 100 * tasks_per_second(connection, 50, b"x" * 100)
            sent, back = trial_facts(first)
            result = there.comparison.with_trial(ended[0].trial.arm, ended[0].summary)
        rows += [
            ("tasks through the scheduler", f"{rate:,.0f} a second"),
            ("events through the scheduler", f"{events:,.0f} a second"),
            ("a trial on its way to a worker", f"{sent / 1000:.1f} kB"),
            ("a trial on its way back", f"{back / 1000:.0f} kB"),
        ]
        writing, megabytes = many(result, ended[0], folder / "many")
        size = f"{megabytes:.0f} MB, {writing:.1f} s"
        rows.append((f"`summary.json` of {MANY:,} trials, written", size))
    print("| what | measured |\n|---|---:|")
    for what, figure in rows:
        print(f"| {what} | {figure} |")
    print(f"\n{os.cpu_count()} CPUs, loopback, one thread a trial")


if __name__ == "__main__":
    main()
