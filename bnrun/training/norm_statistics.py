"""What the norms of several processes normalize by: the whole batch, or each process's share of it.

Only norms over the batch are concerned. `training.norm_statistics` asks for one of the two; whether
a layer can be synchronized depends on its class.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from bnrun.config import Config
from bnrun.errors import ConfigError
from bnrun.networks.lenet import LeNet
from bnrun.norms import norm_factory
from bnrun.norms.batch_norm import BatchNorm
from bnrun.norms.noise import NoisyBatchNorm
from bnrun.processes import Processes
from bnrun.training.random_numbers import preserved_generators

KEY = "training.norm_statistics"

Kind = Literal["", "synced", "local"]
"""Nothing to share out, as for one process or a norm over each example; else see the config key."""

OWN = (BatchNorm, NoisyBatchNorm)
"""The classes that `bnrun.norms.synchronized` computes; a subclass may compute something else."""
TORCHS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""The classes that `nn.SyncBatchNorm` computes, on CUDA."""

CHANNELS = 8


@dataclass(frozen=True)
class NormStatistics:
    """What norms normalize by, and a sentence where that is not what the config asks for."""

    kind: Kind = ""
    notice: str = ""


def norm_statistics(config: Config, processes: Processes, device: torch.device) -> NormStatistics:
    """Return what the norms of a config will normalize by.

    Raises:
        ConfigError: they shall be synchronized, and that has no meaning or no code here.
        NormError: the norm cannot be loaded or built.
    """
    if not processes.is_distributed or not _depends_on_the_batch(config):
        return NormStatistics()
    if config.training.norm_statistics == "local":
        return NormStatistics("local")
    if config.training.norm_batch is not None:
        raise ConfigError(
            f"received 'synced' with training.norm_batch={config.training.norm_batch}: pieces of a "
            "batch are normalized apart, and not with other processes. Fix: --set "
            f"{KEY}=local, which cuts each process's share into such pieces",
            key=KEY,
        )
    norm, kinds = config.model.norm_call, _classes(config)
    if kinds <= set(OWN):
        return NormStatistics("synced")
    if not kinds <= set(TORCHS):
        return NormStatistics(
            "local",
            f"{KEY}: norm '{norm}' has no synchronized form, so each process normalizes its own "
            f"share of a batch, as with {KEY}=local",
        )
    if device.type != "cuda":
        raise ConfigError(
            f"received 'synced' for norm '{norm}', which PyTorch synchronizes on CUDA alone. Fix: "
            f"--norm scratch, the same function, on any device; or --set {KEY}=local",
            key=KEY,
        )
    return NormStatistics("synced")


def synchronize(model: LeNet, processes: Processes) -> None:
    """Let a network's norms normalize whole batches, of which each process has a share."""
    for place in ("norm1", "norm2", "norm3", "norm4"):
        norm = getattr(model, place)
        if type(norm) in OWN:
            norm.processes = processes
        elif type(norm) in TORCHS:
            convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
            setattr(model, place, convert(norm, processes.group))


def _classes(config: Config) -> set[type[nn.Module]]:
    """Return the classes of a config's norms, without identities."""
    source = config.model.norm_source
    factory = norm_factory(source.norm, config.model.norm_options, source.copy)
    with preserved_generators(torch.device("cpu")):
        return {type(factory(CHANNELS, rank)) for rank in (2, 4)} - {nn.Identity}


def _depends_on_the_batch(config: Config) -> bool:
    """Return whether an example's output in training depends on the others in its batch.

    A norm that raises on so small a batch is taken to depend on it.
    """
    source = config.model.norm_source
    factory = norm_factory(source.norm, config.model.norm_options, source.copy)
    shapes = {2: (CHANNELS,), 4: (CHANNELS, 4, 4)}
    generator = torch.Generator().manual_seed(0)
    for rank, shape in shapes.items():
        first, rest, others = (torch.rand(3, *shape, generator=generator) for _ in range(3))
        outputs = []
        with preserved_generators(torch.device("cpu")):
            layer = factory(CHANNELS, rank)
        for more in (rest, others):
            with preserved_generators(torch.device("cpu")), torch.enable_grad():
                try:
                    outputs.append(layer(torch.cat([first, more]))[: len(first)])
                except Exception:
                    return True
        if not torch.equal(*outputs):
            return True
    return False
