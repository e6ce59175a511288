"""`NORM(option=value)`: to a norm and its options, and back."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bnrun.config import Assignment, Config, parse_override, resolve
from bnrun.config.norm_call import norm_call, parse_norm_call
from bnrun.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "norm", "options"),
    [
        ("builtin", "builtin", None),
        ("builtin()", "builtin", {}),
        (" builtin ( momentum = 0.01 ) ", "builtin", {"momentum": 0.01}),
        ("a(x=1e-3, y=-2, z=True, n=none)", "a", {"x": 1e-3, "y": -2, "z": True, "n": None}),
        ("a(t=text, q='1, )', l=[1, x])", "a", {"t": "text", "q": "1, )", "l": [1, "x"]}),
        ("~/it's (1)/mine.py:Norm", "~/it's (1)/mine.py:Norm", None),
        ("~/it's (1)/mine.py:Norm(eps=1)", "~/it's (1)/mine.py:Norm", {"eps": 1}),
        ("copy(1)/mine.py:Norm(t='a(')", "copy(1)/mine.py:Norm", {"t": "a("}),
    ],
)
def test_a_norm_and_its_options_are_told_apart(text, norm, options) -> None:
    assert parse_norm_call(text, "--norm") == (norm, options)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("builtin(eps=1", "its bracket is not closed"),
        ("builtin eps=1)", "its brackets do not match"),
        ("(eps=1)", "its brackets do not match"),
        ("builtin(1e-3)", "'1e-3' is not option=value"),
        ("builtin(eps=)", "'eps=' is not option=value"),
        ("builtin(eps=1,)", "'' is not option=value"),
        ("builtin(eps=1, eps=2)", "'eps' is given twice"),
    ],
)
def test_what_is_malformed_is_refused_with_the_form(text, problem) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_norm_call(text, "--norm")
    assert str(refused.value) == (
        f"--norm: received '{text}': {problem}. A norm with options is written "
        'NORM(option=value, …), such as "builtin(momentum=0.01)", in quotes for the shell.'
    )


_NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
_TEXTS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), max_size=8)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS
)
_VALUES = _SCALARS | st.lists(_SCALARS, max_size=3)


@example({"mode": "...", "other": "---"})  # marks of YAML
@given(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back(options: dict[str, Any]) -> None:
    assert parse_norm_call(norm_call("mine.py:Norm", options), "") == ("mine.py:Norm", options)


def test_a_config_holds_norm_and_options_apart_wherever_they_come_from() -> None:
    wanted = {"norm": "builtin", "norm_options": {"eps": 1e-3}}
    ways = [
        [Assignment("model.norm", "builtin(eps=1e-3)", "--norm")],
        parse_override("model={norm: builtin, norm_options: {eps: 1e-3}}"),
        parse_override("model.norm=builtin(eps=1e-3)"),
        parse_override("model.norm=builtin") + parse_override("model.norm_options.eps=1e-3"),
        parse_override("model.norm_options={eps: 2}")
        + parse_override("model.norm=builtin(eps=1e-3)"),
    ]
    configs = [resolve(None, way).config for way in ways]
    configs.append(Config(model={"norm": "builtin(eps=1e-3)"}))  # type: ignore[arg-type]
    for config in configs:
        assert config.to_dict()["model"].items() >= wanted.items()
        assert config.model.norm_call == "builtin(eps=0.001)"


def test_one_option_is_assigned_beside_the_others() -> None:
    texts = ["model.norm=builtin(eps=2)", "model.norm_options.momentum=null"]
    config = resolve(None, [one for text in texts for one in parse_override(text)]).config
    assert config.model.norm_options == {"eps": 2, "momentum": None}


@pytest.mark.parametrize("options", ["[1]", "1", "{a b: 1}", "{a: {b: 1}}", "{a: .inf}", ""])
def test_options_that_are_no_plain_mapping_are_refused(options: str) -> None:
    with pytest.raises(ConfigError, match="it must be a mapping from the names of options to"):
        resolve(None, parse_override(f"model.norm_options={options}"))
