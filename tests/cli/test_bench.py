"""`bnrun bench`, as a real process."""

import json
import subprocess
from collections.abc import Callable

import pytest
from commands import FEW_IMAGES

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_json_is_one_document_with_every_arm(bnrun: Run) -> None:
    done = bnrun(
        *("bench", "--arms", "loop:1 scratch", "--rounds", "1", "--steps", "2", "--json"),
        *("--set", "data.name=synthetic", "--set", "training.batch_size=10", "--device", "cpu"),
        *("--set", "training.engine=eager"),
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
    assert document["baseline"] == "loop-1"
    assert document["noise"]["name"] == "scratch"


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
    ("arguments", "message"),
    [
        (["--arms", "loop:x"], "loop:N"),
        (["--arms", "scrach"], "Did you mean 'scratch'?"),
        (["--speedrun", "2", "--arms", "scratch"], "takes no --arms"),
        (["--speedrun", "2", "--steps", "3"], "takes no --arms, --steps or --rounds"),
        (["--kernels", "--steps", "3"], "--kernels: this measures no arms, so it takes no --arms"),
        (["--auto", "3", "--rounds", "3"], "--auto: this measures no arms"),
        (["--kernels", "--auto", "3"], "something else than --auto"),
        (["--kernels", "--device", "mps"], "--device: received 'mps', and the kernels are for"),
        (["--config", "none.yaml"], "none.yaml"),
        (["--set", "training.engine=quick"], "training.engine"),
    ],
)
def test_bad_input_is_refused_at_once(bnrun_here: Run, arguments: list[str], message: str) -> None:
    done = bnrun_here("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
