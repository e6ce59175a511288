"""What the constructor offers beyond the number of features, as PyTorch's does."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bnrun.verification.check import Case, check, simulation
from bnrun.verification.diagnostic_passes import EPS_NAMES, Outputs
from bnrun.verification.distance import Tensors
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import OF_BATCH, Choice, Fault
from bnrun.verification.formula.batch_statistics import BY_BATCH
from bnrun.verification.formula.moving_statistics import Average, Update, cumulative
from bnrun.verification.formula.normalization import AbsoluteGamma
from bnrun.verification.outcome import Outcome, failed, passed, skipped
from bnrun.verification.recipe import Formula, Recipe, move, normalize
from bnrun.verification.report import NO_MOVING_STATISTICS
from bnrun.verification.situations import STEPS, make_situation, plain, sequence
from bnrun.verification.subject import NotOffered, Pass, Record, Subject, to_record
from bnrun.verification.topics.moving import State

# fmt: off
EPS_IGNORED = Fault(
    "eps-ignored",
    "The constructor's eps has no effect.",
    "Store it (self.eps = eps) and use it in forward.")
MOMENTUM_IGNORED = Fault(
    "momentum-ignored",
    "The constructor's momentum has no effect.",
    "Store it (self.momentum = momentum) and use it in the update.",
    families=OF_BATCH)
MOMENTUM_OF_OLD = Fault(
    "momentum-weighs-old",
    "The argument momentum is the weight of the old average; PyTorch's is that of the new batch.",
    "Pass 1 - momentum where PyTorch's is meant.",
    "Keras, Flax and the textbook",
    families=OF_BATCH)
NONE_NOT_CUMULATIVE = Fault(
    "momentum-none-not-cumulative",
    "With momentum=None, the moving statistics are not the plain average over all batches.",
    "Weigh the k-th batch by 1/k, or refuse None.",
    families=OF_BATCH)
AFFINE_IGNORED = Fault(
    "affine-false-ignored",
    "With affine=False, the layer still has, or uses, gamma or beta.",
    "With affine=False, leave both out: y = x_hat.")
SHAPE_IGNORED = Fault(
    "normalized-shape-ignored",
    "With a normalized_shape of two dimensions, the statistics are not taken over both.",
    "Take them over as many of the last dimensions as the shape has: "
    "x.mean(tuple(range(-len(shape), 0)), keepdim=True).",
    families=("layer", "rms"))
TRACK_IGNORED = Fault(
    "track-false-ignored",
    "With track_running_stats=False, it still predicts with moving statistics.",
    "With track_running_stats=False, store none, and normalize with the batch in either mode.",
    families=OF_BATCH)
# fmt: on

# Values to build with, far from the usual ones
OTHER_EPS = 0.5
OTHER_MOMENTUM = 0.3
MOMENTUM_BATCHES = 2
SHAPE = (3, 5)
FLAT = (4, 15)
"""The shape of inputs for it, with both dimensions in one."""


@dataclass(frozen=True)
class BuiltLayer(Record):
    """A pass through a layer that was built with an option, and the parameters that it learns."""

    result: Pass
    learns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ShapedOutput(Record):
    """The output of a layer for a shape of two dimensions, which lie one behind the other."""

    y: Tensor


@experiment("eps=")
def eps(subject: Subject) -> Outputs:
    """Train with the usual eps, and with another."""
    options: dict[str, Any] = {subject.argument(*EPS_NAMES): OTHER_EPS}
    situation = subject.situation(plain)
    return Outputs(subject.output(situation), subject.output(situation, **options))


@experiment("momentum=")
def momentum(subject: Subject) -> State:
    """Train on two batches with another momentum: of the first, some take the statistics whole."""
    subject.argument("momentum")
    return State(_moved(subject, MOMENTUM_BATCHES, OTHER_MOMENTUM))


def _moved(subject: Subject, batches: int, weight: float | None) -> dict[str, Tensor]:
    """Return the moving statistics after some batches, of a layer built with a momentum."""
    situations = sequence(subject.rank, subject.dtype)[:batches]
    layer = subject.build(subject.rank, situations[0], momentum=weight)
    for batch in situations:
        layer.forward(layer.own(batch.x), training=True)
    return layer.moving_values()


@experiment("momentum=None")
def momentum_none(subject: Subject) -> State:
    """Train on several batches with momentum=None, which averages all batches alike."""
    subject.argument("momentum")
    try:
        return State(_moved(subject, STEPS, None))
    except Exception as error:
        name = type(error).__name__
        raise NotOffered(f"the class takes no momentum=None ({name})") from error


@experiment("affine=False")
def affine_false(subject: Subject) -> BuiltLayer:
    """Train without gamma and beta."""
    options: dict[str, Any] = {subject.argument("affine", "elementwise_affine"): False}
    situation = subject.situation(plain)
    layer = subject.build(subject.rank, situation, **options)
    learns = [name for name, p in layer.module.named_parameters() if p.requires_grad]
    return BuiltLayer(layer.run(situation, training=True), learns)


@experiment("normalized_shape=")
def two_dimensions(subject: Subject) -> ShapedOutput:
    """Train with statistics over the last two dimensions, and a gamma of their shape."""
    subject.argument("normalized_shape")
    situation = make_situation(FLAT, subject.dtype)
    try:
        module = subject.new(SHAPE, 3).to(subject.device, subject.dtype)
        with torch.no_grad():
            for parameter in (one for one in module.parameters() if one.shape == SHAPE):
                starts_at_1 = bool((parameter == 1).all())
                values = situation.gamma if starts_at_1 else situation.beta
                parameter.copy_(values.view(SHAPE))
        x = situation.x.to(subject.dtype).to(subject.device).view(len(situation.x), *SHAPE)
        return ShapedOutput(to_record(module.train()(x)).flatten(1))
    except Exception as error:
        message = f"the class takes no normalized_shape of two dimensions ({type(error).__name__})"
        raise NotOffered(message) from error


@experiment("track_running_stats=False")
def track_false(subject: Subject) -> Pass:
    """Predict without moving statistics."""
    subject.argument("track_running_stats")
    return subject.run(subject.situation(plain), training=False, track_running_stats=False)


@check(eps, "module contract", "another eps has its effect")
def _eps(case: Case) -> Outcome:
    record = case.require(eps)
    expect = simulation(case.situation(plain), training=True)

    def expect_other(recipe: Recipe) -> Tensors:
        training, predicting = map(_with_eps, (recipe.training, recipe.predicting))
        return expect(recipe.having(training=training, predicting=predicting))

    outcome = case.compare(case.rank, {"y": record.second}, expect_other)
    if outcome.unexplained and record.distance <= case.rounding:
        return failed(EPS_IGNORED, error=outcome.error)
    return outcome


def _with_eps(formula: Formula) -> Formula:
    """Return a formula with the other eps wherever it has any."""
    affine = formula.affine
    if isinstance(affine.value, AbsoluteGamma) and affine.value.eps:
        affine = Choice(AbsoluteGamma(OTHER_EPS), affine.fault)
    return formula.having(eps=Choice(OTHER_EPS), affine=affine)


@check(
    momentum,
    "module contract",
    "the argument is the weight of the new batch",
    families=("batch",),
)
def _momentum(case: Case) -> Outcome:
    record = case.require(momentum)
    if not case.parts.moves:
        return skipped(NO_MOVING_STATISTICS)

    def with_weight(weight: float) -> Callable[[Recipe], Tensors]:
        return lambda recipe: _average(case, _weighed(recipe, weight), MOMENTUM_BATCHES)

    outcome = case.compare(case.rank, record.values, with_weight(OTHER_MOMENTUM))
    if not outcome.unexplained:
        return outcome
    mistakes = _mistakes_in_updates(case)
    if mistakes:
        return failed(*mistakes, error=outcome.error)
    of_old = case.compare(case.rank, record.values, with_weight(1 - OTHER_MOMENTUM))
    if not of_old.unexplained:
        turned = () if case.contract == "textbook" else (MOMENTUM_OF_OLD,)
        faults = (*turned, *of_old.faults)
        return failed(*faults) if faults else passed(of_old.error)
    unused = case.compare(
        case.rank, record.values, lambda recipe: _average(case, recipe, MOMENTUM_BATCHES)
    )
    return outcome if unused.unexplained else failed(MOMENTUM_IGNORED, error=outcome.error)


def _weighed(recipe: Recipe, weight: float) -> Recipe:
    """Return a recipe with another momentum, of which the kind of average stays what it is."""
    updates = {}
    for slot in ("mean_update", "var_update"):
        choice: Choice[Update] = getattr(recipe, slot)
        known = choice.value if isinstance(choice.value, Average) else Average()
        updates[slot] = dataclasses.replace(choice, value=dataclasses.replace(known, weight=weight))
    return recipe.having(**updates)


def _average(case: Case, recipe: Recipe, batches: int) -> Tensors:
    """Return the moving statistics of a recipe after some batches."""
    situation = case.situation(plain)
    mean, var = situation.moving_mean, situation.moving_var
    for k, batch in enumerate(sequence(case.rank, case.dtype)[:batches], start=1):
        if recipe.moves.value(recipe.mode.value(True, True)):
            mean, var = move(recipe, batch.x, mean, var, k)
    return {"moving_mean": mean, "moving_var": var}


def _mistakes_in_updates(case: Case) -> tuple[Fault, ...]:
    """Return what is wrong with the default momentum, dialects apart."""
    recipe = case.recipe(case.rank)
    faults = (recipe.mean_update.fault, recipe.var_update.fault)
    return tuple(dict.fromkeys(f for f in faults if f is not None and not f.is_dialect))


@check(
    momentum_none,
    "module contract",
    "the moving statistics are the plain average over all batches",
    families=("batch",),
)
def _momentum_none(case: Case) -> Outcome:
    record = case.require(momentum_none)
    if not case.parts.moves:
        return skipped(NO_MOVING_STATISTICS)

    def expect(recipe: Recipe) -> Tensors:
        plainly = Choice[Update](cumulative)
        return _average(case, recipe.having(mean_update=plainly, var_update=plainly), STEPS)

    outcome = case.compare(case.rank, record.values, expect)
    if not outcome.unexplained:
        return outcome
    known = _mistakes_in_updates(case)
    if not known and case.record(momentum) and MOMENTUM_IGNORED in _momentum(case).faults:
        known = (MOMENTUM_IGNORED,)
    return failed(*(known or (NONE_NOT_CUMULATIVE,)), error=outcome.error)


@check(affine_false, "module contract", "the output without gamma and beta")
def _affine_false(case: Case) -> Outcome:
    record = case.require(affine_false)
    situation = case.situation(plain).without(gamma=True, beta=True, moving=False)
    outcome = case.compare(case.rank, record.result.output, simulation(situation, training=True))
    ignored = record.learns or outcome.unexplained
    return failed(AFFINE_IGNORED, error=outcome.error) if ignored else outcome


@check(
    two_dimensions,
    "module contract",
    "statistics over two dimensions, and a gamma and beta of that shape",
    families=("layer", "rms"),
)
def _two_dimensions(case: Case) -> Outcome:
    record = case.require(two_dimensions)
    situation = case.restrict(make_situation(FLAT, case.dtype))
    outcome = case.compare(2, {"y": record.y}, simulation(situation, training=True))
    return failed(SHAPE_IGNORED, error=outcome.error) if outcome.unexplained else outcome


@check(
    track_false,
    "module contract",
    "predictions use the statistics of the batch",
    families=("batch",),
)
def _track_false(case: Case) -> Outcome:
    record = case.require(track_false)
    situation = case.situation(plain)

    def by_batch(recipe: Recipe) -> Tensors:
        formula = recipe.predicting.having(source=BY_BATCH)
        return {"y": normalize(formula, situation, situation.x, situation.gamma, situation.beta)[0]}

    outcome = case.compare(case.rank, record.output, by_batch)
    return failed(TRACK_IGNORED, error=outcome.error) if outcome.unexplained else outcome
