import pytest
import torch

from bnrun.training.schedule import learning_rate


@pytest.mark.parametrize("steps", [10, 235, 940])
def test_one_cycle_is_the_curve_of_torch(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.7, total_steps=steps, cycle_momentum=False
    )
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate("one-cycle", 0.7, step, steps) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            reference.step()


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_one_cycle_of_a_few_steps_stays_positive_and_below_the_peak(steps: int) -> None:
    rates = [learning_rate("one-cycle", 2.0, step, steps) for step in range(steps)]
    assert all(0 < rate <= 2.0 for rate in rates)


def test_constant_is_the_peak_throughout() -> None:
    assert {learning_rate("constant", 0.5, step, 9) for step in range(9)} == {0.5}
