"""What train(), eval() and no_grad() switch, and training again after predicting."""

import dataclasses
import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.diagnostic_passes import Outputs
from bnrun.verification.distance import Tensors
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import UNEXPLAINED, Outcome, failed, passed, skipped
from bnrun.verification.recipe import Recipe, simulate
from bnrun.verification.situations import others_changed, plain, sequence
from bnrun.verification.subject import Layer, Record, Subject, changed, to_record

# fmt: off
NEVER_TRAINS_AGAIN = Fault(
    "never-trains-again",
    "After it has predicted once, it does not train as a new layer does.",
    "Check self.training in each forward pass, and remember nothing of the last one.",
    of_values=True)
OTHER_SIZE = Fault(
    "remembers-batch-size",
    "In training it is wrong for a batch of another size than the first: it remembers how many "
    "values that had.",
    "Count the values anew in each forward pass: n = x.numel() / x.shape[1].",
    of_values=True)
OLD_STATE = Fault(
    "predicts-with-old-state",
    "Once it has predicted, later training does not reach its predictions: they are of the state "
    "that it had then.",
    "Compute what goes into a prediction (a folded scale and shift, say) anew each time; or forget "
    "it whenever train() is called or a state is loaded.",
    of_values=True)
SHARED_STATE = Fault(
    "layers-share-state",
    "Layers share their state: training one changes what another one predicts.",
    "Store statistics in buffers of the instance, not on the class or in a global variable.")
# fmt: on

COMBINATIONS = list(itertools.product((True, False), repeat=2))
"""Of train() or eval(), and gradients enabled or not."""
CHANGE = 1e-6
"""The least change of an output that is not rounding; the batch's statistics change it far more."""


@dataclass(frozen=True)
class Switches(Record):
    """What the norm uses, and whether it moves, in each of COMBINATIONS.

    Attributes:
        own: whether it uses the batch's own statistics. Only through those does one value of the
            output depend on other values of the input.
        moves: whether the moving statistics move.
        by_moved: whether it uses the batch's statistics by way of moving ones that it has just
            moved: its output depends on what those were. This is looked for after eval() alone.
    """

    own: list[bool]
    moves: list[bool]
    by_moved: list[bool]


@experiment("mode")
def switches(subject: Subject) -> Switches:
    """Change all values of the input but the first, in each mode."""
    situation = subject.situation(plain)
    record = Switches([], [], [])
    for training, grad in COMBINATIONS:
        outputs, moves = [], False
        for x in (situation.x, others_changed(situation.x)):
            layer = subject.build(subject.rank, situation)
            before = layer.moving_values()
            y = layer.forward(layer.own(x), training=training, grad=grad)
            outputs.append(float(y.detach().flatten()[0]))
            moves = moves or changed(before, layer.moving_values())
        own = abs(outputs[0] - outputs[1]) > CHANGE
        by_moved = False
        if own and moves and not training:
            layer = subject.build(subject.rank, situation)
            layer.set_moving(situation.moving_mean + 1, situation.moving_var + 1)
            y = layer.forward(layer.own(situation.x), training=training, grad=grad)
            by_moved = abs(float(y.detach().flatten()[0]) - outputs[0]) > CHANGE
        record.own.append(own)
        record.moves.append(moves)
        record.by_moved.append(by_moved)
    return record


@dataclass(frozen=True)
class Traces(Record):
    """What earlier batches leave behind: outputs in pairs, of a used layer and another, or None.

    Attributes:
        trains: a batch in training, of fewer examples than before; the other layer is new.
        trains_alike: the same with as many examples as before, where that differs.
        predicts: the other layer was trained alike, but has not predicted in between.
        apart: the prediction before and after another layer is trained.
    """

    trains: Outputs
    predicts: Outputs
    apart: Outputs
    trains_alike: Outputs | None = None


@experiment("trains again")
def again(subject: Subject) -> Traces:
    """Train, predict, train and predict with one layer; and less of it with others."""
    batches = sequence(subject.rank, subject.dtype, **subject.construction.inputs)
    first, second, third = batches[:3]
    fewer = third.x[:-1]

    def train(layer: Layer, x: Tensor) -> Tensor:
        return to_record(layer.forward(layer.own(x), training=True))

    def predict(layer: Layer) -> Tensor:
        return to_record(layer.forward(layer.own(second.x), training=False))

    def used() -> Layer:
        layer = subject.build(subject.rank, first)
        train(layer, first.x)
        predict(layer)
        return layer

    layer, other = used(), subject.build(subject.rank, first)
    trains = Outputs(train(subject.build(subject.rank, first), fewer), train(layer, fewer))
    prediction = predict(layer)
    train(other, first.x)
    train(other, fewer)
    predicts = Outputs(predict(other), prediction)
    apart = Outputs(prediction, predict(layer))
    alike = None
    if trains.distance > CHANGE:
        alike = Outputs(train(subject.build(subject.rank, first), third.x), train(used(), third.x))
    return Traces(trains, predicts, apart, alike)


@check(
    switches,
    "module contract",
    "what train(), eval() and no_grad() switch, in all four combinations",
    families=("batch",),
)
def _switches(case: Case) -> Outcome:
    record = case.require(switches)
    observed = {"own": _numbers(record.own), "moves": _numbers(record.moves)}
    if not case.parts.moves:
        del observed["moves"]
    outcome = case.compare(case.rank, observed, lambda recipe: _expected(recipe, case))
    if outcome.unexplained:
        outcome = failed(UNEXPLAINED, note=_in_words(record))
    return dataclasses.replace(outcome, error=None)


def _expected(recipe: Recipe, case: Case) -> Tensors:
    """Return what the experiment would see of a recipe."""
    situation = case.situation(plain)
    other = dataclasses.replace(situation, x=others_changed(situation.x))
    before = {"moving_mean": situation.moving_mean, "moving_var": situation.moving_var}
    own, moves = [], []
    for training, grad in COMBINATIONS:
        first, second = (
            simulate(recipe, one, training=training, grad=grad, gradients=False)
            for one in (situation, other)
        )
        own.append(bool(first["y"].flatten()[0] != second["y"].flatten()[0]))
        moves.append(changed(before, first))
    return {"own": _numbers(own), "moves": _numbers(moves)}


def _numbers(switched: list[bool]) -> Tensor:
    return torch.tensor(switched, dtype=torch.float64)


def _in_words(record: Switches) -> str:
    return "; ".join(
        f"{'train()' if training else 'eval()'} {'with' if grad else 'without'} gradients: "
        f"{'batch' if own else 'moving statistics'}, {'moves' if moves else 'moves nothing'}"
        for (training, grad), own, moves in zip(COMBINATIONS, record.own, record.moves, strict=True)
    )


@check(again, "module contract", "after train, predict and train it computes what a new layer does")
def _again(case: Case) -> Outcome:
    record = case.require(again)
    recipe = case.recipe(case.rank)
    if share_state(case):
        return failed(SHARED_STATE, error=record.apart.distance, note=record.apart.difference)
    by_batch = recipe.training.source is case.right.training.source
    of_mode = None if recipe.mode is case.right.mode else recipe.mode.fault
    if by_batch and record.trains.distance > case.tolerance:
        fault = None if recipe.mode.value(True, True) else of_mode
        alike = record.trains_alike
        if alike is not None and alike.distance <= case.tolerance:
            fault = OTHER_SIZE
        seen = record.trains
        return failed(fault or NEVER_TRAINS_AGAIN, error=seen.distance, note=seen.difference)
    if record.predicts.distance > case.tolerance:
        fault = recipe.moves.fault or of_mode
        seen = record.predicts
        return failed(fault or OLD_STATE, error=seen.distance, note=seen.difference)
    if not by_batch:
        return skipped("in training it does not go by the batch alone")
    return passed(max(record.trains.distance, record.predicts.distance))


def share_state(case: Case) -> bool:
    """Return whether training a layer changes what another one predicts."""
    record = case.record(again)
    if record is None or case.noisy or case.recipe(case.rank).moves.fault is not None:
        return False  # or it is predicting that changes predictions
    return record.apart.distance > case.tolerance
