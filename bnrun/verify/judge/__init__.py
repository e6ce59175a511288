"""The checks: each named, asked for in a sentence, and judged on what was observed."""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bnrun.verify.judge import module, offered, outputs, statistics
from bnrun.verify.judge.outcome import Case, Outcome, failed, skipped
from bnrun.verify.known import behaviour
from bnrun.verify.report import Group
from bnrun.verify.situations import LAYOUTS

Judge = Callable[[Case], Outcome]


@dataclass(frozen=True)
class CheckKind:
    """A check that can be made: of which experiments, and, where it is for one, of which rank.

    `forward`: whether it needs a forward pass that works.
    """

    name: str
    group: Group
    about: str
    experiments: tuple[str, ...]
    judge: Judge
    rank: int | None = None
    forward: bool = True


def _ranked(
    title: str, about: str, experiment: str, judge: Callable[..., Outcome], ranks: Sequence[int],
    group: Group = "mathematics",
) -> Iterator[CheckKind]:  # fmt: skip
    for rank in ranks:
        judged = functools.partial(judge, rank=rank)
        name = f"{title}, {LAYOUTS[rank]}"
        yield CheckKind(name, group, about, (f"{experiment} {rank}",), judged, rank)


def _mathematics() -> Iterator[CheckKind]:
    group: Group = "mathematics"
    for part, title in (("training", "in training"), ("predicting", "when predicting")):
        about = f"the output {title}, from random gamma, beta and moving statistics"
        judge = functools.partial(outputs.forward, training=part == "training")
        yield from _ranked(f"forward {title}", about, part, judge, (2, 4, 3, 5))
    for part, title in (("training", "in training"), ("predicting", "when predicting")):
        about = f"the gradients of x, gamma and beta {title}, against those of the formula"
        judge = functools.partial(outputs.gradients, training=part == "training")
        yield from _ranked(f"gradients {title}", about, part, judge, (2, 4))
    for part, title in (("training", "in training"), ("predicting", "when predicting")):
        yield CheckKind(
            f"finite differences {title}", group,
            "the gradients against finite differences of its own output (gradcheck)",
            (f"gradcheck {part}",),
            functools.partial(outputs.finite_differences, training=part == "training"),
        )  # fmt: skip
    yield CheckKind(
        "variance far below eps", group, "the output where eps decides: variances near 1e-6",
        (), outputs.faint_variance,
    )  # fmt: skip
    yield CheckKind(
        "large mean, small spread", group, "the output at a mean of 1e6 and a spread near 1",
        ("far",), outputs.large_mean,
    )  # fmt: skip
    yield CheckKind(
        "channels of one value", group, "output and gradient at a variance of 0",
        ("level",), outputs.level_channel,
    )  # fmt: skip
    yield CheckKind(
        "tiny and odd shapes", group,
        "batches of 1 and 2, one channel, one position: output and moving statistics",
        ("odd",), outputs.odd_shapes,
    )  # fmt: skip
    yield CheckKind(
        "input left unchanged", group, "the input holds the same values afterwards",
        ("input",), module.input_unchanged,
    )  # fmt: skip
    yield CheckKind(
        "float64 kept", group, "float64 is not narrowed on the way, nor in the output",
        ("double",), module.float64_kept,
    )  # fmt: skip
    yield CheckKind(
        "non-contiguous input", group, "slices and transposes give what their copies give",
        ("layouts",), functools.partial(_layouts, "strided", "transposed"),
    )  # fmt: skip
    yield CheckKind(
        "channels_last input", group, "memory format channels_last gives what contiguous gives",
        ("layouts",), functools.partial(_layouts, "channels_last"),
    )  # fmt: skip
    yield CheckKind(
        "same output twice", group, "the same state and input give the same output, to the bit",
        ("repeat",), module.repeatable,
    )  # fmt: skip


def _layouts(*names_then_case: object) -> Outcome:
    *names, case = names_then_case
    assert isinstance(case, Case)
    return module.layouts(case, *map(str, names))


def _moving() -> Iterator[CheckKind]:
    group: Group = "moving statistics"
    yield CheckKind(
        "starting values", group, "gamma 1, beta 0, moving mean 0, moving variance 1",
        ("start",), statistics.starting_values, forward=False,
    )  # fmt: skip
    yield CheckKind(
        "first update", group, "the moving statistics after one batch, from random ones",
        (), statistics.first_update,
    )  # fmt: skip
    yield from _ranked(
        "updates in order", "the moving statistics after each of three batches", "updates",
        statistics.updates, (2, 4), group,
    )  # fmt: skip
    yield CheckKind(
        "left alone when predicting", group, "predicting moves no moving statistics",
        (), statistics.left_alone,
    )  # fmt: skip
    yield CheckKind(
        "no graph kept", group, "nothing of autograd's graph outlives a step",
        ("graph",), statistics.no_graph,
    )  # fmt: skip
    yield CheckKind(
        "memory over many steps", group, "nothing of a batch is held after many steps",
        ("memory",), statistics.memory,
    )  # fmt: skip


def _contract() -> Iterator[CheckKind]:
    group: Group = "module contract"
    yield CheckKind(
        "mode", group, "what train(), eval() and no_grad() switch, in all four combinations",
        ("modes",), statistics.mode,
    )  # fmt: skip
    yield CheckKind(
        "gamma and beta are parameters", group, "an optimizer would be given both",
        ("parameters",), module.parameters, forward=False,
    )  # fmt: skip
    yield CheckKind(
        "state_dict", group, "it holds all state: loading it restores predictions",
        ("state_dict",), module.state_dict,
    )  # fmt: skip
    yield CheckKind(
        "deepcopy", group, "a copy predicts the same, and shares nothing", ("deepcopy",),
        functools.partial(module.copied, experiment="deepcopy", fails=behaviour.COPY_FAILS),
    )  # fmt: skip
    yield CheckKind(
        "pickle", group, "the same of a pickled copy", ("pickle",),
        functools.partial(module.copied, experiment="pickle", fails=behaviour.PICKLE_FAILS),
    )  # fmt: skip
    yield CheckKind(
        ".double()", group, "it reaches gamma, beta and the moving statistics",
        ("double",), module.double,
    )  # fmt: skip
    options = (
        ("eps", "eps=", "another eps has its effect", offered.other_eps),
        (
            "momentum",
            "momentum=",
            "momentum is the weight of the new batch",
            offered.other_momentum,
        ),
        ("momentum none", "momentum=None", "the plain average over batches", offered.momentum_none),
        ("affine", "affine=False", "neither gamma nor beta", offered.affine_false),
        ("track", "track_running_stats=False", "predicts with the batch", offered.track_false),
    )
    for experiment, name, about, judge in options:
        yield CheckKind(name, group, f"{about}, where offered", (experiment,), judge)
    yield CheckKind(
        "one value per channel", group, "refused in training: its variance is 0 always",
        ("one value",), statistics.one_value,
    )  # fmt: skip
    yield CheckKind(
        "wrong channel count", group, "an input of other channels than it was built for is refused",
        ("channels",), module.wrong_channels,
    )  # fmt: skip


CHECKS: tuple[CheckKind, ...] = (*_mathematics(), *_moving(), *_contract())


def judge(kind: CheckKind, case: Case) -> Outcome:
    """Judge one check: by what was observed, or by the trouble there was in observing it."""
    evidence = case.evidence
    if kind.rank is not None and kind.rank not in evidence.ranks:
        return _not_taken(kind, case, kind.rank)
    if not evidence.ranks and kind.forward:
        return skipped("no forward pass works")
    for experiment in kind.experiments:
        seen = evidence.observations[experiment]
        if seen.trouble == "not run":
            return skipped(seen.message)
        if seen.trouble is not None:
            return _trouble(case, experiment)
    return kind.judge(case)


def _not_taken(kind: CheckKind, case: Case, rank: int) -> Outcome:
    """Judge an input of a rank with which no forward pass works.

    It is not offered, unless the class asked for the rank when it was built, or takes none at all.
    """
    seen = case.evidence.observations[f"training {rank}"]
    if seen.trouble == "not run":
        return skipped(seen.message)
    asked = case.evidence.offers["asks_rank"] and rank in (2, 4)
    none_taken = not case.evidence.ranks and rank in (2, 4)
    if seen.trouble == "raised" and not asked and not none_taken:
        return skipped(f"not taken: {seen.message}")
    if kind.name.startswith("forward in training") or seen.trouble != "raised":
        other = case.evidence.observations["training 2"]
        if _but_for_numbers(other.message) == _but_for_numbers(seen.message):
            seen = other
        return failed(behaviour.trouble(str(seen.trouble), seen.message))
    return skipped(f"no forward pass works for {LAYOUTS[rank]}")


def _but_for_numbers(text: str) -> str:
    """Return a message without the numbers that tell one shape from another."""
    return re.sub(r"[\d ,()]+", " ", text)


def _trouble(case: Case, experiment: str) -> Outcome:
    """Judge an experiment that came to nothing: as following from a known fault, if it does."""
    seen = case.evidence.observations[experiment]
    unregistered = module.unregistered(case)
    if experiment == "double" and case.float64_refused:
        return failed(behaviour.FLOAT64_REFUSED)
    if experiment == "double" and unregistered:
        return failed(*unregistered, note=seen.message)
    return failed(behaviour.trouble(str(seen.trouble), seen.message))
