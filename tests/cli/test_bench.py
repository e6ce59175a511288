"""`bnrun bench`, as a real process."""

import json
import subprocess
from collections.abc import Callable, Iterator
from unittest.mock import ANY

import pytest
from commands import FEW_IMAGES
from recorded import kernels

from bnrun import workers
from bnrun.benchmark import kernel_timings
from bnrun.events import Stage

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_json_is_one_document_with_every_arm(bnrun: Run) -> None:
    done = bnrun(
        *("bench", "--arms", "loop:1 scratch", "--rounds", "1", "--steps", "2", "--json"),
        *("--set", "data.name=synthetic", "--set", "training.batch_size=10", "--device", "cpu"),
        *("--set", "training.engine=eager"),
        before="from bnrun.benchmark import run_benchmark; run_benchmark.PHASE_STEPS = 3",
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [arm["name"] for arm in document["arms"]] == ["loop-1", "scratch"]
    for arm in document["arms"]:
        assert 0 < arm["examples_per_second"] <= arm["compute_examples_per_second"]
        assert arm["spread"][0] <= arm["ratio"] <= arm["spread"][1]
        assert arm["phases"].keys() == {"data", "forward", "backward", "optimizer"}
        assert arm["peak_memory"] > 1e7
        assert 0 < arm["share_of_peak"] < 1
        assert arm["phase_shares"].keys() == {"forward", "backward"}
    assert document["baseline"] == "loop-1"
    assert document["noise"]["name"] == "scratch"
    assert document["kernels"] is None  # no arm is compiled


def test_a_speedrun_is_a_document_too(bnrun: Run) -> None:
    done = bnrun(
        *("bench", "--speedrun", "2", "--set", "data.name=synthetic", "--device", "cpu"),
        *("--set", "training.epochs=1", "--set", "optimizer.lr=0.1", "--json"),
        before=FEW_IMAGES,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [trial["seed"] for trial in document["trials"]] == [0, 1]
    assert document["test_acc"]["n"] == 2
    low, high = document["test_acc"]["ci95"]
    assert low <= document["test_acc"]["mean"] <= high


@pytest.mark.parametrize(
    ("arguments", "timed"),
    [
        (["--rounds", "2"], (256, 2)),
        (["--set", "training.batch_size=64", "--device", "cpu"], (64, 10)),
    ],
)
def test_kernels_are_timed_in_the_batches_of_the_config(
    bnrun_here: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], timed: tuple[int, int]
) -> None:
    def bench_kernels(batch_size: int, rounds: int) -> Iterator[Stage]:
        assert (batch_size, rounds) == timed
        yield Stage("timing conv1", 0, 1)
        return kernels()

    monkeypatch.setattr(kernel_timings, "bench_kernels", bench_kernels)
    monkeypatch.setattr(workers, "start_server", lambda: None)
    done = bnrun_here("bench", "--kernels", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["kernels"][0]["forward"].keys() >= {"seconds", "rate", "ratio", "spread"}
    assert document["build"]["features"]
    assert (document["slower"], document["peak_gflops"]) == (list(kernels().slower()), ANY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "loop:x"], "loop:N"),
        (["--arms", "scrach"], "Did you mean 'scratch'?"),
        (["--speedrun", "2", "--arms", "scratch"], "takes no --arms"),
        (["--speedrun", "2", "--steps", "3"], "takes no --arms, --steps or --rounds"),
        (["--kernels", "--steps", "3"], "--kernels: this measures no arms, so it takes no --arms"),
        (["--auto", "3", "--rounds", "3"], "--auto: this measures no arms"),
        (
            ["--kernels", "--set", "training.batch_size=1"],
            "training.batch_size: received 1; a norm",
        ),
        (["--kernels", "--auto", "3"], "something else than --auto"),
        (["--kernels", "--device", "mps"], "--device: received 'mps', and the kernels are for"),
        (["--kernels", "--set", "model.pool=max"], "model.pool: bench --kernels times the kernels"),
        (["--auto", "2", "--set", "training.engine=eager"], "training.engine: received 'eager'"),
        (["--processes", "1,two"], "--processes: received '1,two'; these must be different"),
        (["--processes", "2,2"], "different whole numbers, 1 to 64, such as 1,2,4"),
        (["--processes", "0"], "--processes: received '0'"),
        (["--processes", "1,2", "--arms", "scratch"], "--processes: this measures no arms"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--set", "training.engine=quick"], "training.engine"),
    ],
)
def test_bad_input_is_refused_at_once(bnrun_here: Run, arguments: list[str], message: str) -> None:
    done = bnrun_here("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
