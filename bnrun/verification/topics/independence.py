"""What must not change an output: other examples, other positions, and which mode it is in.

Batch normalization depends on other examples by its nature. The other families do not.
"""

from dataclasses import dataclass

from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.diagnostic_passes import Outputs, parts
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import FAMILIES, OF_OTHERS, Fault
from bnrun.verification.outcome import Outcome, failed, passed
from bnrun.verification.situations import make_situation, plain
from bnrun.verification.subject import NotOffered, Record, Subject

# fmt: off
DEPENDS_ON_BATCH = Fault(
    "depends-on-other-examples",
    "The output for an example depends on the other examples of its batch.",
    "Take statistics over dimensions of one example: never over dimension 0.",
    of_values=True,
    families=OF_OTHERS)
DEPENDS_ON_POSITIONS = Fault(
    "depends-on-other-positions",
    "The output at a position depends on the other positions, padding included.",
    "Take statistics over the last dimension alone.",
    of_values=True,
    families=OF_OTHERS)
SINGLE_NOT_FINITE = Fault(
    "single-value-not-finite",
    "Where a single value has its own statistics, the output is NaN or infinite, without an error.",
    "Use the biased variance (divided by n), and eps inside the root; or raise a ValueError.",
    families=OF_OTHERS)
MOVING_UNUSED = Fault(
    "moving-statistics-unused",
    "It keeps moving statistics that nothing uses: this family has none.",
    "Leave out running_mean and running_var, and their update.",
    families=OF_OTHERS)
# fmt: on

OTHERS = FAMILIES[1:]


@experiment("one example alone")
def one_example(subject: Subject) -> Outputs:
    """Compare the first example's output in its batch with its output alone."""
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation)
    whole, alone = (
        layer.record(layer.forward(layer.own(x), training=True))
        for x in (situation.x, situation.x[:1])
    )
    return Outputs(alone, whole[:1])


@experiment("one position alone")
def one_position(subject: Subject) -> Outputs:
    """Compare the output at the first position with that of the position alone."""
    if not subject.construction.last:
        raise NotOffered("all positions of an example are normalized together")
    if subject.rank == 2:
        raise NotOffered("it takes inputs of one position alone")
    situation = subject.situation(plain)
    first = (slice(None), slice(None), *[slice(1)] * (subject.rank - 2))
    layer = subject.build(subject.rank, situation)
    whole, alone = (
        layer.record(layer.forward(layer.own(x), training=True))
        for x in (situation.x, situation.x[first])
    )
    return Outputs(alone, whole[first])


@dataclass(frozen=True)
class SingleValue(Record):
    """The output where each value has statistics of its own; None where that is refused."""

    y: Tensor | None


@experiment("one value by itself")
def single_value(subject: Subject) -> SingleValue:
    """Run on an input in which no two values share statistics."""
    one = subject.construction
    channels = {"layer": 1, "rms": 1, "group": one.groups, "instance": one.channels}[one.family]
    situation = make_situation((3, channels, *[1] * (subject.rank - 2)), subject.dtype)
    try:
        return SingleValue(subject.output(situation))
    except Exception:
        return SingleValue(None)


def dependence(case: Case) -> Fault | None:
    """Return the fault of an output that depends on what no known formula depends on."""
    if case.construction.family == "batch":
        return None
    for one, fault in (
        (one_example, DEPENDS_ON_BATCH),
        (one_position, DEPENDS_ON_POSITIONS),
    ):
        record = case.record(one) if one.name in case.observations else None
        if record is not None and fault in _judge(case, record, fault).faults:
            return fault
    return None


def _judge(case: Case, record: Outputs, fault: Fault) -> Outcome:
    """Judge whether two outputs are the same; what they are taken over explains a difference."""
    if record.distance <= case.tolerance:
        return passed(record.distance)
    over = case.recipe(case.rank).training.over.fault
    is_known = over is not None and not over.is_dialect
    found = over if over is not None and is_known else fault
    return failed(found, error=record.distance, note=record.difference)


@check(
    one_example, "mathematics", "an example alone gives what it gives in a batch", families=OTHERS
)
def _one_example(case: Case) -> Outcome:
    return _judge(case, case.require(one_example), DEPENDS_ON_BATCH)


@check(
    one_position,
    "mathematics",
    "a position alone gives what it gives in a sequence",
    families=("layer", "rms"),
)
def _one_position(case: Case) -> Outcome:
    return _judge(case, case.require(one_position), DEPENDS_ON_POSITIONS)


@check(
    "no moving statistics",
    "module contract",
    "nothing is kept of the batches that it has seen",
    parts,
    families=("layer", "group", "rms"),
    needs_forward=False,
)
def _no_moving(case: Case) -> Outcome:
    if not case.require(parts).moving:
        return passed()
    recipe = case.recipe(case.rank)
    sources = (recipe.training.source.fault, recipe.predicting.source.fault)
    return failed(*([fault for fault in sources if fault is not None] or [MOVING_UNUSED]))


@check(
    single_value,
    "module contract",
    "a value with statistics of its own gives a finite output, or is refused",
    families=OTHERS,
)
def _single_value(case: Case) -> Outcome:
    record = case.require(single_value)
    if record.y is None or bool(record.y.isfinite().all()):
        return passed()
    spread = case.recipe(case.rank).training.spread.fault
    denominator = case.recipe(case.rank).training.denominator.fault
    note = f"the output is {float(record.y.flatten()[0])}"
    return failed(spread or denominator or SINGLE_NOT_FINITE, note=note)
