"""Overrides from options; errors name the option that was given, else the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnrun.cli.overrides import config_overrides, option_names, renamed_keys
from bnrun.config import KEYWORDS, Assignment, resolve
from bnrun.errors import ConfigError, DeviceError


def test_options_come_after_every_set_and_those_not_given_are_left_out() -> None:
    overrides = config_overrides(["training.epochs=3", "optimizer.lr=1e-3"], epochs=5, norm=None)
    assert overrides == [
        Assignment("training.epochs", 3, "--set"),
        Assignment("optimizer.lr", 0.001, "--set"),
        Assignment("training.epochs", 5, "--epochs"),
    ]
    assert config_overrides(None) == []


def test_an_error_about_a_key_that_an_option_has_set_names_the_option() -> None:
    with pytest.raises(DeviceError) as caught, option_names(device="cuda", norm=None):
        raise DeviceError("not here", key="training.device")
    assert (caught.value.key, str(caught.value)) == ("--device", "--device: not here")


@pytest.mark.parametrize("key", ["training.device", None])
def test_an_error_about_anything_else_is_left_as_it_is(key: str | None) -> None:
    with pytest.raises(DeviceError) as caught, option_names(device=None, epochs=3):
        raise DeviceError("not here", key=key)
    assert caught.value.key == key


def test_any_key_may_have_another_name() -> None:
    with pytest.raises(DeviceError, match="^IMPL: why"), renamed_keys({"model.norm": "IMPL"}):
        raise DeviceError("why", key="model.norm")


def test_each_of_several_errors_names_its_option_or_its_key() -> None:
    options = {"epochs": 0, "seed": -1}
    with pytest.raises(ConfigError) as caught, option_names(**options):
        resolve(None, config_overrides(["optimizer.lr=0"], **options))
    starts = [line.partition(" received")[0] for line in str(caught.value).splitlines()[::2]]
    assert starts == ["--set: optimizer.lr:", "--epochs:", "--seed:"]


@given(
    st.dictionaries(st.sampled_from(sorted(KEYWORDS)), st.none() | st.integers(2, 1_000)),
    st.lists(st.tuples(st.sampled_from(["optimizer.lr", "training.seed"]), st.integers(1, 99))),
)
def test_every_override_is_the_value_that_was_written(
    options: dict[str, int | None], sets: list[tuple[str, int]]
) -> None:
    overrides = config_overrides([f"{key}={value}" for key, value in sets], **options)
    values = {assignment.key: assignment.value for assignment in overrides}
    given_options = {KEYWORDS[n]: value for n, value in options.items() if value is not None}
    assert values == dict(sets) | given_options
    assert len(overrides) == len(sets) + len(given_options)
