"""Experiments on what a norm's class offers, and on what it refuses."""

import contextlib
from typing import Any

from torch import Tensor

from bnrun.verification.observe.experiment import Experiment, Values, describe
from bnrun.verification.situations import CHANNELS, plain, sequence, situation
from bnrun.verification.subject import EPS_NAMES, NotOffered, Subject

OTHER_EPS = 0.5  # values to build with, far from the usual ones
OTHER_MOMENTUM = 0.3


def _offers(subject: Subject) -> Values:
    """What the class has; what is missing is not looked for any further."""
    layer = subject.build(subject.rank)
    stated = next((getattr(layer.module, name, None) for name in EPS_NAMES), None)
    return {
        "gamma": layer.gamma is not None,
        "beta": layer.beta is not None,
        "moving": layer.moving is not None,
        "asks_rank": subject.asks_rank,
        "eps": float(stated) if isinstance(stated, int | float) else None,
    }


def _other_eps(subject: Subject) -> Values:
    name = subject.argument(*EPS_NAMES)
    made = plain(subject.rank, subject.dtype)
    values = subject.build(subject.rank, made).run(made, training=True, grad=True)
    options: dict[str, Any] = {name: OTHER_EPS}
    other = subject.build(subject.rank, made, **options)
    return {"default": values["y"], "y": other.run(made, training=True, grad=True)["y"]}


def _other_momentum(subject: Subject) -> Values:
    subject.argument("momentum")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, momentum=OTHER_MOMENTUM)
    return layer.run(made, training=True, grad=True)


def _momentum_none(subject: Subject) -> Values:
    """With momentum=None PyTorch averages over all batches alike."""
    subject.argument("momentum")
    steps = sequence(subject.rank, subject.dtype)
    try:
        layer = subject.build(subject.rank, steps[0], momentum=None)
        for step in steps:
            layer.forward(layer.to_own(step.x), training=True, grad=True)
    except Exception as error:
        said = type(error).__name__
        raise NotOffered(f"the class takes no momentum=None ({said})") from error
    return dict(layer.moving_values())


def _affine_false(subject: Subject) -> Values:
    subject.argument("affine")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, affine=False)
    learns = [name for name, p in layer.module.named_parameters() if p.requires_grad]
    return {"learns": learns, **layer.run(made, training=True, grad=True)}


def _track_false(subject: Subject) -> Values:
    subject.argument("track_running_stats")
    made = plain(subject.rank, subject.dtype)
    layer = subject.build(subject.rank, made, track_running_stats=False)
    return layer.run(made, training=False, grad=False)


def _one_value(subject: Subject) -> Values:
    """Train on a single value per channel, whose variance is 0 whatever the value."""
    values: Values = {}
    for rank in subject.main_ranks:
        shape = (1, CHANNELS, *[1] * (rank - 2))
        made = situation(shape, subject.dtype)
        try:
            seen = subject.build(rank, made).run(made, training=True, grad=True)
        except Exception as error:
            values[repr(shape)] = describe(error)
        else:
            values[repr(shape)] = {
                "y": seen["y"],
                "finite": _finite(seen["y"]),
                "moving_finite": all(_finite(seen[k]) for k in seen if k.startswith("moving")),
            }
    return values


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


def _wrong_channels(subject: Subject) -> Values:
    """Give it an input of more, and of fewer, channels than it was built for."""
    accepted: list[str] = []
    for rank in subject.main_ranks:
        for channels in (CHANNELS - 1, CHANNELS + 2):
            made = plain(rank, subject.dtype)
            shape = (made.x.shape[0], channels, *made.x.shape[2:])
            for training in (True, False):
                layer = subject.build(rank, made)
                x = situation(shape, subject.dtype).x
                with contextlib.suppress(Exception):
                    layer.forward(layer.to_own(x), training=training, grad=training)
                    accepted.append(f"{shape} {'in training' if training else 'when predicting'}")
    return {"accepted": accepted}


OFFERED: dict[str, Experiment] = {
    "offers": _offers,
    "eps": _other_eps,
    "momentum": _other_momentum,
    "momentum none": _momentum_none,
    "affine": _affine_false,
    "track": _track_false,
    "one value": _one_value,
    "channels": _wrong_channels,
}
