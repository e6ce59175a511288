"""YAML is read by version 1.2's rules, and strictly."""

import math

import pytest

from bnrun.config.yaml_text import parse
from bnrun.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100_000.0),
        ("-.5", -0.5),
        ("3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("+7", 7),
        ("1:30", "1:30"),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("[1, 2.0, x]", [1, 2.0, "x"]),
        ("'1e-3'", "1e-3"),
        (".inf", math.inf),
    ],
)
def test_plain_scalars_follow_the_core_schema(text: str, value: object) -> None:
    parsed = parse(text, "here").value
    assert parsed == value
    assert type(parsed) is type(value)


def test_nothing_is_none() -> None:
    assert parse("", "here").value is None
    assert parse("# only a comment\n", "here").value is None
    assert parse("key:", "here").value == {"key": None}


def test_a_duplicate_key_is_refused_with_both_lines() -> None:
    with pytest.raises(ConfigError, match=r"c.yaml:3: .*'lr' stands here and on line 2"):
        parse("optimizer:\n  lr: 1\n  lr: 2\n", "c.yaml")


@pytest.mark.parametrize(
    "text",
    ["model:\n  norm: none\nmodel.norm: builtin\n", "model.norm: builtin\n\nmodel: {norm: none}\n"],
)
def test_a_key_in_its_section_and_by_its_dotted_name_is_a_duplicate(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"c.yaml:3: .*'model.norm' stands here and on line [12];"
    ):
        parse(text, "c.yaml")


def test_the_lines_of_keys_are_known() -> None:
    lines = parse("# a\nmodel:\n  norm: none\n\ntraining: {epochs: 3}\n", "c").lines
    assert lines == {
        "model": 2,
        "model.norm": 3,
        "training": 5,
        "training.epochs": 5,
    }
    assert parse("a: 1\nmodel.norm: none\n", "c").lines["model.norm"] == 2


@pytest.mark.parametrize(
    "text",
    ["a: [1", "a: b: c", "\x00\x01", "--- 1\n--- 2\n", "!!python/object:os.system {}", "[" * 1000],
)
def test_what_is_not_one_plain_document_is_a_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^c\.yaml:"):
        parse(text, "c.yaml")
