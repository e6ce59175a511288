"""Are torch's own norms right on this machine? Each is compared with a formula in float64.

Batch, layer, group, instance and RMS normalization, in training and when predicting, on every
device, in every memory format and dtype, executed step by step (eager) and compiled. Errors are
counted in units of the dtype's rounding: its eps, times the largest value expected. A few are
unavoidable.
"""

import itertools
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnrun.events import Stage
from bnrun.verification.doctor_result import SUSPECT, Cell, CellResult, Examination
from bnrun.verification.fault import Choice
from bnrun.verification.recipe import right, simulate
from bnrun.verification.report import DTYPES, ENGINES
from bnrun.verification.situations import SHAPES, Situation, make_situation
from bnrun.verification.subject import Construction
from bnrun.workers import Worker, WorkerLost

FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "channels_last_3d": torch.channels_last_3d,
}
GROUPS = 2
EPS = 1e-5
LACKING = ("not implemented for", "not supported", "compiler", "triton")
"""Words of errors that say that torch does not offer something here."""
LIMIT_SECONDS = 120.0
"""Time limit of a cell: compiling the first one loads a compiler."""


@dataclass(frozen=True)
class Norm:
    """One of torch's norms: its name, the rank of its input, and in which modes it differs."""

    name: str
    rank: int
    modes: tuple[str, ...] = ("any",)
    formats: tuple[str, ...] = ("contiguous",)


BOTH = ("training", "predicting")
NORMS = (
    Norm("BatchNorm1d", 2, BOTH),
    Norm("BatchNorm2d", 4, BOTH, ("contiguous", "channels_last")),
    Norm("BatchNorm3d", 5, BOTH, ("contiguous", "channels_last_3d")),
    Norm("LayerNorm", 2),
    Norm("GroupNorm", 4, formats=("contiguous", "channels_last")),
    Norm("InstanceNorm2d", 4, formats=("contiguous", "channels_last")),
    Norm("RMSNorm", 2),
)
CONSTRUCTIONS = {
    "LayerNorm": Construction("layer", last=True),
    "GroupNorm": Construction("group", groups=GROUPS),
    "InstanceNorm2d": Construction("instance"),
    "RMSNorm": Construction("rms", last=True),
}
"""By norm: the construction whose formula it is compared with; of the others, a batch norm's."""


def cells(devices: Sequence[str], engines: Sequence[str]) -> Iterator[Cell]:
    """Yield everything that there is to examine on these devices."""
    for device, engine, norm in itertools.product(devices, engines, NORMS):
        for mode, layout, dtype in itertools.product(norm.modes, norm.formats, DTYPES):
            yield Cell(norm.name, mode, layout, dtype, device, engine)


def examine(
    machines: Mapping[str, str], engines: Sequence[str] = ENGINES, limit: float = LIMIT_SECONDS
) -> Generator[Stage, None, Examination]:
    """Examine torch's norms, cell by cell, in a separate process.

    Yields a stage before the process starts, and before each cell.

    Args:
        machines: the devices, by torch's names, each with its name for humans.
        engines: eager, compiled or both.
        limit: seconds that a cell may take.
    """
    results: list[CellResult] = []
    every = list(cells(list(machines), engines))
    yield Stage("loading torch in a process", 0, len(every))
    with Worker("loading torch's norms", _prepare, (), limit, records=(CellResult, Cell)) as worker:
        for cell in every:
            yield Stage(f"{cell.norm}, {cell.dtype}, {cell.engine}", len(results), len(every))
            try:
                results.append(worker.run(cell))
            except WorkerLost as lost:
                results.append(CellResult(cell, "fail", reason=f"it {lost}"))
    return Examination(tuple(results), torch.__version__, machines)


def _prepare() -> Any:
    return examine_here


def examine_here(cell: Cell) -> CellResult:
    """Examine a cell in this process."""
    if cell.dtype == "float64" and cell.device == "mps":
        return CellResult(cell, "skip", reason="there is no float64 on mps")
    try:
        units = _units(cell)
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
        is_lacking = any(word in str(error).lower() for word in LACKING)
        is_gap = is_lacking or isinstance(error, NotImplementedError)
        return CellResult(cell, "skip" if is_gap else "fail", reason=reason)
    if not math.isfinite(units):
        return CellResult(cell, "fail", reason="the error is not finite")
    return CellResult(cell, "fail" if units > SUSPECT else "pass", units)


def _units(cell: Cell) -> float:
    norm = next(norm for norm in NORMS if norm.name == cell.norm)
    dtype: torch.dtype = getattr(torch, cell.dtype)
    situation = make_situation(SHAPES[norm.rank], dtype)
    training = cell.mode != "predicting"
    expected = formula(cell.norm, situation, training)
    observed = _run(cell, situation, dtype, training)
    rounding = torch.finfo(dtype).eps
    worst = 0.0
    for name, values in observed.items():
        right = expected[name]
        distance = float((values - right).abs().max()) / float(right.abs().max())
        worst = max(worst, distance / rounding)
        if math.isnan(distance):  # `max` would pass over it
            return math.inf
    return worst


def formula(norm: str, situation: Situation, training: bool) -> dict[str, Tensor]:
    """Return y, the gradients and any moving statistics of one of torch's norms, in float64."""
    construction = CONSTRUCTIONS.get(norm, Construction())
    recipe = right("torch", construction.ways(torch.float64))
    situation = situation.without(gamma=False, beta=norm == "RMSNorm", moving=False)
    formulas = {
        part: getattr(recipe, part).having(eps=Choice(EPS)) for part in ("training", "predicting")
    }
    return simulate(recipe.having(**formulas), situation, training=training, grad=True)


def _run(cell: Cell, situation: Situation, dtype: torch.dtype, training: bool) -> dict[str, Tensor]:
    """Run one of torch's norms, and return the same."""
    device = torch.device(cell.device)
    layer = _layer(cell.norm, situation.x.shape[1]).to(device, dtype).train(training)
    state = {"weight": situation.gamma, "bias": situation.beta}
    state |= {"running_mean": situation.moving_mean, "running_var": situation.moving_var}
    with torch.no_grad():
        for name, values in state.items():
            if getattr(layer, name, None) is not None:
                getattr(layer, name).copy_(values.to(dtype))
    function: Any = layer
    if cell.engine == "compiled":
        torch.compiler.reset()
        function = torch.compile(layer)
    x, g = (
        values.to(dtype).to(device, copy=True).contiguous(memory_format=FORMATS[cell.format])
        for values in (situation.x, situation.g)
    )
    x.requires_grad_()
    y = function(x)
    learned = {"d_x": x, "d_gamma": layer.weight, "d_beta": getattr(layer, "bias", None)}
    leaves = {name: tensor for name, tensor in learned.items() if tensor is not None}
    gradients = torch.autograd.grad(y, tuple(leaves.values()), g)
    observed = {"y": y, **dict(zip(leaves, gradients, strict=True))}
    if getattr(layer, "running_mean", None) is not None:
        observed |= {"moving_mean": layer.running_mean, "moving_var": layer.running_var}
    return {name: values.detach().cpu().double() for name, values in observed.items()}


def _layer(norm: str, channels: int) -> Any:
    if norm == "LayerNorm":
        return nn.LayerNorm(channels, eps=EPS)
    if norm == "GroupNorm":
        return nn.GroupNorm(GROUPS, channels, eps=EPS)
    if norm == "InstanceNorm2d":
        return nn.InstanceNorm2d(channels, eps=EPS, affine=True)
    return getattr(nn, norm)(channels, eps=EPS)
