"""`train`: one training."""

import contextlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from bnrun import runs, training
from bnrun.api.configs import ConfigLike, resolve_config
from bnrun.data.load import load
from bnrun.events import CheckpointReady, drain
from bnrun.norms import checked_config, norm_text
from bnrun.training.result import TrainingResult


def train(
    config: ConfigLike = None,
    *,
    norm: str | type[nn.Module] | None = None,
    norm_options: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> TrainingResult:
    """Train LeNet with a norm, in this process.

    A launcher such as `torchrun` changes nothing: where it has started several processes, each
    trains alone, with a warning. `torchrun -m bnrun train` shares one training.

    Args:
        config: a `Config`, a YAML file, the name of a config that comes with bnrun, or None for
            the defaults, which are `lenet_bn`.
        norm: a name, `path/to/file.py:Class`, or a class (see `help(bnrun)`).
        norm_options: arguments for its constructor, such as `{"eps": 1e-3}`, in place of those
            written with `norm`.
        epochs: passes over the training images.
        seed: of the initial weights and of the order of the images.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        overrides: any config keys, such as `{"optimizer.lr": 0.5}`.
        out: a folder to keep the run in, as `bnrun train --out` does. None keeps nothing on disk.
        on_event: called with each event as it happens: `RunStarted`, `Progress` a few times a
            second, `Probed` where the key `training.probe` asks for probes, `Activity`,
            `EpochEnded`, `Notice`, `CheckpointReady`, `RunEnded`.

    Returns:
        The result. Its `status` is `diverged` where a loss stopped being finite.

    Raises:
        ConfigError: a key or a value is not acceptable.
        NormError: the norm cannot be loaded or built.
        DataError: the images are missing, damaged, or cannot be fetched.
        DeviceError: the device is not on this machine.
        EngineError: the engine that the config names is not available here.
        RunError: `out` cannot be written.
        TrainingFailed: a step raised, in a layer of your own for example.

    Example:
        >>> import bnrun
        >>> result = bnrun.train(epochs=1, overrides={"data.name": "synthetic"})
        >>> result.status, len(result.epochs)
        ('completed', 1)
        >>> 0 <= result.test_acc <= 1
        True
    """
    _warn_of_launcher()
    name = None if norm is None else norm_text(norm)
    keywords = {
        "norm": name,
        "norm_options": norm_options,
        "epochs": epochs,
        "seed": seed,
        "device": device,
    }
    resolved = checked_config(resolve_config(config, overrides, **keywords))
    where = training.pick_device(resolved.config.training.device)
    dataset = drain(load(resolved.config.data), on_event)
    work = training.train(resolved.config, dataset, where)
    checkpoint: Mapping[str, Any] | None = None
    with contextlib.ExitStack() as stack:
        run = None if out is None else stack.enter_context(runs.create(Path(out), resolved))

        def handle(event: Any) -> None:
            nonlocal checkpoint
            if run is not None:
                run.record(event)
            if isinstance(event, CheckpointReady):
                checkpoint = event.state
            on_event(event)

        summary = drain(work, handle)
    if run is not None and run.summary is not None:
        summary = run.summary  # which names the directory, too
    return TrainingResult(summary, checkpoint)


def _warn_of_launcher() -> None:
    """Warn where a launcher has started several processes, which do not share this training."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size != "1":
        warnings.warn(
            f"a launcher has started {size} processes, and bnrun.train trains in each of them "
            "alone. To train one network together, use the command: torchrun --nproc-per-node "
            f"{os.environ.get('LOCAL_WORLD_SIZE', size)} -m bnrun train",
            stacklevel=3,
        )
