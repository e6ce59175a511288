"""Experiments on what a norm computes: outputs, gradients and moving statistics."""

import functools

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from bnrun.norms.user_module import WrongOutput
from bnrun.verification.observe.experiment import Experiment, Values, describe
from bnrun.verification.situations import (
    CHANNELS,
    ODD_SHAPES,
    SHAPES,
    Situation,
    faint,
    far,
    level,
    others_changed,
    plain,
    sequence,
    situation,
)
from bnrun.verification.subject import Layer, NotOffered, Subject

SMALL_SHAPES = {  # of which finite differences are many
    2: (4, CHANNELS),
    3: (2, CHANNELS, 3),
    4: (2, CHANNELS, 2, 1),
    5: (2, CHANNELS, 2, 1, 1),
}
CHANGE = 1e-6  # of an output value, above all noise: what the others do to it is far larger


def _training(rank: int, subject: Subject) -> Values:
    """One forward and backward pass in training; and the output where variances are tiny."""
    made, small = plain(rank, subject.dtype), faint(rank, subject.dtype)
    try:
        layer = subject.build(rank, made)
        layer.forward(layer.to_own(made.x), training=True, grad=True)
    except WrongOutput:
        raise
    except Exception as error:
        raise NotOffered(f"not taken: {describe(error)}") from error
    values = subject.build(rank, made).run(made, training=True, grad=True)
    values["faint"] = subject.build(rank, small).run(small, training=True, grad=True)
    return values


def _predicting(rank: int, subject: Subject) -> Values:
    """The same when predicting: the output without gradients enabled, and with them."""
    made, small = plain(rank, subject.dtype), faint(rank, subject.dtype)
    values = subject.build(rank, made).run(made, training=False, grad=False)
    values["faint"] = subject.build(rank, small).run(small, training=False, grad=False)
    with_gradients = subject.build(rank, made).run(made, training=False, grad=True)
    with_gradients["faint"] = subject.build(rank, small).run(small, training=False, grad=True)
    return values | {"with_gradients": with_gradients}


def _updates(rank: int, subject: Subject) -> Values:
    """Train on several batches in order, and keep the moving statistics after each."""
    steps = sequence(rank, subject.dtype)
    layer = subject.build(rank, steps[0])
    after = []
    for step in steps:
        layer.forward(layer.to_own(step.x), training=True, grad=True)
        after.append(layer.moving_values())
    return {"after": after}


def _modes(subject: Subject) -> Values:
    """In each combination of train() or eval() with gradients or without, what does it use?

    `own`: whether one value of the output depends on other values of the input, which it does
    only by way of the batch's own statistics. `moved`: whether the moving statistics moved.
    """
    made = plain(subject.rank, subject.dtype)
    values: Values = {}
    for training in (True, False):
        for grad in (True, False):
            outputs = []
            moved = False
            for x in (made.x, others_changed(made.x)):
                layer = subject.build(subject.rank, made)
                before = layer.moving_values()
                y = layer.forward(layer.to_own(x), training=training, grad=grad)
                outputs.append(y.detach().flatten()[0])
                after = layer.moving_values()
                moved = moved or any(not torch.equal(before[k], after[k]) for k in before)
            values[f"{training} {grad}"] = {
                "own": abs(float(outputs[0] - outputs[1])) > CHANGE,
                "moved": moved,
            }
    return values


def _start(subject: Subject) -> Values:
    """Return gamma, beta and the moving statistics of a layer as it is built."""
    layer = subject.build(subject.rank)
    values = {"gamma": layer.gamma, "beta": layer.beta}
    found: Values = {
        name: tensor.detach().cpu().double().reshape(-1)
        for name, tensor in values.items()
        if tensor is not None
    }
    return found | layer.moving_values()


def _gradcheck(training: bool, subject: Subject) -> Values:
    """Hold the gradients to finite differences of the norm's own output."""
    if subject.dtype != torch.float64:
        raise NotOffered("finite differences need float64")
    found: Values = {}
    for rank in subject.main_ranks:
        made = situation(SMALL_SHAPES[rank], subject.dtype)
        layer = subject.build(rank, made)
        leaf = layer.to_own(made.x).requires_grad_()
        learned = [t for t in (layer.gamma, layer.beta) if t is not None and t.requires_grad]
        function = functools.partial(_function, layer, made, training)
        try:
            gradcheck(function, (leaf, *learned), fast_mode=True)
            found[str(rank)] = ""
        except GradcheckError as error:
            found[str(rank)] = str(error).strip().splitlines()[0]
    return found


def _function(layer: Layer, made: Situation, training: bool, x: Tensor, *learned: Tensor) -> Tensor:
    """Return a layer's output as a function of x (and of what it learns, which it holds)."""
    layer.hold_moving(made.moving_mean, made.moving_var)
    return layer.forward(x.clone(), training=training, grad=True).to(x.dtype)


def _far(subject: Subject) -> Values:
    made = far(subject.rank, subject.dtype)
    return subject.build(subject.rank, made).run(made, training=True, grad=True)


def _level(subject: Subject) -> Values:
    made = level(subject.rank, subject.dtype)
    return subject.build(subject.rank, made).run(made, training=True, grad=True)


def _odd(subject: Subject) -> Values:
    """Train on inputs of tiny and odd shapes; those of a rank that it does not take are left."""
    values: Values = {}
    for shape in ODD_SHAPES:
        rank = len(shape)
        if not subject.takes(rank):
            continue
        made = situation(shape, subject.dtype)
        try:
            values[repr(shape)] = subject.build(rank, made).run(made, training=True, grad=True)
        except Exception as error:
            values[repr(shape)] = describe(error)
    return values


def _input_unchanged(subject: Subject) -> Values:
    made = plain(subject.rank, subject.dtype)
    values: Values = {}
    for training in (True, False):
        layer = subject.build(subject.rank, made)
        x = layer.to_own(made.x)
        layer.forward(x, training=training, grad=training)
        values["training" if training else "predicting"] = not torch.equal(x, layer.to_own(made.x))
    return values


def _repeat(subject: Subject) -> Values:
    made = plain(subject.rank, subject.dtype)
    first, second = (
        subject.build(subject.rank, made).run(made, training=True, grad=True) for _ in range(2)
    )
    return {"first": first["y"], "second": second["y"]}


def _layouts(subject: Subject) -> Values:
    """Run the same values as they lie in memory in other ways, in training and when predicting."""
    rank = subject.main_ranks[-1]
    made = plain(rank, subject.dtype)
    last = made.x.shape[-1]
    inputs = {
        "contiguous": made.x,
        "strided": made.x.repeat_interleave(2, dim=-1)[..., : 2 * last : 2],
        "transposed": made.x.transpose(0, -1).contiguous().transpose(0, -1),
    }
    if rank == 4:
        inputs["channels_last"] = made.x.contiguous(memory_format=torch.channels_last)
    values: Values = {}
    for name, x in inputs.items():
        try:
            values[name] = torch.stack([_output(subject, made, x, mode) for mode in (True, False)])
        except Exception as error:
            values[name] = describe(error)
    return values


def _output(subject: Subject, made: Situation, x: Tensor, training: bool) -> Tensor:
    """Return what a layer makes of x, given to it with the strides that x has."""
    like = torch.empty_strided(x.size(), x.stride(), dtype=subject.dtype, device=subject.device)
    layer = subject.build(x.dim(), made)
    return layer.forward(like.copy_(x), training=training, grad=training).detach().cpu().double()


FORMULA: dict[str, Experiment] = {
    **{f"training {rank}": functools.partial(_training, rank) for rank in SHAPES},
    **{f"predicting {rank}": functools.partial(_predicting, rank) for rank in SHAPES},
    **{f"updates {rank}": functools.partial(_updates, rank) for rank in (2, 4)},
    "modes": _modes,
    "start": _start,
    "gradcheck training": functools.partial(_gradcheck, True),
    "gradcheck predicting": functools.partial(_gradcheck, False),
    "far": _far,
    "level": _level,
    "odd": _odd,
    "input": _input_unchanged,
    "repeat": _repeat,
    "layouts": _layouts,
}
