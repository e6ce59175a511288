"""`verify` and `doctor`: is a normalization layer right, and are torch's own norms?"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bnrun.config.norm_call import parse_norm_call
from bnrun.errors import known_value
from bnrun.events import drain
from bnrun.norms import check_norm
from bnrun.training.device import available, device_name, pick_device
from bnrun.verification.doctor import examine
from bnrun.verification.doctor_result import Examination
from bnrun.verification.fault import FAMILIES
from bnrun.verification.report import CONTRACTS, DTYPES, ENGINES, TIME_LIMIT, Report
from bnrun.verification.verify import verify as verification


def verify(
    norm: str | type[nn.Module],
    *,
    norm_options: Mapping[str, Any] | None = None,
    contract: str = "torch",
    dtype: str | None = None,
    device: str = "cpu",
    engine: str | None = None,
    time_limit: float = TIME_LIMIT,
    isolated: bool | None = None,
    family: str | None = None,
    shapes: str | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> Report:
    """Check whether a normalization layer is right, and name its faults.

    Its outputs, gradients and any moving statistics, from random state, are compared with a
    formula in float64, and with that formula with each known mistake in it. The source is not read.

    Args:
        norm: a name, a file and a class, or a class (see `help(bnrun)`).
        norm_options: arguments for its constructor, in place of those written with `norm`. What
            counts as right stays the same.
        contract: what counts as right: `torch`, PyTorch's layer; or `textbook`, the textbook's.
        dtype: `float64`, `float32`, `bfloat16` or `float16`. None takes float64 where norm and
            device have it, and float32 for compiled kernels.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `eager` or `compiled` alone. None takes eager, and compiled as well where bnrun's
            kernels compute the norm.
        time_limit: seconds that each experiment may take, in a worker.
        isolated: whether the norm runs in a worker, a process that may hang, print or end without
            harm. None isolates a norm that is named by a text, and runs a class in this process,
            since another one may not find it. Neither is a sandbox.
        family: `batch`, `layer`, `group`, `instance` or `rms`: by whose formula it is judged. None
            recognizes it by the name of the class and by what its outputs depend on.
        shapes: the inputs that it is for, such as `2d` for (N, C) or `2d,4d` for images, too. None
            judges all that it accepts; an input that is named must be accepted.
        on_event: called with a `Stage` before each experiment.

    Returns:
        The report: `verdict`, `pass` or `fail`; `faults`, the mistakes that were found, each with
        its `sentence`; `dialects`, differences by choice; and every one of the `checks`.

    Raises:
        NormError: the norm cannot be loaded or built.
        ConfigError: an argument has an unknown value.
        DeviceError: the device is not on this machine.
        EngineError: the kernels do not compute this norm here, and `engine` is compiled.

    Example:
        >>> import bnrun
        >>> bnrun.verify(bnrun.BatchNorm).verdict
        'pass'
    """
    kind = known_value("contract", contract, CONTRACTS)
    chosen = None if engine is None else known_value("engine", engine, ENGINES)
    precision = None if dtype is None else known_value("dtype", dtype, DTYPES)
    written = None
    if isinstance(norm, str):
        norm, written = parse_norm_call(norm, "norm")
    options = norm_options if norm_options is not None else written or {}
    check_norm(norm, options)
    work = verification(
        norm,
        options,
        contract=kind,
        dtype=None if precision is None else getattr(torch, precision),
        device=str(pick_device(device)),
        engine=chosen,
        time_limit=time_limit,
        isolated=isolated,
        family=None if family is None else known_value("family", family, FAMILIES),
        shapes=shapes,
    )
    return drain(work, on_event)


def doctor(
    *,
    device: str | None = None,
    engine: str | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> Examination:
    """Check whether torch's own norms are right on this machine.

    Batch, layer, group, instance and RMS normalization are compared with a formula in float64, in
    every memory format and dtype. It takes seconds for `eager`, and minutes for `compiled`.

    Args:
        device: one device alone; None takes all that are here.
        engine: `eager` or `compiled` alone.
        on_event: called with a `Stage` before each cell.

    Returns:
        The examination: `verdict`, and `results`, a record for each norm, mode, memory format,
        dtype, device and engine, with its error in units of the dtype's rounding.

    Raises:
        DeviceError: the device is not on this machine.
        ConfigError: the engine is unknown.

    Example:
        >>> import bnrun
        >>> bnrun.doctor(device="cpu", engine="eager").verdict
        'pass'
    """
    engines = ENGINES if engine is None else (known_value("engine", engine, ENGINES),)
    devices = available() if device is None else [str(pick_device(device))]
    machines = {name: device_name(torch.device(name)) for name in devices}
    return drain(examine(machines, engines), on_event)
