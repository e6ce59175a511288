"""The learning rate as a function of the step: nothing to save, nothing to resume."""

import math

WARM_UP_FRACTION = 0.3  # of the run, while the rate climbs
START_DIVISOR = 25  # it starts at peak / 25
END_DIVISOR = 250_000  # and ends at peak / 250,000


def learning_rate(schedule: str, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0 over all `steps` of the run.

    `constant` is the peak throughout. `one-cycle` climbs to the peak over the first 30 % of the
    run and falls to almost nothing over the rest, along half cosines (Smith & Topin 2018,
    "Super-Convergence", section 3); the same curve as `torch.optim.lr_scheduler.OneCycleLR`.
    """
    if schedule == "constant":
        return peak
    top = WARM_UP_FRACTION * steps - 1
    if step <= top:
        return _half_cosine(peak / START_DIVISOR, peak, step / top)
    return _half_cosine(peak, peak / END_DIVISOR, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
