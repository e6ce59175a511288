"""The checks: each named, asked for in a sentence, and judged on what was observed."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from bnrun.verification.judge import module, offered, outputs, statistics
from bnrun.verification.judge.outcome import Outcome
from bnrun.verification.known import behaviour
from bnrun.verification.report import Group
from bnrun.verification.situations import LAYOUTS

Judge = Callable[..., Outcome]  # of a Case; and, where it is for one, of a rank


@dataclass(frozen=True)
class CheckKind:
    """A check that can be made: what it asks, and of which experiment it is judged.

    `experiment` is the one without which it cannot be judged, if there is one such; `rank` that of
    the inputs, if it is for one; `forward` tells whether it needs a forward pass that works.
    """

    name: str
    group: Group
    about: str
    experiment: str | None
    judge: Judge
    rank: int | None = None
    forward: bool = True


def _ranked(
    group: Group, title: str, about: str, experiment: str, judge: Judge, ranks: tuple[int, ...]
) -> tuple[CheckKind, ...]:
    """Return a check for inputs of each rank."""
    return tuple(
        CheckKind(
            f"{title}, {LAYOUTS[rank]}",
            group,
            about,
            f"{experiment} {rank}",
            functools.partial(judge, rank=rank),
            rank,
        )
        for rank in ranks
    )


_mathematics = functools.partial(CheckKind, group="mathematics")
_statistics = functools.partial(CheckKind, group="moving statistics")
_contract = functools.partial(CheckKind, group="module contract")

_OUTPUT = "the output, from random gamma, beta and moving statistics"
_GRADIENTS = "the gradients of x, gamma and beta, against those of the formula"
_DIFFERENCES = "the gradients against finite differences of its own output (gradcheck)"
_IN_BOTH_MODES = (("training", "in training"), ("predicting", "when predicting"))

MATHEMATICS: tuple[CheckKind, ...] = (
    *(
        kind
        for title, about, judge, ranks in (
            ("forward", _OUTPUT, outputs.forward, (2, 4, 3, 5)),
            ("gradients", _GRADIENTS, outputs.gradients, (2, 4, 3, 5)),
        )
        for part, mode in _IN_BOTH_MODES
        for kind in _ranked(
            "mathematics",
            f"{title} {mode}",
            about,
            part,
            functools.partial(judge, training=part == "training"),
            ranks,
        )
    ),
    *(
        _mathematics(
            name=f"finite differences {mode}",
            about=_DIFFERENCES,
            experiment=f"gradcheck {part}",
            judge=functools.partial(outputs.finite_differences, training=part == "training"),
        )
        for part, mode in _IN_BOTH_MODES
    ),
    _mathematics(
        name="variance far below eps",
        about="the output where eps decides: variances near 1e-6",
        experiment=None,
        judge=outputs.faint_variance,
    ),
    _mathematics(
        name="large mean, small spread",
        about="the output at a mean of 1e6 (1e3 in float32) and a spread near 1",
        experiment="far",
        judge=outputs.large_mean,
    ),
    _mathematics(
        name="channels of one value",
        about="output and gradient at a variance of 0",
        experiment="level",
        judge=outputs.level_channel,
    ),
    _mathematics(
        name="tiny and odd shapes",
        about="batches of 1 and 2, one channel, one position: output and moving statistics",
        experiment="odd",
        judge=outputs.odd_shapes,
    ),
    _mathematics(
        name="input left unchanged",
        about="the input holds the same values afterwards",
        experiment="input",
        judge=outputs.input_unchanged,
    ),
    _mathematics(
        name="float64 kept",
        about="float64 is not narrowed on the way, nor in the output",
        experiment="double",
        judge=outputs.float64_kept,
    ),
    *(
        _mathematics(
            name=f"{name} input",
            about=f"{about} give what contiguous copies give",
            experiment="layouts",
            judge=functools.partial(outputs.layouts, names=names),
        )
        for name, about, names in (
            ("non-contiguous", "slices and transposes", ("strided", "transposed")),
            ("channels_last", "images in that memory format", ("channels_last",)),
        )
    ),
    _mathematics(
        name="same output twice",
        about="the same state and input give the same output, to the bit",
        experiment="repeat",
        judge=outputs.repeatable,
    ),
)

MOVING_STATISTICS: tuple[CheckKind, ...] = (
    _statistics(
        name="starting values",
        about="gamma 1, beta 0, moving mean 0, moving variance 1",
        experiment="start",
        judge=statistics.starting_values,
        forward=False,
    ),
    _statistics(
        name="first update",
        about="the moving statistics after one batch, from random ones",
        experiment=None,
        judge=statistics.first_update,
    ),
    *_ranked(
        "moving statistics",
        "updates in order",
        "the moving statistics after each of three batches",
        "updates",
        statistics.updates,
        (2, 4),
    ),
    _statistics(
        name="left alone when predicting",
        about="predicting moves no moving statistics",
        experiment=None,
        judge=statistics.left_alone,
    ),
    _statistics(
        name="no graph kept",
        about="nothing of autograd's graph outlives a step",
        experiment="graph",
        judge=statistics.no_graph,
    ),
    _statistics(
        name="memory over many steps",
        about="nothing of a batch is held after many steps",
        experiment="memory",
        judge=statistics.memory,
    ),
)

MODULE_CONTRACT: tuple[CheckKind, ...] = (
    _contract(
        name="mode",
        about="what train(), eval() and no_grad() switch, in all four combinations",
        experiment="modes",
        judge=statistics.mode,
    ),
    _contract(
        name="trains again",
        about="after train, predict and train it computes what a new layer does",
        experiment="again",
        judge=statistics.again,
    ),
    _contract(
        name="parameters",
        about="an optimizer is given gamma and beta, one for each channel, and no statistics",
        experiment="parameters",
        judge=module.parameters,
        forward=False,
    ),
    _contract(
        name="state_dict",
        about="it holds all state: loading it restores predictions",
        experiment="state_dict",
        judge=module.state_dict,
    ),
    *(
        _contract(
            name=name,
            about="a copy predicts the same, and shares nothing",
            experiment=name,
            judge=functools.partial(module.copied, by=name, fails=fails),
        )
        for name, fails in (
            ("deepcopy", behaviour.COPY_FAILS),
            ("pickle", behaviour.PICKLE_FAILS),
        )
    ),
    _contract(
        name=".double()",
        about="it reaches gamma, beta and the moving statistics",
        experiment="double",
        judge=module.double,
    ),
    _contract(
        name="torch left alone",
        about="gradients, default dtype and random numbers are as they were",
        experiment="torch",
        judge=module.torch_left,
    ),
    *(
        _contract(name=name, about=about, experiment=experiment, judge=judge)
        for name, experiment, judge, about in (
            ("eps=", "eps", offered.other_eps, "another eps has its effect (where offered)"),
            ("momentum=", "momentum", offered.other_momentum, "it weighs the new batch"),
            ("momentum=None", "momentum none", offered.momentum_none, "the plain average"),
            ("affine=False", "affine", offered.affine_false, "neither gamma nor beta"),
            ("track_running_stats=False", "track", offered.track_false, "predicts by the batch"),
            ("one value per channel", "one value", statistics.one_value, "refused in training"),
            ("wrong channel count", "channels", module.wrong_channels, "refused"),
        )
    ),
)

CHECKS = (*MATHEMATICS, *MOVING_STATISTICS, *MODULE_CONTRACT)
