"""The engine of a comparison: resolved once, and named in the configs of all arms that share it.

Pairs are pairs in everything. Were the engine left to `auto` in each trial, two trials of one seed
could be trained by different code. An arm that names an engine of its own is another thing to
compare; it keeps that engine, and the difference shows.
"""

import dataclasses
from collections.abc import Sequence

import torch

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.result import Comparison
from bnrun.comparison.trials import unfinished_trials
from bnrun.data.dataset import Dataset
from bnrun.errors import EngineError
from bnrun.training.engine import Engine
from bnrun.training.engine_choice import choose


def resolve_engine(comparison: Comparison, dataset: Dataset, device: torch.device) -> Comparison:
    """Return a comparison whose engine is known, with every arm naming the one that it runs on.

    Arms that leave the engine to `auto` share one: that of the plan, if it has one; else that of
    the trials that were trained already (in a directory of an older version); else the faster one
    for the first of these arms, if all of them can run on it.

    Raises:
        EngineError: an arm with trials still to be trained names, by itself or by the plan, an
            engine that it cannot run on here.
        NormError, TrainingFailed: see `engine_choice.choose`.
    """
    dataset = dataset.to(device)
    if comparison.engine is not None:
        engine = Engine(comparison.engine, comparison.engine_reason)
        comparison = _with_engine(comparison, engine)
    arms = [result.arm for result in comparison.arms]
    if unfinished_trials(comparison):
        for arm in arms:
            _require(arm, dataset, device)
    if comparison.engine is not None:
        return comparison
    sharing = [arm for arm in arms if arm.engine == "auto"]
    engine = Engine(arms[0].engine)
    if sharing:
        engine = _shared(sharing, _engines_of_trials(comparison), dataset, device)
    return _with_engine(comparison, engine)


def _with_engine(comparison: Comparison, engine: Engine) -> Comparison:
    """Return a comparison with an engine, named by all arms that leave it to `auto`."""
    arms = tuple(
        ArmResult(result.arm.with_engine(engine.name), result.trials)
        if result.arm.engine == "auto"
        else result
        for result in comparison.arms
    )
    return dataclasses.replace(comparison, arms=arms, engine=engine.name, engine_reason=engine.why)


def _shared(
    arms: Sequence[Arm], trained_on: set[str], dataset: Dataset, device: torch.device
) -> Engine:
    """Return the one engine of arms that leave it to `auto`."""
    if len(trained_on) == 1:
        engine = Engine(next(iter(trained_on)), "the trials trained so far ran on it")
    else:
        engine = choose(arms[0].config, dataset, device, arms[0].config.training.epochs)
    try:
        for arm in arms:
            _require(arm.with_engine(engine.name), dataset, device)
    except EngineError as error:
        return Engine("eager", error.reason)
    return engine


def _engines_of_trials(comparison: Comparison) -> set[str]:
    """Return the engines that trials of arms with `auto` were trained on."""
    return {
        trial.engine
        for result in comparison.arms
        if result.arm.engine == "auto"
        for trial in result.trials
        if trial.epochs
    }


def _require(arm: Arm, dataset: Dataset, device: torch.device) -> None:
    """Check that an arm can run here on the engine that it names, if it names one.

    Raises:
        EngineError: it cannot; the message names the arm.
    """
    if arm.engine == "auto":
        return
    try:
        choose(arm.config, dataset, device, arm.config.training.epochs)
    except EngineError as error:
        raise EngineError(f"arm {arm.name}: {error.reason}", error.key) from error
