"""Any arm that is written is read back; any other text is an error that says what is required."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bnrun.comparison.arm_syntax import parse_arm
from bnrun.config import STATISTICS, Assignment, Config, parse_override, resolve
from bnrun.config.yaml_text import inline
from bnrun.errors import ConfigError, NormError
from bnrun.norms import NORMS

POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)

# Values of keys that an arm may have of its own; some of them hold commas.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model.pool": st.sampled_from(["avg", "max"]),
    "model.activation": st.sampled_from(["sigmoid", "relu"]),
    "optimizer.lr": POSITIVE,
    "optimizer.schedule": st.sampled_from(["constant", "one-cycle"]),
    "training.epochs": st.integers(1, 10**6),
    "training.deterministic": st.booleans(),
    "training.evaluate": st.lists(st.sampled_from(STATISTICS), min_size=1, max_size=4),
    "optimizer": st.fixed_dictionaries(
        {"momentum": st.floats(0.1, 0.9), "nesterov": st.booleans(), "weight_decay": POSITIVE}
    ),
}
NAMES = st.from_regex(r"[\w-]{1,40}", fullmatch=True)
SPACES = st.sampled_from(["", " ", "  "])
PIECES = st.sampled_from(
    ["scratch", "builtin", "model.pool", "optimizer", "=", ",", ":", "[", "]", "{", "}", " ", "max",
     "0.9", "name", "../", "\n", "γ", "'", "#"]
)  # fmt: skip


OWN = st.lists(st.sampled_from(sorted(VALUES)), unique=True).flatmap(
    lambda keys: st.tuples(
        *(VALUES[key].map(lambda value, key=key: f"{key}={inline(value)}") for key in keys)
    )
)
"""Some keys in any order, each with a value, as they are written."""


def _config(norm: str, own: tuple[str, ...]) -> Config:
    assignments = [each for text in own for each in parse_override(text)]
    return resolve(None, [Assignment("model.norm", norm, "test"), *assignments]).config


@given(NAMES, st.sampled_from(sorted(NORMS)), OWN, SPACES)
def test_an_arm_is_read_back_as_it_was_written(
    name: str, norm: str, own: tuple[str, ...], space: str
) -> None:
    arm = parse_arm(f",{space}".join([f"{name}={norm}", *own]), [])
    assert arm.name == name
    assert arm.config == _config(norm, own)


@given(OWN, OWN)
def test_its_own_keys_win_over_those_of_all_arms(
    own: tuple[str, ...], shared: tuple[str, ...]
) -> None:
    for_all = [each for text in shared for each in parse_override(text)]
    arm = parse_arm(",".join(["a=scratch", *own]), for_all)
    assert arm.config == _config("scratch", (*shared, *own))


@given(st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_an_arm_or_an_error_of_the_config_or_the_norm(text: str) -> None:
    with contextlib.suppress(ConfigError, NormError):
        assert parse_arm(text, []).config.model.norm
