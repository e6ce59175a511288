"""The device a run trains on, and what it can promise."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from bnrun.errors import DeviceError


def pick_device(wanted: str) -> torch.device:
    """Return the device that `training.device` asks for: auto, cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: it is not on this machine; the message lists what is.
    """
    present = available()
    if wanted == "auto":
        return torch.device(next(d for d in ("cuda:0", "mps", "cpu") if d in present))
    device = torch.device("cuda:0" if wanted == "cuda" else wanted)
    if str(device) not in present:
        raise DeviceError(
            f"training.device: received '{wanted}', which is not on this machine. "
            f"Here: {', '.join(present)}; or `--device auto` takes the best of them."
        )
    return device


def available() -> list[str]:
    """Return the devices of this machine, by torch's names."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def device_name(device: torch.device) -> str:
    """Return a device's name for humans, with the thread count where threads matter."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{platform.machine()} {device.type}"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextlib.contextmanager
def repeatable(device: torch.device, wanted: bool) -> Iterator[None]:
    """Make torch choose deterministic algorithms for the time being, and warn where it has none."""
    if not wanted:
        yield
        return
    if device.type == "cuda":  # read when cuBLAS is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)
        torch.backends.cudnn.benchmark = benchmark
