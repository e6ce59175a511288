"""Checkpoints are read, and refused where they cannot be trusted; a run continues from one."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from bnrun import runs
from bnrun.config import resolve
from bnrun.errors import ConfigError, RunError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = runs.create(tmp_path / "runs", resolve(None)).path
    config = resolve(None).config.to_dict()
    state = {"format": 1, "config": config, "epochs": [], "model": {}, "attributes": {}}
    torch.save(state, path / "checkpoint.pt")
    return path


def test_a_run_that_another_process_trains_is_refused_before_it_is_read(run: Path) -> None:
    held, _ = runs.reopen(run)
    with pytest.raises(RunError, match="another process"):
        runs.reopen(run)
    with held:
        pass
    again, _ = runs.reopen(run)
    with again:
        pass


def test_a_run_without_a_finished_epoch_starts_from_the_beginning(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    assert runs.reopen(run)[1] is None


def test_a_checkpoint_that_was_removed_is_missed(run: Path) -> None:
    (run / "checkpoint.pt").unlink()
    (run / "metrics.jsonl").write_text('{"event": "epoch_ended"}\n')
    with pytest.raises(RunError, match="checkpoint.pt is missing"):
        runs.reopen(run)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_checkpoint_cut_short_is_refused_and_left_as_it_is(run: Path, part: float) -> None:
    file = run / "checkpoint.pt"
    cut = file.read_bytes()[: int(file.stat().st_size * part)]
    file.write_bytes(cut)
    with pytest.raises(RunError, match="is damaged, or not a checkpoint"):
        runs.reopen(run)
    assert file.read_bytes() == cut


class Harmful:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_cannot_run_code(run: Path, tmp_path: Path) -> None:
    torch.save({"format": 1, "x": Harmful(tmp_path / "harm")}, run / "checkpoint.pt")
    with pytest.raises(RunError, match="is damaged, or not a checkpoint"):
        runs.reopen(run)
    (run / "checkpoint.pt").write_bytes(pickle.dumps(Harmful(tmp_path / "harm")))
    with pytest.raises(RunError, match="is damaged, or not a checkpoint"):
        runs.reopen(run)
    assert not (tmp_path / "harm").exists()


def test_another_programs_checkpoint_is_refused(run: Path) -> None:
    torch.save({"state_dict": {}}, run / "checkpoint.pt")
    with pytest.raises(RunError, match="not a checkpoint of this version"):
        runs.reopen(run)


@pytest.mark.parametrize("part", ["config", "epochs", "model", "attributes"])
def test_a_checkpoint_that_lacks_a_part_is_damaged(run: Path, part: str) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save(state | {part: 3}, run / "checkpoint.pt")
    with pytest.raises(RunError, match=f"checkpoint.pt is damaged: it has no '{part}'"):
        runs.read_checkpoint(run, "last")


def test_a_damaged_checkpoint_is_not_met_with_advice_to_run_its_code(run: Path) -> None:
    (run / "checkpoint.pt").write_text("x")
    with pytest.raises(RunError) as refused:
        runs.read_checkpoint(run, "last")
    assert "weights_only" not in str(refused.value)


def test_a_checkpoint_of_another_config_is_refused_and_the_keys_named(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("lr: 1.0", "lr: 0.5"))
    with pytest.raises(RunError, match=r"is from another config: optimizer.lr differs"):
        runs.reopen(run)


def test_a_damaged_config_is_refused(run: Path) -> None:
    (run / "config.yaml").write_text("model: {norms: scratch}")
    with pytest.raises(ConfigError, match="Did you mean 'norm'"):
        runs.reopen(run)


def test_a_checkpoint_from_before_a_key_was_known_fits_its_default(run: Path) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["config"]["training"]["population_images"]
    torch.save(state, run / "checkpoint.pt")
    assert runs.reopen(run)[1] is not None


def _keep(run: Path, name: str, epochs: int) -> None:
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    torch.save(state | {"epochs": [{"epoch": n + 1} for n in range(epochs)]}, run / name)


def test_a_checkpoint_is_read_by_its_epoch(run: Path) -> None:
    for number in (2, 4):
        _keep(run, f"checkpoint-epoch-{number}.pt", number)
    _keep(run, "checkpoint-population.pt", 5)
    _keep(run, "checkpoint.pt", 5)
    for which, epochs in (("2", 2), ("4", 4), ("last", 5), ("5", 5), ("population", 5)):
        assert len(runs.read_checkpoint(run, which)["epochs"]) == epochs
    with pytest.raises(RunError, match=r"has no checkpoint '3'. It has: 2, 4, 5, last, popul"):
        runs.read_checkpoint(run, "3")


def test_no_path_leads_out_of_the_run(run: Path) -> None:
    with pytest.raises(RunError, match="has no checkpoint '../x'"):
        runs.read_checkpoint(run, "../x")
