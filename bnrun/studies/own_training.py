"""Trainings that no config describes: they leave their network in memory, and nothing on disk."""

from collections.abc import Callable

from bnrun.training.stepper import Phase, Stepper, ignore_phase


def take_steps(stepper: Stepper, steps: int, change: Callable[[], None] | None = None) -> None:
    """Take training steps.

    Args:
        stepper: of the training.
        steps: how many.
        change: called after each backward pass; it may change the gradients.
    """

    def on_phase(phase: Phase) -> None:
        if phase == "backward" and change is not None:
            change()

    with stepper.computing():
        for _ in range(steps):
            stepper.fetch()
            stepper.take(ignore_phase if change is None else on_phase)
