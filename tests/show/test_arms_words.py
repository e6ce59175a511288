"""The words of a picture of arms count right, whatever was lost."""

from bnrun.comparison.arms import Arm, ArmResult
from bnrun.config import resolve
from bnrun.events import DataUsed, Status
from bnrun.show.arms_words import arm_remark, arms_title, seeds_and_machine
from bnrun.training_summary import Summary

FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 60_000, 0, 10_000)
CONFIG = resolve(None).config


def _trial(seed: int, status: Status) -> Summary:
    return Summary({}, "scratch", "cpu", "CPU", seed, FASHION, status=status)


def _arm(name: str, *statuses: Status) -> ArmResult:
    trials = (_trial(seed, status) for seed, status in enumerate(statuses))
    return ArmResult(Arm(name, CONFIG), tuple(trials))


def test_seeds_are_counted_and_listed() -> None:
    def counted(*arms: ArmResult) -> str:
        return seeds_and_machine(arms).removesuffix(" · CPU · Fashion-MNIST")

    twenty: list[Status] = ["completed"] * 20
    one, two = _arm("a", "completed"), _arm("b", "completed", "completed")
    lost = _arm("none", "diverged")
    assert counted(one) == "n = 1 seed (0) per arm"
    assert counted(two, two) == "n = 2 seeds (0, 1) per arm"
    assert counted(_arm("a", *twenty)) == "n = 20 seeds (0 to 19) per arm"
    assert counted(one, two) == "a: n = 1 seed (0); b: n = 2 seeds (0, 1)"
    assert counted(one, lost) == "a: n = 1 seed (0); arm none: n = 0"
    assert counted(lost) == "n = 0: no trial completed"


def test_what_became_of_an_arms_trials_is_said_in_words() -> None:
    assert arm_remark(_arm("a", "completed", "completed")) == ""
    assert arm_remark(_arm("a")) == "no trial yet"
    assert arm_remark(_arm("a", "diverged")) == "diverged"
    assert arm_remark(_arm("a", "failed", "failed")) == "failed"
    mixed = _arm("a", "completed", "diverged", "interrupted")
    assert arm_remark(mixed) == "1 of 3 seeds diverged, 1 of 3 seeds interrupted"


def test_a_title_names_the_data_once_it_was_loaded() -> None:
    assert arms_title([_arm("a", "diverged")]) == "LeNet on Fashion-MNIST"
    assert arms_title([_arm("a")]) == "LeNet"
