"""A step is timed stage by stage, and its work is counted stage by stage."""

from bnrun.benchmark import step_stages
from bnrun.benchmark.step_stages import STAGE_FLOPS, prepare_step
from bnrun.networks.lenet import flops


def test_the_work_of_all_stages_is_that_of_a_step() -> None:
    assert sum(STAGE_FLOPS.values()) == flops()


def test_every_stage_is_timed(compilable: None, monkeypatch) -> None:
    monkeypatch.setattr(step_stages, "STEPS", 2)
    seconds = prepare_step(20)(None)
    assert seconds.keys() == STAGE_FLOPS.keys()
    assert min(seconds.values()) > 0
