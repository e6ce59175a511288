"""What an optimizer is given: gamma and beta, one value per channel, and no statistics."""

import dataclasses
from dataclasses import dataclass, field

from bnrun.norms.introspection import BETA, GAMMA
from bnrun.verification.check import Case, check
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import OF_BATCH, OF_OTHERS, Family, Fault
from bnrun.verification.outcome import IDENTITY, Outcome, explained, failed, passed, skipped
from bnrun.verification.subject import Record, Subject

NAMES = {"gamma": GAMMA, "beta": BETA}
WANTED: dict[Family, tuple[str, ...]] = {"rms": ("gamma",), "instance": ()}
"""What a layer of a family should learn, where that is not both."""
NEW = {
    part: f"nn.Parameter(torch.{start}(num_features))"
    for part, start in (("gamma", "ones"), ("beta", "zeros"))
}

MISSING = {
    part: Fault(
        f"{part}-not-a-parameter",
        f"{part} is not a parameter: optimizers do not get it, so it never learns.",
        f"Use self.{part} = nn.Parameter(...).",
    )
    for part in NAMES
}
FROZEN = {
    part: Fault(
        f"{part}-frozen",
        f"{part} is a parameter without gradient (requires_grad=False): it never learns.",
        f"Leave requires_grad out: self.{part} = nn.Parameter(...).",
    )
    for part in NAMES
}
SHARED = {
    part: Fault(
        f"{part}-shared",
        f"{part} is one number for all channels; each channel should have its own.",
        f"Give it the length num_features: {NEW[part]}.",
    )
    for part in NAMES
}
ABSENT = {
    part: Fault(
        f"no-{part}",
        f"There is no {part}: {role} is never learned.",
        f"Add self.{part} = {NEW[part]} and use it in forward.",
    )
    for part, role in (("gamma", "the scale"), ("beta", "the shift"))
}
STATISTICS_LEARNED = Fault(
    "statistics-are-learned",
    "The moving statistics are trainable parameters: an optimizer step after eval() changes them.",
    "Use buffers: self.register_buffer('moving_mean', torch.zeros(num_features)), and so on.",
    families=OF_BATCH,
)
SCALE_NORM = Fault(
    "one-scale-for-all",
    "gamma is one number for all channels.",
    f"Give it the length of a feature vector: {NEW['gamma']}.",
    "ScaleNorm (Nguyen and Salazar 2019)",
    families=("rms",),
)
WITHOUT_BETA = Fault(
    "without-beta",
    "There is no beta: the output is only scaled.",
    "Add self.bias = nn.Parameter(torch.zeros(...)) and add it in forward.",
    "PyTorch with bias=False, and many large language models",
    families=OF_OTHERS,
)
NOTHING_LEARNED = Fault(
    "no-gamma-and-beta",
    "There are no gamma and beta: nothing is learned.",
    "Add self.gamma = nn.Parameter(torch.ones(num_features)), and beta of zeros; or take "
    "affine=False, if that is meant.",
)
AFFINE_WITHOUT_PARAMETERS = dataclasses.replace(
    NOTHING_LEARNED,
    sentence="The constructor's affine option is on, but there are no gamma and beta: nothing is "
    "learned.",
    fix="With affine=True, add self.gamma = nn.Parameter(torch.ones(num_features)), and beta of "
    "zeros.",
)
WITHOUT_AFFINE = Fault(
    "without-affine",
    "There are no gamma and beta: the normalized input is the output.",
    "Add self.gamma = nn.Parameter(torch.ones(num_features)), and beta of zeros.",
    "PyTorch with affine=False, and diffusion transformers (DiT)",
)


@dataclass(frozen=True)
class PartRegistration(Record):
    """How gamma or beta is registered: as a parameter, as one that learns, and in state_dict()."""

    parameter: bool
    learns: bool
    in_state_dict: bool


@dataclass(frozen=True)
class Registration(Record):
    """What a new layer registers.

    Attributes:
        parts: gamma and beta, those that have one value per channel.
        shared: those of gamma and beta that are one number for all channels.
        others: what else is learned, by name.
        statistics: moving statistics that are learned.
        affine: see Subject.
    """

    parts: dict[str, PartRegistration] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    statistics: list[str] = field(default_factory=list)
    affine: bool | None = None


@experiment("parameters")
def registration(subject: Subject) -> Registration:
    """Read out a new layer."""
    layer = subject.build(subject.rank)
    named = dict(layer.module.named_parameters())
    parameters = {id(parameter) for parameter in named.values()}
    stored = {id(tensor) for tensor in layer.module.state_dict(keep_vars=True).values()}
    moving = [named for one in layer.statistics for named in one.by_name().items()]
    record = Registration(affine=subject.affine)
    record.statistics.extend(n for n, t in moving if t.requires_grad and id(t) in parameters)
    for part, tensor in (("gamma", layer.gamma), ("beta", layer.beta)):
        if tensor is not None:
            is_parameter = id(tensor) in parameters
            learns = is_parameter and tensor.requires_grad
            record.parts[part] = PartRegistration(is_parameter, learns, id(tensor) in stored)
    known = {id(tensor) for tensor in (*layer.gammas, *layer.betas, *(t for _, t in moving))}
    for name, parameter in named.items():
        if id(parameter) in known or not parameter.requires_grad:
            continue
        last = name.rpartition(".")[2]
        roles = [role for role, names in NAMES.items() if last in names]
        if not roles and subject.construction.family != "batch" and parameter.numel() == 1:
            roles = ["beta" if bool((parameter == 0).all()) else "gamma"]
        if parameter.numel() == 1 and roles:
            record.shared.extend(roles)
        else:
            record.others.append(name)
    return record


@check(
    registration,
    "module contract",
    "an optimizer gets gamma and beta, with a value per channel, and no statistics",
    needs_forward=False,
)
def _registration(case: Case) -> Outcome:
    record = case.require(registration)
    wanted = WANTED.get(case.construction.family, tuple(NAMES))
    if not record.parts and not record.shared and not record.others:
        return _without_parameters(case, record.affine)
    faults = _faults(case, record)
    absent = [part for part in wanted if part not in record.parts and part not in record.shared]
    if absent and record.others and not faults:
        return skipped(
            f"no {' and no '.join(absent)} under the usual names (weight, gamma, scale; bias, "
            f"beta, shift), but it learns {', '.join(record.others)}"
        )
    learned = f"it learns {' and '.join((*record.parts, *record.shared))} alone"
    if case.construction.family == "layer" and absent == ["beta"]:
        return explained(faults | {WITHOUT_BETA: learned})
    faults |= dict.fromkeys((ABSENT[part] for part in absent), learned)
    return explained(faults) if faults else passed()


def _faults(case: Case, record: Registration) -> dict[Fault, str]:
    """Return what is wrong with what is there, each with what was seen of it."""
    is_rms = case.construction.family == "rms"
    shared = f"1 value for {case.construction.channels} channels"
    faults = {SCALE_NORM if is_rms else SHARED[part]: shared for part in record.shared}
    if record.statistics:
        faults[STATISTICS_LEARNED] = ", ".join(record.statistics)
    for name, part in record.parts.items():
        if part.parameter and not part.learns:
            faults[FROZEN[name]] = "requires_grad is False"
        elif not part.learns:
            faults[MISSING[name]] = "parameters() leaves it out"
    return faults


def _without_parameters(case: Case, affine: bool | None) -> Outcome:
    """Judge a layer that has no parameters at all: that may be meant.

    Its constructor may say so, by an option. Without a word, batch norms alone are expected to
    have gamma and beta, as in every definition of them.
    """
    if case.identity:
        return failed(IDENTITY)
    if affine:
        return failed(AFFINE_WITHOUT_PARAMETERS, note="0 parameters")
    family = case.construction.family
    if family == "batch" and affine is None:
        return failed(NOTHING_LEARNED, note="0 parameters")
    return passed() if WANTED.get(family) == () else failed(WITHOUT_AFFINE, note="0 parameters")
