"""Changed inputs, tried on the first norm: which change makes its moving statistics fit?

A first norm whose moving statistics do not fit its inputs has stale statistics, or other inputs
than in training. If the inputs are changed as a forgotten preprocessing would, and then fit, that
is the cause. Each trial costs a forward pass up to the first norm.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from bnrun.health.batches import Batch
from bnrun.health.evidence import Statistics, Trial, distance
from bnrun.health.norm_places import Norm, as_record
from bnrun.health.passes import Stopped, call
from bnrun.norms.population import MergedStatistics

WORTH_TRYING = 0.15
"""Distance of the first norm from which on changed inputs are tried."""
MOST_BATCHES = 4
"""Batches that each trial takes."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AS_GIVEN = "x"
"""Name of the inputs as they are, without a change."""
FITTED = "fitted: "
"""How the name of a change begins that was fitted to the statistics."""

FIT_ROUNDS = 6
"""Rounds in which a scale and a shift are fitted; each passes the batches to the first norm."""

Change = Callable[[Tensor], Tensor]


def try_inputs(model: nn.Module, norms: Sequence[Norm], batches: Sequence[Batch]) -> list[Trial]:
    """Return how the first norm fits with inputs as they are, and changed.

    There is one trial where it fits as it is; none where it keeps no moving statistics, or where
    there is another norm before it.
    """
    if not norms or norms[0].moving is None:
        return []
    chosen = [batch for batch in batches if batch.measured][:MOST_BATCHES]
    tester = _Tester(model, norms[0], chosen)
    trials = [tester.trial(AS_GIVEN, lambda x: x)]
    if not trials or trials[0].distance < WORTH_TRYING:
        return trials
    changes = dict(_changes(chosen[0]))
    trials += [tester.trial(name, change) for name, change in changes.items()]
    fitted = tester.fitted()
    if fitted is not None:
        scale, shift = fitted
        sign = "+" if shift >= 0 else "-"
        trials.append(
            tester.trial(
                f"{FITTED}x * {scale:.4g} {sign} {abs(shift):.4g}",
                functools.partial(_scaled, scale=scale, shift=shift),
            )
        )
    return [one for one in trials if math.isfinite(one.distance)]


def _changes(batch: Batch) -> Iterator[tuple[str, Change]]:
    """Yield what is often done to inputs, or forgotten, as a line of code and a function."""
    yield "x / 255", lambda x: x / 255
    yield "x * 255", lambda x: x * 255
    yield "(x - 0.5) / 0.5", lambda x: (x - 0.5) / 0.5
    yield "x * 0.5 + 0.5", lambda x: x * 0.5 + 0.5
    yield "x / 127.5 - 1", lambda x: x / 127.5 - 1
    if any(one.dim() == 4 for one in batch.tensors()):
        yield "1 - x", lambda x: 1 - x
    if any(one.dim() == 4 and one.shape[1] == 3 for one in batch.tensors()):
        yield "x.flip(1)", lambda x: x.flip(1)
        yield "(x - imagenet_mean) / imagenet_std", _standardized
        yield "(x / 255 - imagenet_mean) / imagenet_std", lambda x: _standardized(x / 255)
        yield "x * imagenet_std + imagenet_mean", _unstandardized
    if any(one.dim() == 4 and one.shape[2] == one.shape[3] for one in batch.tensors()):
        yield "x.transpose(2, 3)", lambda x: x.transpose(2, 3)


def _scaled(x: Tensor, scale: float, shift: float) -> Tensor:
    return x * scale + shift


def _standardized(x: Tensor) -> Tensor:
    mean, std = (_colours(values, x) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (x - mean) / std


def _unstandardized(x: Tensor) -> Tensor:
    mean, std = (_colours(values, x) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return x * std + mean


def _colours(values: Sequence[float], x: Tensor) -> Tensor:
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(1, 3, 1, 1)


class _Tester:
    """Measures the input of one norm with changed inputs of the network."""

    def __init__(self, model: nn.Module, norm: Norm, batches: Sequence[Batch]) -> None:
        assert norm.moving is not None
        self._model, self._norm, self._batches = model, norm, batches
        mean, var = (as_record(one) for one in norm.moving.tensors())
        self._moving = Statistics(0, mean, var)
        eps = getattr(norm.module, "eps", None)
        self._eps = eps if isinstance(eps, float) else 1e-5

    def trial(self, name: str, change: Change) -> Trial:
        """Return how far the moving statistics lie from those of changed inputs."""
        seen = self._statistics(change)
        far = math.inf
        if seen is not None:
            far = float(distance(self._moving, seen, self._eps).square().mean().sqrt())
        return Trial(name, self._norm.name, far)

    def fitted(self) -> tuple[float, float] | None:
        """Return the scale and the shift of all inputs that fit best; None where none can.

        The layers before a first norm are linear as a rule, so its mean is linear in both. Its
        variance is not where a convolution pads with zeros: the scale is corrected in a few rounds.
        """
        given, zero, one = (
            self._statistics(change) for change in (lambda x: x, torch.zeros_like, torch.ones_like)
        )
        if given is None or zero is None or one is None:
            return None
        deviation = (self._moving.var + self._eps).sqrt()
        response = (one.mean - zero.mean) / deviation
        strength = float(response.square().sum())
        scale, seen = 1.0, given
        for _ in range(FIT_ROUNDS):
            ratios = (self._moving.var / seen.var.clamp_min(1e-12)).clamp_min(0).sqrt()
            scale *= float(ratios.median())
            if strength == 0 or not math.isfinite(scale) or scale == 0:
                return None
            wanted = (self._moving.mean - zero.mean - scale * (given.mean - zero.mean)) / deviation
            shift = float((response * wanted).sum()) / strength
            after = self._statistics(functools.partial(_scaled, scale=scale, shift=shift))
            if after is None or not math.isfinite(shift):
                return None
            seen = after
        return scale, shift

    def _statistics(self, change: Change) -> Statistics | None:
        """Return the statistics of the norm's input; None where the network refuses the inputs."""
        merged = MergedStatistics()

        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            merged.add(inputs[0])
            raise Stopped

        def changed(x: Tensor) -> Tensor:
            return change(x) if x.is_floating_point() and x.dim() > 1 else x

        handle = self._norm.module.register_forward_pre_hook(hook)
        try:
            for batch in self._batches:
                with contextlib.suppress(Stopped):
                    call(self._model, batch.mapped(changed))
        except Exception:
            return None
        finally:
            handle.remove()
        if merged.count == 0 or merged.mean.shape != self._moving.mean.shape:
            return None
        return Statistics(merged.count, as_record(merged.mean), as_record(merged.var))
