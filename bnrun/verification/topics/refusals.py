"""Inputs that a layer should refuse: one value per channel, and another number of channels."""

import contextlib
from dataclasses import dataclass

from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import OF_BATCH, Fault
from bnrun.verification.formula.spread import SPREAD
from bnrun.verification.outcome import IDENTITY, Outcome, failed, passed, skipped
from bnrun.verification.situations import CHANNELS, make_situation, plain
from bnrun.verification.subject import Record, Subject
from bnrun.verification.topics.registration import registration

_REFUSE = "Raise a ValueError in training when x.numel() == x.shape[1]."
# fmt: off
ONE_VALUE_ACCEPTED = Fault(
    "one-value-accepted",
    "One value per channel is accepted in training, though its variance is 0 whatever the value: "
    "the output is beta.",
    "Raise a ValueError, as PyTorch does: a batch of one image is hardly intended.",
    "Flax, Keras and the textbook",
    families=OF_BATCH)
ONE_VALUE_NOT_FINITE = Fault(
    "one-value-not-finite",
    "One value per channel in training gives NaN or infinity, without an error.",
    _REFUSE,
    families=OF_BATCH)
ONE_VALUE_POISONS = Fault(
    "one-value-poisons",
    "One value per channel in training turns the moving variance into NaN or infinity for good: "
    "n/(n - 1) divides by 0.",
    _REFUSE,
    families=OF_BATCH)
WRONG_CHANNELS = Fault(
    "wrong-channels-accepted",
    "An input with another number of channels than the layer was built for is accepted.",
    "Give gamma, beta and all else that has a value by channel that length, or check the number of "
    "channels of x.")
# fmt: on

UNUSED = ("affine-unused", "gamma-unused")
"""Mistakes in which nothing that has a value by channel is used."""


@dataclass(frozen=True)
class OneValue(Record):
    """Whether output and moving statistics stayed finite, for each rank that was accepted."""

    finite: list[bool]
    moving_finite: list[bool]


ONE_EXAMPLE = f"a batch of 1 example with 1 position and {CHANNELS} channels"


@experiment("one value per channel")
def one_value(subject: Subject) -> OneValue:
    """Train on a single value per channel, whose variance is 0 whatever the value."""
    record = OneValue([], [])
    for rank in subject.main_ranks:
        situation = make_situation((1, CHANNELS, *[1] * (rank - 2)), subject.dtype)
        with contextlib.suppress(Exception):
            one = subject.run(situation, training=True)
            record.finite.append(_finite(one.y))
            record.moving_finite.append(all(map(_finite, one.moving.values())))
    return record


def _finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())


@dataclass(frozen=True)
class AcceptedInputs(Record):
    """The inputs with fewer or more channels that were accepted, in words."""

    inputs: list[str]


@experiment("wrong channel count")
def channel_count(subject: Subject) -> AcceptedInputs:
    """Give a layer inputs of fewer and of more channels than it was built for."""
    record = AcceptedInputs([])
    for rank in subject.main_ranks:
        situation = subject.situation(plain, rank)
        for channels in (situation.x.shape[1] - 1, situation.x.shape[1] + 2):
            shape = (situation.x.shape[0], channels, *situation.x.shape[2:])
            for training, how in ((True, "in training"), (False, "when predicting")):
                layer = subject.build(rank, situation)
                with contextlib.suppress(Exception):
                    x = layer.own(make_situation(shape, subject.dtype).x)
                    layer.forward(x, training=training)
                    record.inputs.append(f"{shape} {how}")
    return record


@check(
    one_value,
    "module contract",
    "a batch with one value per channel is refused in training",
    families=("batch",),
)
def _one_value(case: Case) -> Outcome:
    record = case.require(one_value)
    if not record.finite:
        return passed()
    diagnosed = _diagnosed(case)
    if diagnosed:
        return failed(*diagnosed)
    if not all(record.finite):
        spread = case.recipe(case.rank).training.spread
        unbiased = spread.fault if spread is SPREAD[1] else None
        return failed(unbiased or ONE_VALUE_NOT_FINITE, note=ONE_EXAMPLE)
    if not all(record.moving_finite):
        return failed(ONE_VALUE_POISONS, note=ONE_EXAMPLE)
    return passed() if case.contract == "textbook" else failed(ONE_VALUE_ACCEPTED, note=ONE_EXAMPLE)


def _diagnosed(case: Case) -> list[Fault]:
    """Return the diagnosed faults that explain why one value per channel is accepted.

    It predicted; or normalizes nothing; or uses other statistics than each channel's own, which
    are of more values.
    """
    recipe = case.recipe(case.rank)
    if not recipe.mode.value(True, True) and recipe.mode.fault is not None:
        return [recipe.mode.fault]
    if case.identity:
        return [IDENTITY]
    training, right = recipe.training, case.right.training
    pairs = ((training.source, right.source), (training.over, right.over))
    return [mine.fault for mine, own in pairs if mine is not own and mine.fault is not None]


@check(channel_count, "module contract", "an input with another number of channels is refused")
def _channel_count(case: Case) -> Outcome:
    record = case.require(channel_count)
    if not record.inputs:
        return passed()
    learned = case.record(registration)
    if case.construction.family != "batch" and learned is not None and not learned.parts:
        return skipped("it has no values by channel")
    affine = case.recipe(case.rank).training.affine.fault
    if affine is not None and affine.name in UNUSED:
        return failed(affine)
    return (
        failed(IDENTITY)
        if case.identity
        else failed(WRONG_CHANNELS, note=f"accepted {record.inputs[0]}")
    )
