"""Several processes train the network that one process trains."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from process_jobs import Trainings, config_of, few_images

from bnrun.benchmark.team import Team, started_teams
from bnrun.errors import ConfigError, ProcessError
from bnrun.norms.population import MergedStatistics
from bnrun.processes import Launch, Processes, launched
from bnrun.training.norm_batch import check_shares
from bnrun.training.norm_statistics import norm_statistics
from bnrun.training.stepper import Stepper

pytestmark = pytest.mark.process

CPU = torch.device("cpu")
LOCAL = "training.norm_statistics=local"

OWN_NORM = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, channels, dims):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(channels))
        self.register_buffer("kept", torch.zeros(channels))

    def forward(self, x):
        mean = x.transpose(0, 1).flatten(1).mean(1).detach()
        self.kept.copy_(mean)
        return x - mean.view(1, -1, *[1] * (x.dim() - 2))
"""


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """Four processes, which all tests here share: the start is what takes time."""
    four = Team("the processes", 4, Trainings, ())
    with started_teams([four]):
        yield four


def _alike(found: Any, expected: Any) -> None:
    for part in ("losses", "counts", "state"):
        torch.testing.assert_close(found[part], expected[part], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_synchronized_processes_compute_what_one_computes(team: Team, pool: str) -> None:
    """An epoch; the last batch is uneven, and with four processes two shares of it are empty."""
    overrides = (f"model.pool={pool}",)
    expected = team.ask("train", 1, overrides)[0]
    for size in (2, 3, 4):
        for found in team.ask("train", size, overrides)[:size]:
            _alike(found, expected)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_norms_over_each_example_need_no_others(team: Team, norm: str) -> None:
    overrides = (f"model.norm={norm}",)
    expected = team.ask("train", 1, overrides)[0]
    for found in team.ask("train", 4, overrides):
        _alike(found, expected)


@pytest.mark.parametrize(
    ("norm", "pool", "size"),
    [("scratch", "avg", 2), ("scratch", "max", 4), ("textbook", "avg", 4)],
)
def test_local_statistics_are_ghost_batch_normalization(
    team: Team, norm: str, pool: str, size: int
) -> None:
    """With pieces of a batch over the processes; the moving statistics are other ones."""
    overrides = (f"model.norm={norm}", f"model.pool={pool}", LOCAL)
    ghost = team.ask("train", 1, (*overrides, f"training.norm_batch={32 // size}"))[0]
    for found in team.ask("train", size, overrides)[:size]:
        for part in ("losses", "counts"):
            torch.testing.assert_close(found[part], ghost[part], rtol=1e-10, atol=1e-10)


def test_local_moving_statistics_move_by_the_mean_of_the_shares(team: Team) -> None:
    """A batch of 100: three processes have 34, 34 and 32 images of it."""
    overrides = (LOCAL, "training.batch_size=100")
    found = [one["state"] for one in team.ask("train", 3, overrides, 1)[:3]]
    stepper = Stepper(config_of(*overrides), few_images().train, dtype=torch.float64)
    with stepper.computing():
        stepper.fetch()
        outputs = stepper.model.conv1(stepper._look_up()[0]).detach()
    parts = outputs.split(34)
    mean = outputs.mean((0, 2, 3))
    var = sum(len(part) / 100 * part.var((0, 2, 3)) for part in parts)
    for one in found:
        torch.testing.assert_close(one["norm1.running_mean"], 0.1 * mean)
        torch.testing.assert_close(one["norm1.running_var"], 0.9 + 0.1 * var)
        assert all(torch.equal(one[name], found[0][name]) for name in one)


def test_what_else_a_norm_keeps_is_that_of_the_first_process(team: Team, tmp_path: Path) -> None:
    """And weight decay skips a parameter that no process uses, as it does in one process."""
    (tmp_path / "own.py").write_text(OWN_NORM)
    decay = "optimizer={lr: 0.1, momentum: 0.9, weight_decay: 0.1}"
    found = team.ask("train", 2, (f"model.norm={tmp_path}/own.py:Own", LOCAL, decay))[:2]
    first, other = (one["state"] for one in found)
    assert all(torch.equal(other[name], value) for name, value in first.items())
    assert (first["norm1.unused"] == 1).all()


def test_a_run_continues_with_another_number_of_processes(team: Team) -> None:
    expected = team.ask("resume", (1, 1, 1), ())[0]
    _alike(team.ask("resume", (2, 3, 1), ())[0], expected)


def test_evaluation_and_population_statistics_are_shared_out_and_exact(team: Team) -> None:
    one = team.ask("evaluate", 1, ())[0]
    for found in team.ask("evaluate", 3, ())[:3]:
        state, expected = found.pop("state"), dict(one)
        torch.testing.assert_close(state, expected.pop("state"), rtol=1e-6, atol=1e-6)
        assert found == expected


def test_kernels_compute_the_layers_and_no_step_is_one_call(team: Team, compilable: None) -> None:
    one, *_ = team.ask("train", 1, (), 4, "compiled", "float32")
    two, *_ = team.ask("train", 2, (), 4, "compiled", "float32")
    assert one["in_one_call"]
    assert not two["in_one_call"]
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-3, atol=1e-3)


def test_merged_statistics_of_one_process_are_its_own() -> None:
    merged = MergedStatistics()
    merged.add(torch.arange(6.0).view(3, 2))
    merged.add_others(Processes(), 2)
    torch.testing.assert_close(merged.mean, torch.tensor([2.0, 3.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("norm", "kind"), [("scratch", "synced"), ("noisy", "synced"), ("group", ""), ("dyt", "")]
)
def test_norms_are_synchronized_where_they_depend_on_the_batch(norm: str, kind: str) -> None:
    assert norm_statistics(config_of(f"model.norm={norm}"), Processes(0, 2), CPU).kind == kind


@pytest.mark.parametrize("norm", ["l1", "textbook", "renorm"])
def test_a_norm_without_a_synchronized_form_is_local_and_says_so(norm: str) -> None:
    found = norm_statistics(config_of(f"model.norm={norm}"), Processes(0, 2), CPU)
    assert found.kind == "local"
    assert f"norm '{norm}' has no synchronized form" in found.notice
    assert (
        norm_statistics(config_of(f"model.norm={norm}", LOCAL), Processes(0, 2), CPU).notice == ""
    )


def test_pytorchs_norm_on_a_cpu_says_what_to_do() -> None:
    with pytest.raises(ConfigError) as error:
        norm_statistics(config_of("model.norm=builtin"), Processes(0, 2), CPU)
    assert str(error.value) == (
        "training.norm_statistics: received 'synced' for norm 'builtin', which PyTorch "
        "synchronizes on CUDA alone. Fix: --norm scratch, the same function, on any device; or "
        "--set training.norm_statistics=local"
    )


def test_pieces_of_a_batch_are_not_synchronized() -> None:
    with pytest.raises(ConfigError, match="Fix: --set training.norm_statistics=local"):
        norm_statistics(config_of("training.norm_batch=8"), Processes(0, 2), CPU)


def test_a_share_of_one_example_is_refused_before_training() -> None:
    config = config_of("training.batch_size=33", LOCAL)  # the last batch: 3 = 2 * 1 + 1 ...
    with pytest.raises(ConfigError, match=r"received 33, which .*Fix: --set training.batch_size="):
        check_shares(config, 33 + 18, Processes(0, 2))
    check_shares(config_of("training.batch_size=32", LOCAL), 300, Processes(0, 2))


def test_shares_are_consecutive_and_leave_no_image_out() -> None:
    for size in (1, 2, 3, 4, 7):
        for count in (32, 12, 3, 0):
            shares = [Processes(rank, size).share(count, 32) for rank in range(size)]
            assert [i for one in shares for i in range(count)[one]] == list(range(count))


def test_the_launcher_says_which_process_this_is() -> None:
    environment = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "here",
    }
    assert launched(environment) == Launch(3, 4, 1, 2)
    assert launched({}) is None
    assert launched(environment | {"WORLD_SIZE": "1"}) is None
    with pytest.raises(ProcessError, match="RANK, LOCAL_RANK"):
        launched({"WORLD_SIZE": "2"})
    with pytest.raises(ProcessError, match="RANK=one"):
        launched(environment | {"RANK": "one"})
