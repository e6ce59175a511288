"""The plan of a comparison: what it consists of, decided before anything is trained.

A plan is a `Comparison` without results. Its document is compare.yaml in the comparison's
directory.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bnrun.comparison.arms import MAX_TIMED_ARMS, Arm, ArmResult
from bnrun.comparison.paired_differences import DEFAULT_CRITERIA, PAIRS, Criteria
from bnrun.comparison.result import MEASURES, Comparison, Measure
from bnrun.config import Config
from bnrun.config.difference import config_difference
from bnrun.config.schema import SEED_LIMIT
from bnrun.errors import ConfigError, known_value
from bnrun.paths import folder_name
from bnrun.training_summary import METRICS

MAX_SEEDS = 10_000
"""Most trials of an arm. More are a slip of the keyboard: at 10 s each, they would take a day."""

MAX_NAME = 80
"""Longest name of an arm: it heads a column, and is part of a folder's name."""

_NAME = re.compile(r"\w[\w.=+-]*(\([^/\n]*\)[\w.=+-]*)?")
"""A name of an arm: a plain one, that of a norm with its options, or of a swept value, or both."""

MAX_ARMS = 100
"""Most arms. More would be a search for settings, which a comparison of means does not serve."""

FEW_ARMS = 3
"""Arms up to which all pairs are judged unless the user decides: 3 make 3 pairs, 6 make 15."""

SHARED_KEYS = (
    "training.seed", "training.device", "data.name", "data.root", "data.validation", "data.images",
)  # fmt: skip
"""Config keys that arms must have in common: without them their trials would not be pairs."""


def make_plan(
    arms: Sequence[Arm],
    seeds: int | Sequence[int],
    criteria: Criteria = DEFAULT_CRITERIA,
    measures: Sequence[Measure] = MEASURES,
) -> Comparison:
    """Return the plan of a comparison of arms over seeds.

    Args:
        arms: two or more.
        seeds: the seeds, or how many: then they count up from the arms' own seed.
        criteria: how to judge pairs. Where they do not say which, it is decided here.
        measures: what to measure beside the trials. Many arms are not timed.

    Raises:
        ConfigError: there are fewer than two arms or too many, two of one name, an invalid name,
            or a key differs that arms must share; there is no seed, or one is invalid or given
            twice; or the criteria are invalid.
    """
    check_arms(arms)
    if isinstance(seeds, int):
        first = arms[0].config.training.seed
        seeds = range(first, first + seeds)
    check_seeds(seeds)
    check_criteria(criteria)
    if len(arms) > MAX_TIMED_ARMS:
        measures = [measure for measure in measures if measure != "throughput"]
    results = tuple(ArmResult(arm, ()) for arm in arms)
    return Comparison(results, tuple(seeds), with_pairs(criteria, len(arms)), tuple(measures))


def with_pairs(criteria: Criteria, arms: int) -> Criteria:
    """Return criteria that say which pairs of so many arms are judged."""
    if criteria.pairs is not None:
        return criteria
    return dataclasses.replace(criteria, pairs="all" if arms <= FEW_ARMS else "first")


def revise_plan(
    plan: Comparison, criteria: Criteria, measures: Collection[Measure] = MEASURES
) -> Comparison:
    """Return a comparison with what a later session may change: nothing that trials depend on.

    Args:
        plan: the comparison, with the results that it has.
        criteria: `survivors` judges pairs of which trials were lost, and `pairs` says which to
            judge. False and None leave them as they are; the plan keeps its metric and margin.
        measures: nothing else is measured any more.
    """
    criteria = dataclasses.replace(
        plan.criteria,
        survivors=criteria.survivors or plan.criteria.survivors,
        pairs=criteria.pairs or plan.criteria.pairs,
    )
    kept = tuple(measure for measure in plan.measures if measure in measures)
    return dataclasses.replace(plan, criteria=criteria, measures=kept)


def check_arms(arms: Sequence[Arm]) -> None:
    """Check that arms can be compared.

    Raises:
        ConfigError: see `make_plan`.
    """
    if len(arms) < 2:
        raise ConfigError("a comparison needs two arms or more.")
    if len(arms) > MAX_ARMS:
        raise ConfigError(
            f"received {len(arms)} arms, which are as many trainings for each seed; a comparison "
            f"takes at most {MAX_ARMS}."
        )
    check_names([arm.name for arm in arms])
    first = arms[0]
    for arm in arms:
        for difference in config_difference(first.config.to_dict(), arm.config.to_dict()):
            if difference.key in SHARED_KEYS:
                raise ConfigError(
                    f"arm {arm.name}: {difference.key} can't differ between arms, whose trials "
                    "share seed, images and device to be pairs. For all of them: --set "
                    f"{difference.key}=…"
                )


def check_seeds(seeds: Sequence[int]) -> None:
    """Check the seeds of trials.

    Raises:
        ConfigError: there are no seeds or too many, or one is invalid or given twice.
    """
    if not 1 <= len(seeds) <= MAX_SEEDS:
        raise ConfigError(f"received {len(seeds)} seeds; there must be 1 to {MAX_SEEDS:,}.")
    for seed in seeds:
        if not 0 <= seed < SEED_LIMIT:
            raise ConfigError(
                f"received seed {seed}; seeds must be whole numbers from 0 to {SEED_LIMIT - 1}."
            )
    repeated = [seed for seed, count in Counter(seeds).items() if count > 1]
    if repeated:
        raise ConfigError(f"received seed {repeated[0]} twice; seeds must differ.")


def check_names(names: Sequence[str]) -> None:
    """Check the names of arms.

    Raises:
        ConfigError: one is invalid or given twice.
    """
    folders = [folder_name(name) for name in names]
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            raise ConfigError(
                f"arm {name}: received the name '{name}'; it must be made of at most {MAX_NAME} "
                "letters, digits, _, . and -, as in max=scratch,model.pool=max"
            )
        if folders.count(folder_name(name)) > 1:
            raise ConfigError(
                f"arm {name}: there are two of this name. Give one of them another, as in "
                "other=scratch,model.pool=max"
            )


def check_criteria(criteria: Criteria) -> None:
    """Check how pairs are to be judged.

    Raises:
        ConfigError: there is no such metric or choice of pairs, or the margin is not above 0.
    """
    if criteria.metric is not None:
        known_value("--metric", criteria.metric, METRICS)
    if criteria.pairs is not None:
        known_value("--pairs", criteria.pairs, PAIRS)
    margin = criteria.equivalence
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise ConfigError(
            f"received {margin:g}; the margin must be above 0, such as .005.", "--equivalence"
        )


def plan_to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the plan of a comparison as plain values."""
    return {
        "arms": [
            {"name": result.arm.name, "config": result.arm.config.to_dict()}
            for result in comparison.arms
        ],
        "seeds": list(comparison.seeds),
        "engine": comparison.engine,
        "engine_reason": comparison.engine_reason,
        "criteria": dataclasses.asdict(comparison.criteria),
        "measures": list(comparison.measures),
    }


def plan_from_dict(document: Mapping[str, Any]) -> Comparison:
    """Return the plan that plain values describe.

    Older plans have no engine, no criteria, or criteria that do not say which pairs are judged:
    all were. They measure everything.

    Raises:
        ConfigError: see `make_plan`.
        KeyError, TypeError, ValueError: the values are no plan.
    """
    plan = make_plan(
        arms=[
            Arm(str(arm["name"]), Config.model_validate(arm["config"])) for arm in document["arms"]
        ],
        seeds=[int(seed) for seed in document["seeds"]],
        criteria=Criteria(**{"pairs": "all"} | document.get("criteria", {})),
        measures=[
            known_value("measures", one, MEASURES) for one in document.get("measures", MEASURES)
        ],
    )
    engine = document.get("engine")
    if engine not in (None, "eager", "compiled"):
        raise ConfigError(f"received '{engine}'; it must be eager or compiled.", "engine")
    return dataclasses.replace(
        plan,
        engine=engine,
        engine_reason=document.get("engine_reason", ""),
    )
