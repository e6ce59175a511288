"""Sweeps: a key and several values make an arm for each value."""

from pathlib import Path

import pytest

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.arms import Arm
from bnrun.comparison.sweep import Sweep, parse_sweep
from bnrun.config import parse_override
from bnrun.errors import ConfigError, NormError


def _arms(*words: str, sweeps: tuple[str, ...]) -> tuple[Arm, ...]:
    return build_arms(words, None, (), [parse_sweep(text) for text in sweeps])


def test_values_are_yaml_and_a_comma_within_brackets_separates_none() -> None:
    assert parse_sweep("optimizer.lr=0.01, 1e-1,1") == Sweep("optimizer.lr", (0.01, 0.1, 1))
    assert parse_sweep("training.evaluate=[moving],[moving, batch]").values == (
        ["moving"], ["moving", "batch"],
    )  # fmt: skip


def test_one_arm_is_varied_and_named_after_the_values() -> None:
    arms = _arms("builtin", sweeps=("optimizer.lr=0.01,0.1,1",))
    assert [arm.name for arm in arms] == ["lr=0.01", "lr=0.1", "lr=1"]
    assert [arm.config.optimizer.lr for arm in arms] == [0.01, 0.1, 1.0]
    assert {arm.config.model.norm for arm in arms} == {"builtin"}


def test_without_an_arm_the_config_is_varied() -> None:
    sweeps = [parse_sweep("model.pool=avg,max")]
    arms = build_arms([], None, parse_override("model.norm=none"), sweeps)
    assert [(arm.name, arm.config.model.norm) for arm in arms] == [
        ("pool=avg", "none"),
        ("pool=max", "none"),
    ]


def test_several_arms_and_several_sweeps_are_combined() -> None:
    arms = _arms("scratch", "n=none,model.pool=max", sweeps=("optimizer.lr=0.1,1",))
    assert [arm.name for arm in arms] == ["scratch-lr=0.1", "scratch-lr=1", "n-lr=0.1", "n-lr=1"]
    assert [arm.config.model.pool for arm in arms] == ["avg", "avg", "max", "max"]
    both = _arms(sweeps=("model.activation=relu,sigmoid", "training.evaluate=[moving],[batch]"))
    assert [arm.name for arm in both] == [
        "activation=relu-evaluate=moving", "activation=relu-evaluate=batch",
        "activation=sigmoid-evaluate=moving", "activation=sigmoid-evaluate=batch",
    ]  # fmt: skip


def test_norms_with_options_are_varied_and_swept() -> None:
    arms = _arms("builtin(momentum=0.01)", "none", sweeps=("optimizer.lr=0.1,1",))
    assert arms[1].name == "builtin(momentum=0.01)-lr=1"
    swept = _arms(sweeps=("model.norm=builtin(eps=1e-3, momentum=0.2),builtin",))
    assert [arm.config.model.norm_options for arm in swept] == [{"eps": 1e-3, "momentum": 0.2}, {}]
    assert [arm.name for arm in swept] == ["norm=builtin-eps-1e-3-momentum-0.2", "norm=builtin"]


def test_a_norm_of_ones_own_is_named_after_its_class(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Norm: ...")
    arms = _arms(sweeps=(f"model.norm=scratch,{tmp_path}/mine.py:Norm",))
    assert [arm.name for arm in arms] == ["norm=scratch", "norm=Norm"]


@pytest.mark.parametrize(
    ("words", "sweeps", "message"),
    [
        ((), ("optimizr.lr=1,2",), "--sweep: there is no key 'optimizr.lr'. Did you mean 'optim"),
        ((), ("lr=1,2",), "there is no key 'lr'. Did you mean 'optimizer.lr'?"),
        ((), ("optimizer.lr",), "--sweep: received 'optimizer.lr'; a sweep is KEY=VALUE,VALUE,…"),
        ((), ("optimizer.lr=1",), "--sweep optimizer.lr: received 1 value; a sweep takes two or"),
        ((), ("optimizer.lr=",), "--sweep optimizer.lr: received no values; a sweep takes two"),
        ((), ("optimizer.lr=1,2,1.0",), "--sweep optimizer.lr: received 1 twice."),
        ((), ("optimizer.lr=1,x",), "--sweep: optimizer.lr: received 'x'; it must be a number"),
        ((), ("optimizer.lr=[1,2",), "this is not valid YAML"),
        ((), ("optimizer=1,2",), "this is a section with the keys lr,"),
        ((), ("training.seed=1,2",), "--sweep training.seed: arms must have this key in common"),
        ((), ("training.seed=1,2",), "`--seeds N` trains every arm with N seeds."),
        ((), ("data.name=synthetic,fashion-mnist",), "--sweep data.name: arms must have this"),
        ((), ("optimizer.lr=1,2", "optimizer.lr=3,4"), "--sweep: optimizer.lr: is given twice"),
        (("a=none,optimizer.lr=1",), ("optimizer.lr=1,2",), "arm a=none,optimizer.lr=1: optimizer"),
        (("none",), ("model.norm=none,scratch",), "arm none: model.norm: --sweep gives this key"),
        (
            ("none", "scratch"),
            (f"training.epochs={','.join(map(str, range(1, 61)))}",),
            "that makes 120 arms, which are 120 trainings for each seed; a comparison takes at",
        ),
    ],
)
def test_what_makes_no_arms_is_refused_with_what_is_required(
    words: tuple[str, ...], sweeps: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        _arms(*words, sweeps=sweeps)
    assert message in str(refused.value)


def test_a_swept_norm_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NormError, match="arm norm=buitin: there is no norm 'buitin'. Did you mean"):
        _arms(sweeps=("model.norm=scratch,buitin",))
