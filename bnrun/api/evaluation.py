"""`inspect_gamma`, `evaluate` and `recalibrate`: what can be asked of a trained network."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from bnrun import training
from bnrun.api.configs import recorded_config
from bnrun.api.runs import RUNS, load_run
from bnrun.config import STATISTICS, Config
from bnrun.data.dataset import Dataset
from bnrun.data.load import load
from bnrun.errors import known_value
from bnrun.events import drain
from bnrun.runs.norm_files import with_other_norm
from bnrun.training import evaluation, gamma_inspection
from bnrun.training.evaluation import Evaluation
from bnrun.training.gamma_inspection import Inspection
from bnrun.training.result import TrainingResult

RunLike = TrainingResult | str | Path
"""A training's result, or the path or the name of a run on disk."""


def inspect_gamma(
    run: RunLike = "latest", *, layer: str | None = None, out: str | Path = RUNS
) -> Inspection:
    """Return what the norms of a trained network have learned: γ, β and moving statistics.

    They are read from the checkpoint by their usual names. The norm's class is not run.

    Args:
        run: a result of `train`; or a run on disk: a path, a name, or `latest`.
        layer: one norm alone, `norm1` to `norm4`.
        out: the folder that runs are in, where `run` is a name.

    Raises:
        RunError: there is no such run, it has no checkpoint, or it has no such norm.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> (first,) = bnrun.inspect_gamma(result, layer="norm1").layers
        >>> first.channels, len(first.gamma)
        (6, 6)
    """
    return gamma_inspection.inspect(_result(run, out).state(), layer)


def evaluate(
    run: RunLike = "latest",
    *,
    statistics: Iterable[str] = STATISTICS,
    norm: str | None = None,
    images: int | None = None,
    device: str | None = None,
    out: str | Path = RUNS,
    on_event: Callable[[object], object] = lambda event: None,
) -> Evaluation:
    """Return a trained network's test accuracy with several kinds of statistics.

    The network is built again from the run's config. Where its norm is a Python file, that file is
    run.

    Args:
        run: a result of `train`; or a run on disk: a path, a name, or `latest`.
        statistics: what norms predict with: `moving` (always measured), `population`, `batch`.
        norm: where the run's own norm is now, as `path/to/file.py:Class`, if it moved.
        images: how many training images the population statistics are over.
        device: in place of the run's.
        out: the folder that runs are in, where `run` is a name.
        on_event: called with the progress of loading data.

    Returns:
        The evaluation; `accuracies` holds fractions by kind of statistics.

    Raises:
        RunError: there is no such run, or it has no checkpoint.
        ConfigError: a kind of statistics is unknown, or a value is not acceptable.
        NormError, DataError, DeviceError: the norm, the data or the device is not available.
        TrainingFailed: the network raised, in a layer of your own for example.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> list(bnrun.evaluate(result).accuracies)
        ['moving', 'population', 'batch']
    """
    kinds = [known_value("statistics", kind, STATISTICS) for kind in statistics]
    result = _result(run, out)
    state = result.state()
    config, dataset, where = _prepared(result, norm, images, device, on_event)
    return evaluation.evaluate(config, state, dataset, where, kinds)


def recalibrate(
    run: RunLike = "latest",
    *,
    norm: str | None = None,
    images: int | None = None,
    device: str | None = None,
    out: str | Path = RUNS,
    on_event: Callable[[object], object] = lambda event: None,
) -> TrainingResult:
    """Return a trained network whose norms hold population statistics instead of moving ones.

    They are exact statistics of training images, taken with the final weights (Ioffe & Szegedy
    2015, Algorithm 2). Nothing is written; `bnrun recalibrate` writes a file.

    Args:
        run: a result of `train`; or a run on disk: a path, a name, or `latest`.
        norm: where the run's own norm is now, as `path/to/file.py:Class`, if it moved.
        images: how many training images the statistics are over.
        device: in place of the run's.
        out: the folder that runs are in, where `run` is a name.
        on_event: called with the progress of loading data.

    Raises:
        RunError: there is no such run, it has no checkpoint, or its norms keep no statistics.
        ConfigError: a value is not acceptable.
        NormError, DataError, DeviceError: the norm, the data or the device is not available.
        TrainingFailed: the network raised, in a layer of your own for example.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> exact = bnrun.evaluate(bnrun.recalibrate(result)).accuracies
        >>> exact["moving"] == exact["population"]
        True
    """
    result = _result(run, out)
    config, dataset, where = _prepared(result, norm, images, device, on_event)
    state = evaluation.recalibrate(config, result.state(), dataset, where)
    return TrainingResult(result.summary, state, config.model.norm_source)


def _result(run: RunLike, out: str | Path) -> TrainingResult:
    return run if isinstance(run, TrainingResult) else load_run(run, out=out)


def _prepared(
    result: TrainingResult,
    norm: str | None,
    images: int | None,
    device: str | None,
    on_event: Callable[[object], object],
) -> tuple[Config, Dataset, torch.device]:
    """Return the config of a training, with what the caller changed, its data and its device."""
    config = recorded_config(result.state(), images=images, device=device)
    if norm is not None:
        config = with_other_norm(config, norm)
    elif result.norm_source is not None:
        config = config.with_norm_source(result.norm_source)
    where = training.pick_device(config.training.device)
    return config, drain(load(config.data), on_event), where
