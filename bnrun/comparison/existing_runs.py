"""Runs that exist, side by side: grouped into arms, and paired by seed where that is possible.

Runs whose configs differ in nothing but the seed are trials of one arm. Nothing is trained, so
there is neither parity nor throughput, and the runs may lack what trials of one comparison share.
"""

import dataclasses
import itertools
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from bnrun.comparison.arm_words import listed, quoted
from bnrun.comparison.arms import Arm, ArmResult
from bnrun.comparison.paired_differences import Criteria
from bnrun.comparison.plan import with_pairs
from bnrun.comparison.result import ArmDifference, Comparison
from bnrun.config import Config
from bnrun.config.difference import RECORDING_KEYS, config_difference, flat_config
from bnrun.config.short_text import short_text
from bnrun.errors import RunError
from bnrun.training_summary import Summary

SAME_ARM = ("training.seed", "data.root", *RECORDING_KEYS)
"""Config keys in which trials of one arm may differ. The images are compared themselves."""
NOT_IN_NAMES = ("training.seed", "model.norm_options", *RECORDING_KEYS)
"""Config keys that no name of an arm shows; the norm's options are shown with the norm."""


@dataclass(frozen=True)
class SideBySide(Comparison):
    """A comparison of runs that were trained before, each by itself.

    Its arms have the engine and the device that their runs were trained on, in place of `auto`.
    Where two arms have different images or devices, no seed makes them a pair.
    """

    ask_again: ClassVar[str] = "bnrun compare RUN RUN …"
    more_seeds: ClassVar[str] = "More seeds make it narrower."

    @property
    def takes_population(self) -> bool:
        """Return whether every run was evaluated with population statistics, if it has any."""
        return _has_population(self.trials)

    @property
    def groups(self) -> tuple[tuple[ArmResult, ...], ...]:
        """Return the arms in groups of the same images and device: only those may be pairs."""
        groups: dict[Hashable, list[ArmResult]] = {}
        for result in self.arms:
            trial = result.trials[0]
            groups.setdefault((trial.images, trial.device), []).append(result)
        return tuple(map(tuple, groups.values()))

    @property
    def networks(self) -> tuple[tuple[Arm, ...], ...]:
        """Return each arm in a group of its own: parity is not asked for."""
        return tuple((result.arm,) for result in self.arms)

    @property
    def differences(self) -> tuple[ArmDifference, ...]:
        """Return the config keys other than the norm in which arms differ from the first."""
        return tuple(one for one in super().differences if one.key not in SAME_ARM)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what must be known to read the numbers, in sentences."""
        return (*self._own_remarks(), *super().remarks)

    def to_dict(self) -> dict[str, Any]:
        """Return the document of a comparison; `runs` are the directories of its trials."""
        runs = [trial.run for trial in self.trials]
        return super().to_dict() | {"measures": [], "runs": runs}

    def _why_unpaired(self) -> str:
        """Return what was different for arms that are no pairs; empty where all may be."""
        if len({trial.images for trial in self.trials}) > 1:
            return "were trained on different images, so their figures do not compare"
        devices = dict.fromkeys(trial.device for trial in self.trials)
        if len(devices) > 1:
            return f"were trained on different devices ({', '.join(devices)})"
        return ""

    def _own_remarks(self) -> Iterator[str]:
        for trial in self.trials:
            done, planned = len(trial.epochs), trial.config["training"]["epochs"]
            if trial.status == "interrupted":
                yield f"{trial.run} has finished {done} of {planned} epochs; no figure includes it."
        if len(self.arms) == 1:
            yield "The runs differ in nothing but the seed: they are one arm."
        else:
            yield from self._pair_remarks()
        if not self.takes_population:
            yield (
                "Not every run recorded its test accuracy with population statistics, so that "
                "row is empty. Only a training records it: bnrun train --set "
                "'training.evaluate=[moving,population]'"
            )
        for trial in self.trials:
            if trial.has_rates_of_several_plans:
                totals = ", then ".join(str(plan.epochs) for plan in trial.plans)
                yield f"{trial.run} has learning rates of a run of {totals} epochs."

    def _pair_remarks(self) -> Iterator[str]:
        """Yield which arms are paired, and what to know of their seeds."""
        if reason := self._why_unpaired():
            yield from self._group_remarks(reason)
        if any(len(group) > 1 for group in self.groups):
            yield from self._seed_remarks()
            yield from self._repeat_remarks()

    def _group_remarks(self, reason: str) -> Iterator[str]:
        """Yield which arms are paired, where not all are, and why the others are not."""
        groups = [[result.arm.name for result in group] for group in self.groups]
        paired = [names for names in groups if len(names) > 1]
        if not paired:
            yield f"The runs are not paired, and no difference is judged: they {reason}."
            return
        yield f"Not all arms are paired with each other: some {reason}."
        for names in paired:
            yield f"Paired are {listed(names)}."
        if alone := [names[0] for names in groups if len(names) == 1]:
            yield f"{listed(alone)} {'is' if len(alone) == 1 else 'are'} paired with no other arm."

    def _repeat_remarks(self) -> Iterator[str]:
        """Yield which arms are the same training again."""
        for first, again in itertools.combinations(self.arms, 2):
            trials = first.trials[0], again.trials[0]
            replanned = any(trial.has_rates_of_several_plans for trial in trials)
            if _are_of_one_arm(*trials) and not replanned:
                yield (
                    f"{listed((first.arm.name, again.arm.name))} have one config and share a seed: "
                    "they differ by what they ran on, or by a change of the code."
                )

    def _seed_remarks(self) -> Iterator[str]:
        """Yield the seeds of arms where they differ, and what a choice of runs does to verdicts."""
        seeds = {
            result.arm.name: tuple(trial.seed for trial in result.completed)
            for group in self.groups
            for result in group
            if len(group) > 1
        }
        if len(set(seeds.values())) > 1:
            each = "; ".join(
                f"{quoted(name)}: {_seed_list(taken)}" for name, taken in seeds.items()
            )
            yield (
                f"The arms do not have the same seeds ({each}). Means are over all runs of an arm, "
                "differences over the seeds that both have"
                + (", of which there are none." if not self.pairs else ".")
            )
        if any(pair.detected is not None for pair in self.pairs):
            yield (
                "These runs were chosen after they were trained: the verdicts hold if their "
                "results had no part in the choice."
            )


def side_by_side(runs: Sequence[Summary], criteria: Criteria) -> SideBySide:
    """Return the comparison of runs, in arms in the order in which the runs are given.

    Raises:
        RunError: none of them is complete.
    """
    if not any(run.status == "completed" for run in runs):
        raise RunError("none of these runs is complete: there is nothing to compare.")
    groups = _groups(runs)
    configs = [_config(group[0]) for group in groups]
    names = _names(configs)
    arms = [
        ArmResult(Arm(name, config), tuple(sorted(group, key=lambda run: run.seed)))
        for name, config, group in zip(names, configs, groups, strict=True)
    ]
    if not _has_population(runs):
        arms = [_without_population(arm) for arm in arms]
    engines = {run.engine for run in runs}
    return SideBySide(
        tuple(arms),
        tuple(sorted({run.seed for run in runs})),
        with_pairs(criteria, len(arms)),
        engine=engines.pop() if len(engines) == 1 else None,
        status="completed",
    )


def _groups(runs: Sequence[Summary]) -> list[list[Summary]]:
    """Return the runs of each arm; a second run of one config and seed is in an arm of its own."""
    groups: list[list[Summary]] = []
    for run in runs:
        for group in groups:
            has_seed = any(other.seed == run.seed for other in group)
            if not has_seed and _are_of_one_arm(group[0], run):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _are_of_one_arm(a: Summary, b: Summary) -> bool:
    """Return whether two runs differ in nothing but what trials of one arm may differ in."""
    keys = (pair.key for pair in config_difference(_config(a).to_dict(), _config(b).to_dict()))
    return a.images == b.images and all(key in SAME_ARM for key in keys)


def _config(run: Summary) -> Config:
    """Return a run's config with the engine and the device that it was trained on."""
    config = Config.model_validate(run.config)
    return config.with_training(engine=run.engine, device=run.device)


def _names(configs: Sequence[Config]) -> list[str]:
    """Return a name for each arm: its norm, and as much of its config as tells it from others."""
    flat = [flat_config(config.to_dict()) for config in configs]
    norms = [config.model.norm_call.rpartition("/")[2] for config in configs]
    names: list[str] = []
    for norm, own in zip(norms, flat, strict=True):
        like = [other for name, other in zip(norms, flat, strict=True) if name == norm]
        name = " ".join([norm, *(short_text(key, own[key]) for key in _telling_keys(like))])
        copies = sum(
            re.fullmatch(rf"{re.escape(name)}( \(\d+\))?", other) is not None for other in names
        )
        names.append(f"{name} ({copies + 1})" if copies else name)
    return names


def _telling_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a few keys by whose values alone flat configs can be told apart, as far as they can.

    Of the keys that are left, the one that tells the most apart is taken next.
    """
    keys: list[str] = []
    while True:
        found = {
            key: _count([*keys, key], configs) for key in configs[0] if key not in NOT_IN_NAMES
        }
        best = max(found, key=found.__getitem__)
        if found[best] == _count(keys, configs):
            return keys
        keys.append(best)


def _count(keys: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> int:
    return len({repr([config[key] for key in keys]) for config in configs})


def _has_population(runs: Sequence[Summary]) -> bool:
    """Return whether every run was evaluated with population statistics, where it has them."""
    return all("population" in run.config["training"]["evaluate"] for run in runs)


def _without_population(result: ArmResult) -> ArmResult:
    """Return an arm without what was measured in some runs alone."""
    trials = (
        dataclasses.replace(
            trial,
            epochs=tuple(
                dataclasses.replace(epoch, test_acc_population=None) for epoch in trial.epochs
            ),
        )
        for trial in result.trials
    )
    return ArmResult(result.arm, tuple(trials))


def _seed_list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"
