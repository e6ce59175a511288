"""Arms as users write them."""

from pathlib import Path
from typing import Any

import pytest

from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.sweep import parse_sweep
from bnrun.config import Assignment, parse_override
from bnrun.errors import ConfigError, NormError


def test_a_norm_is_an_arm_of_its_name() -> None:
    arms = build_arms(["scratch", "builtin"], None)
    assert [(arm.name, arm.config.model.norm) for arm in arms] == [
        ("scratch", "scratch"),
        ("builtin", "builtin"),
    ]


def test_a_class_of_ones_own_is_an_arm_of_the_class_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Norm: ...")
    arms = build_arms([f"{tmp_path}/mine.py:Norm", "scratch"], None)
    assert arms[0].name == "Norm"
    assert arms[0].config.model.norm == f"{tmp_path}/mine.py:Norm"


def test_a_named_arm_varies_anything_else() -> None:
    first, second = build_arms(
        ["max=scratch,model.pool=max",
         "nag=none,optimizer={momentum: 0.9, nesterov: true},training.batch_size=64"],
        None,
    )  # fmt: skip
    assert (first.name, first.config.model.pool) == ("max", "max")
    assert (second.name, second.config.model.norm) == ("nag", "none")
    assert (second.config.optimizer.nesterov, second.config.training.batch_size) == (True, 64)


def test_the_arm_wins_over_the_command_line_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model: {pool: max, activation: relu}\noptimizer: {lr: 2}\n")
    arms = build_arms(
        ["a=scratch,optimizer.lr=4", "builtin"],
        tmp_path / "c.yaml",
        [*parse_override("optimizer.lr=3"), Assignment("model.activation", "sigmoid", "--set")],
    )
    assert [arm.config.optimizer.lr for arm in arms] == [4, 3]
    assert {arm.config.model.pool for arm in arms} == {"max"}
    assert {arm.config.model.activation for arm in arms} == {"sigmoid"}


def test_every_arm_is_evaluated_with_moving_and_population_statistics() -> None:
    plain, more = build_arms(["scratch", "b=builtin,training.evaluate=[batch]"], None)
    assert plain.config.training.evaluate == ("moving", "population")
    assert more.config.training.evaluate == ("moving", "population", "batch")


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ([], "compare takes two arms or more, received 0"),
        (["scratch"], "compare takes two arms or more, received 1"),
        (["scratch", "scratch"], "arm scratch: there are two of this name"),
        (["a=scratch", "a=builtin"], "Give one of them another, as in other=scratch"),
        (["scratch", "=builtin"], "arm =builtin: an arm is a norm, or NAME=NORM,KEY=VALUE"),
        (["scratch", "a="], "arm a=: an arm is a norm"),
        (["scratch", "scratch,model.pool=max"], "arm scratch: there are two of this name"),
        (["scratch", "builtin(eps=1"], "arm builtin(eps=1: received 'builtin(eps=1': its bracket"),
        (["scratch", "b=builtin(1e-3)"], "'1e-3' is not option=value"),
        (["model.pool=max", "builtin"], "an arm is a norm, or NAME=NORM,KEY=VALUE"),
        (["scratch", "a b=builtin"], "received the name 'a b'"),
        (["scratch", ""], "model.norm: received ''; it must not be empty"),
        (["scratch", "../x=builtin"], "an arm is a norm, or NAME=NORM,KEY=VALUE"),
        (["scratch", "a=builtin,modl.pool=max"], "there is no key 'modl.pool'. Did you mean"),
        (["scratch", "a=builtin,model.pool=mx"], "received 'mx'; it must be 'avg' or 'max'"),
        (["scratch", "a=builtin,junk"], "junk: this must be KEY=VALUE"),
        (["scratch", "a=builtin,training.seed=3"], "training.seed can't differ between arms"),
        (["scratch", "a=builtin,data.validation=9"], "data.validation can't differ between arms"),
        (["scratch", "a=builtin,data.images=9"], "data.images can't differ between arms"),
        (["scratch", "a=builtin,training={device: cpu}"], "training.device can't differ"),
    ],
)  # fmt: skip
def test_what_is_no_arm_is_refused_with_what_is_required(arms: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_arms(arms, None)
    assert message in str(refused.value)


def test_a_norm_for_all_arms_is_refused_since_each_arm_names_its_own(tmp_path: Path) -> None:
    overrides = parse_override("model.norm=none", "--set")
    with pytest.raises(ConfigError, match="--set: model.norm: received none; arms are norms"):
        build_arms(["scratch", "builtin"], None, overrides)
    lr = parse_sweep("optimizer.lr=0.1,1")
    assert build_arms([], None, overrides, [lr])[0].config.model.norm == "none"
    (file := tmp_path / "a.yaml").write_text("model: {norm: none}")
    assert build_arms(["scratch", "builtin"], file)[0].config.model.norm == "scratch"


@pytest.mark.parametrize(
    ("arm", "name", "norm", "options", "epochs"),
    [
        ("builtin(momentum=0.01)", "builtin(momentum=0.01)", "builtin", {"momentum": 0.01}, 10),
        ("builtin(momentum=none, eps=1e-3),training.epochs=2", "builtin(momentum=none,eps=0.001)",
         "builtin", {"momentum": None, "eps": 1e-3}, 2),
        ("a=builtin(momentum=0.01,eps=1),training.epochs=2", "a", "builtin",
         {"momentum": 0.01, "eps": 1}, 2),
        ("builtin()", "builtin", "builtin", {}, 10),
        ("a=builtin,model.norm=scratch(eps=1,affine=false)", "a", "scratch",
         {"eps": 1, "affine": False}, 10),
    ],
)  # fmt: skip
def test_a_norm_in_an_arm_may_have_options(
    arm: str, name: str, norm: str, options: dict[str, Any], epochs: int
) -> None:
    built, _ = build_arms([arm, "none"], None)
    config = built.config
    assert built.name == name
    assert (config.model.norm, config.model.norm_options) == (norm, options)
    assert config.training.epochs == epochs


def test_two_arms_whose_folders_would_be_one_are_refused() -> None:
    with pytest.raises(ConfigError, match="there are two of this name"):
        build_arms(["builtin(eps=1)", "builtin_eps_1=builtin"], None)


def test_an_option_that_an_arms_norm_does_not_take_is_refused() -> None:
    with pytest.raises(NormError) as refused:
        build_arms(["scratch", "a=builtin(epz=1)"], None)
    assert str(refused.value) == (
        "arm a=builtin(epz=1): norm builtin takes no option 'epz'. Did you mean 'eps'? It takes: "
        "eps, momentum, affine, track_running_stats, bias."
    )


def test_a_norm_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NormError) as refused:
        build_arms(["scratch", "a=buitin"], None)
    assert str(refused.value).startswith("arm a=buitin: there is no norm 'buitin'. Did you mean 'b")
