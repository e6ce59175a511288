"""float64: whether it is accepted and kept, and whether `.double()` reaches everything."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bnrun.verification.check import Case, check, simulation
from bnrun.verification.distance import TOLERANCE, distance
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import FAMILIES, OF_OTHERS, Fault
from bnrun.verification.outcome import Outcome, failed, passed, skipped
from bnrun.verification.recipe import simulate
from bnrun.verification.situations import per_channel, plain
from bnrun.verification.subject import NotOffered, Record, Subject
from bnrun.verification.topics.copies import unregistered

# fmt: off
NARROWED = Fault(
    "float64-narrowed",
    "float64 goes in, but the result has only float32's precision: something on the way is "
    "computed in float32.",
    "Create tensors in the input's dtype (torch.zeros(..., dtype=x.dtype)), and do not call "
    ".float() on x.")
NARROWED_TO_HALF = dataclasses.replace(
    NARROWED,
    name="float64-narrowed-to-half",
    families=OF_OTHERS,
    sentence="float64 goes in, but the result has only float16's precision: something on the way "
    "is computed in a half-precision dtype.")
IN_FLOAT32 = Fault(
    "computes-in-float32",
    "It computes in float32 whatever the dtype of its input, and returns that dtype: wider than "
    "bfloat16, and narrower than float64.",
    "Compute in torch.promote_types(x.dtype, torch.float32), which float64 is, too.",
    "Llama, T5 and Gemma in Hugging Face's transformers",
    families=OF_OTHERS)
CAST_BEFORE_GAMMA = Fault(
    "cast-before-gamma",
    "What is normalized in float32 is cast to the input's dtype before gamma scales it, so that a "
    "half-precision output is rounded twice.",
    "Scale first, and cast at the end: (gamma * x_hat).to(x.dtype).",
    "Llama, Mistral and Qwen in Hugging Face's transformers",
    families=OF_OTHERS)
OUTPUT_DTYPE = Fault(
    "output-dtype",
    "The output has another dtype than the input.",
    "Return y.to(x.dtype), if the statistics are computed in another dtype.")
# fmt: on
FLOAT64_REFUSED = Fault(
    "float64-refused",
    "It works in float32 but not in float64.",
    "Create tensors in the input's dtype in forward: torch.zeros(..., dtype=x.dtype).",
)
# fmt: off
DOUBLE_CHANGES = Fault(
    "double-changes-output",
    "After .double(), the layer computes something else.",
    "Let .double() change only dtypes; and keep what forward uses in parameters and buffers.",
    of_values=True)
LEFT_BEHIND = Fault(
    "double-leaves-behind",
    "After .double(), part of the layer is not in float64.",
    "Register the tensors as parameters or buffers: .double() and .to() convert those.")
# fmt: on


@dataclass(frozen=True)
class DoubledLayer(Record):
    """A layer that was built in float32, after `.double()`.

    Attributes:
        dtypes: of its tensors, by name.
        moving: the names of its moving statistics.
        y, y_dtype: its output in training.
    """

    dtypes: dict[str, str]
    moving: list[str]
    y: Tensor
    y_dtype: str


@experiment(".double()")
def double(subject: Subject) -> DoubledLayer:
    """Build it in float32, give it a state, and call `.double()`, as a user would."""
    if subject.device.type == "mps":
        raise NotOffered("there is no float64 on mps")
    situation = plain(subject.rank, torch.float32, **subject.construction.inputs)
    layer = subject.build(subject.rank, situation, dtype=torch.float32)
    layer.module.double()
    after = subject.layer(layer.module, torch.float64)
    tensors = dict(layer.module.named_parameters()) | dict(layer.module.named_buffers())
    tensors = {name: t for name, t in tensors.items() if t.is_floating_point()}
    moving = {name: t for one in layer.statistics for name, t in one.by_name().items()}
    dtypes = {name: _name(tensor.dtype) for name, tensor in (tensors | moving).items()}
    y = after.forward(after.own(situation.x), training=True)
    return DoubledLayer(dtypes, list(moving), after.record(y), _name(y.dtype))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def narrowing(case: Case) -> Fault | None:
    """Return why float64 does not come out with its precision, if it does not."""
    if case.identity:
        return None
    record = case.record(double)
    if record is not None and record.y_dtype != "float64":
        return OUTPUT_DTYPE
    if not case.diagnosis.narrowed:
        return None
    if case.diagnosis.tolerance > TOLERANCE[torch.float32]:
        return NARROWED_TO_HALF
    seen = case.record(bfloat16) if case.construction.family != "batch" else None
    is_wider = seen is not None and _as_in_float32(case, seen.y) is not None
    return IN_FLOAT32 if is_wider else NARROWED


SAME = 0.95
"""The share of bfloat16 values that are the same to the bit, where they are computed alike."""


@dataclass(frozen=True)
class HalfOutput(Record):
    """The output for an input of bfloat16, in training."""

    y: Tensor


@experiment("bfloat16 input")
def bfloat16(subject: Subject) -> HalfOutput:
    """Run in bfloat16, which shows in which dtype it is computed."""
    situation = plain(subject.rank, torch.bfloat16, **subject.construction.inputs)
    layer = subject.build(subject.rank, situation, dtype=torch.bfloat16)
    try:
        return HalfOutput(layer.record(layer.forward(layer.own(situation.x), training=True)))
    except Exception as error:
        raise NotOffered(f"it does not take bfloat16 ({type(error).__name__})") from error


def _as_in_float32(case: Case, y: Tensor) -> Literal["before", "after"] | None:
    """Return whether a bfloat16 output is rounded before gamma or after; None if in neither way.

    What is computed in bfloat16 throughout is rounded at each step.
    """
    kind = plain(case.rank, torch.bfloat16, **case.construction.inputs)
    situation = case.restrict(kind)
    recipe = case.recipe(case.rank)
    whole = simulate(recipe, situation, training=True, grad=False)["y"]
    bare = situation.without(gamma=True, beta=True, moving=False)
    x_hat = simulate(recipe, bare, training=True, grad=False)["y"].bfloat16()
    gamma, beta = (
        per_channel(values, whole).bfloat16() for values in (situation.gamma, situation.beta)
    )
    for when, expected in (("after", whole.bfloat16()), ("before", gamma * x_hat + beta)):
        if float((expected.double() == y).double().mean()) >= SAME:
            return "before" if when == "before" else "after"
    return None


@check(
    bfloat16,
    "mathematics",
    "in which dtype half-precision inputs are computed",
    families=FAMILIES[1:],
)
def _bfloat16(case: Case) -> Outcome:
    record = case.require(bfloat16)
    if not record.y.isfinite().all():
        return skipped("the output is not finite in this dtype")
    how = _as_in_float32(case, record.y)
    return failed(CAST_BEFORE_GAMMA) if how == "before" else passed()


def _on_trouble(case: Case, message: str) -> Outcome | None:
    """Return what an error after `.double()` follows from, if that is known."""
    if case.float64_refused:
        return failed(FLOAT64_REFUSED)
    faults = unregistered(case)
    return failed(*faults, note=message) if faults else None


@check(
    "float64 kept",
    "mathematics",
    "float64 is not narrowed on the way, nor in the output",
    double,
    on_trouble=_on_trouble,
)
def _float64(case: Case) -> Outcome:
    record = case.require(double)
    if case.float64_refused:
        return failed(FLOAT64_REFUSED)
    if case.narrowing is not None:
        is_visible = case.narrowing is OUTPUT_DTYPE
        note = f"the output's dtype is {record.y_dtype}" if is_visible else ""
        return failed(case.narrowing, note=note)
    return passed() if case.dtype == torch.float64 else skipped("another dtype was asked for")


@check(
    double,
    "module contract",
    "it reaches all parameters and buffers",
    on_trouble=_on_trouble,
)
def _double(case: Case) -> Outcome:
    record = case.require(double)
    if case.float64_refused:
        return failed(FLOAT64_REFUSED)
    behind = [name for name, dtype in record.dtypes.items() if dtype != "float64"]
    excused = record.moving if case.contract == "textbook" else []
    if not set(behind) <= set(excused):
        faults = unregistered(case) or (LEFT_BEHIND,)
        return failed(*faults, note=f"{', '.join(behind)} stayed in another dtype")
    is_explained = ("training", case.rank) not in case.diagnosis.unexplained
    if case.dtype != torch.float64 or not is_explained:
        return passed()
    # The diagnosis may have known mistakes in it: they are there after `.double()`, too.
    situation = case.restrict(plain(case.rank, torch.float32, **case.construction.inputs))
    error = distance(record.y, simulation(situation, training=True)(case.recipe(case.rank))["y"])
    if error <= case.tolerance or case.identity or case.narrowing is not None:
        return passed()
    return failed(DOUBLE_CHANGES, error=error)
