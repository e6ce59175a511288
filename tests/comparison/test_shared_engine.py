"""The engine of a comparison is resolved once, and every arm names the one that it runs on."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from bnrun.comparison import shared_engine
from bnrun.comparison.arms import Arm
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import Comparison
from bnrun.comparison.shared_engine import resolve_engine
from bnrun.config import Config
from bnrun.data.dataset import Dataset
from bnrun.errors import EngineError
from bnrun.events import EpochEnded
from bnrun.training.engine import Engine
from bnrun.training_summary import Summary, planned

Arms = Callable[..., tuple[Arm, ...]]
CPU = torch.device("cpu")
CHOSEN = Engine("compiled", "a step takes 1 ms compiled, 3 ms eager")


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Choose `compiled` for `auto`, and no graph of `textbook`; return who asked for what."""
    asked: list[tuple[str, str]] = []

    def choose(config: Config, dataset: Dataset, device: torch.device, epochs: int) -> Engine:
        wanted, norm = config.training.engine, config.model.norm
        asked.append((norm, wanted))
        if (norm, wanted) == ("textbook", "compiled"):
            raise EngineError("a step with norm 'textbook' can't be recorded", "training.engine")
        return CHOSEN if wanted == "auto" else Engine(wanted)

    monkeypatch.setattr(shared_engine, "choose", choose)
    return asked


def _resolved(arms: tuple[Arm, ...], data: Dataset) -> Comparison:
    return resolve_engine(make_plan(arms, (0,)), data, CPU)


def _engines(comparison: Comparison) -> dict[str, str]:
    return {result.arm.name: result.arm.engine for result in comparison.arms}


def test_auto_is_decided_once_for_all_arms(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("scratch", "builtin", "none"), small)
    assert (found.engine, found.engine_reason) == (CHOSEN.name, CHOSEN.why)
    assert _engines(found) == {"scratch": "compiled", "builtin": "compiled", "none": "compiled"}
    assert [wanted for _, wanted in choices].count("auto") == 1
    assert choices[0] == ("scratch", "auto")
    assert found.differences == ()


def test_the_config_of_every_trial_names_the_engine(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("scratch", "builtin"), small)
    for result in found.arms:
        assert result.arm.with_seed(7).training.engine == "compiled"


def test_an_arm_that_names_an_engine_keeps_it_and_the_difference_shows(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("scratch", "eager=scratch,training.engine=eager"), small)
    assert _engines(found) == {"scratch": "compiled", "eager": "eager"}
    (difference,) = found.differences
    assert (difference.key, difference.value_a, difference.value_b) == (
        "training.engine", "compiled", "eager",
    )  # fmt: skip


def test_an_engine_is_chosen_for_the_first_arm_that_leaves_it_open(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("eager=scratch,training.engine=eager", "builtin"), small)
    assert found.engine == "compiled"
    assert ("builtin", "auto") in choices


def test_an_engine_that_one_arm_cannot_run_on_is_shared_by_none(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("scratch", "textbook"), small)
    assert _engines(found) == {"scratch": "eager", "textbook": "eager"}
    assert found.engine_reason.startswith("arm textbook: a step with norm 'textbook' can't")


def test_an_arm_that_cannot_run_on_the_engine_it_names_is_refused(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    arms = arms_of("scratch", "t=textbook,training.engine=compiled")
    with pytest.raises(EngineError, match="training.engine: arm t: a step with norm 'textbook'"):
        _resolved(arms, small)


def test_what_is_resolved_stays_so(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    found = _resolved(arms_of("scratch", "builtin"), small)
    choices.clear()
    assert resolve_engine(found, small, CPU) == found
    edited = replace(found, arms=make_plan(arms_of("scratch", "builtin"), (0,)).arms)
    assert resolve_engine(edited, small, CPU) == found
    assert "auto" not in {wanted for _, wanted in choices}


def test_a_machine_without_the_planned_engine_cannot_continue(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    arms = arms_of("scratch", "textbook")
    plan = replace(make_plan(arms, (0,)), engine="compiled")
    with pytest.raises(EngineError, match="arm textbook: a step with norm 'textbook'"):
        resolve_engine(plan, small, CPU)
    for arm in arms:
        trial = replace(_trained(arm, 0, "compiled"), status="completed")
        plan = plan.with_trial(arm.name, trial)
    assert resolve_engine(plan, small, CPU).engine == "compiled"  # there is nothing left to train


def _trained(arm: Arm, seed: int, engine: str) -> Summary:
    epoch = EpochEnded(1, 1.0, 0.9, 0.8, None, None, None, 1.0)
    return replace(planned(arm.with_seed(seed).to_dict()), engine=engine, epochs=(epoch,))


def test_trials_of_an_older_version_decide_for_those_that_are_left(
    small: Dataset, arms_of: Arms, choices: list[tuple[str, str]]
) -> None:
    arms = arms_of("scratch", "builtin")
    plan = make_plan(arms, (0, 1))
    for arm in arms:
        plan = plan.with_trial(arm.name, _trained(arm, 0, "eager"))
    found = resolve_engine(plan, small, CPU)
    assert (found.engine, found.engine_reason) == ("eager", "the trials trained so far ran on it")
    assert ("scratch", "auto") not in choices

    mixed = plan.with_trial("builtin", _trained(arms[1], 0, "compiled"))
    assert resolve_engine(mixed, small, CPU).engine == "compiled"  # chosen anew
