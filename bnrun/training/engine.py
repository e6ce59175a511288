"""The engine: how the operations of a training are executed.

`eager` executes each operation of PyTorch by itself. `compiled` is compiled for the device: on a
CPU, LeNet's layers and the norm `scratch` are `bnrun.kernels`, and with that norm or none a whole
step is one call of them; on a CUDA GPU, a whole step is recorded as one graph (`cuda_graph.py`).
Both compute the same, up to rounding. `engine_choice.py` chooses one for a run.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from bnrun import kernels
from bnrun.errors import EngineError


@dataclass(frozen=True)
class Engine:
    """An engine by name, `eager` or `compiled`; `why` is the reason where `auto` chose it."""

    name: str
    why: str = ""


EAGER, COMPILED = Engine("eager"), Engine("compiled")


def fast_on_cpu() -> Engine:
    """Return `compiled` where the kernels can be compiled, without a measurement; else `eager`."""
    try:
        kernels.is_compiled()
    except EngineError:
        return EAGER
    return COMPILED


def uses_kernels(engine: Engine, device: torch.device) -> bool:
    """Return whether an engine computes with `bnrun.kernels` on a device."""
    return engine.name == "compiled" and device.type == "cpu"


def uses_graphs(engine: Engine, device: torch.device) -> bool:
    """Return whether an engine records whole steps as CUDA graphs on a device."""
    return engine.name == "compiled" and device.type == "cuda"


@contextlib.contextmanager
def running(engine: Engine, device: torch.device) -> Iterator[None]:
    """Execute what is computed inside the block by an engine, on a device.

    Never hold it across a `yield`: the caller would compute by the engine, too.

    Raises:
        EngineError: the kernels of `compiled` cannot be built on this machine.
    """
    on_device = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with on_device, kernels.enabled() if uses_kernels(engine, device) else kernels.disabled():
        yield
