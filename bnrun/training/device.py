"""The device a run trains on, and torch's deterministic algorithms on it."""

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import torch

from bnrun.errors import DeviceError


def pick_device(name: str) -> torch.device:
    """Return the device that `training.device` names: auto, cpu, cuda, cuda:N or mps.

    `auto` is the first of CUDA, mps and the CPU that this machine has.

    Raises:
        DeviceError: the device is not on this machine; the reason lists those that are. Its key
            is `training.device`, which a caller that has an option instead replaces.
    """
    present = available()
    if name == "auto":
        return torch.device(next(d for d in ("cuda:0", "mps", "cpu") if d in present))
    device = torch.device("cuda:0" if name == "cuda" else name)
    if str(device) not in present:
        raise DeviceError(
            f"received '{name}', which is not on this machine. Here: {', '.join(present)}; "
            "auto takes the fastest of them.",
            key="training.device",
        )
    return device


def available() -> list[str]:
    """Return the devices of this machine by torch's names, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def device_name(device: torch.device) -> str:
    """Return a device's name for humans; a CPU's with the number of torch's threads."""
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
    """Wait until the device has finished all work that was queued on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextlib.contextmanager
def deterministic(device: torch.device, enabled: bool) -> Iterator[None]:
    """Let torch choose deterministic algorithms inside the block, and warn where it has none.

    Where it is not enabled, change nothing. Torch's switches are global to the process, so never
    hold this across a `yield`.
    """
    if not enabled:
        yield
        return
    if device.type == "cuda":  # cuBLAS reads it once, at its first use
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    enabled_before = torch.are_deterministic_algorithms_enabled()
    warn_only_before = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark_before = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled_before, warn_only=warn_only_before)
        torch.backends.cudnn.benchmark = benchmark_before
