"""Errors say where, which key and why; and they pass between processes whole."""

import pickle

import pytest

from bnrun.errors import BnrunError, ConfigError, TrainingFailed


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BnrunError("why"), "why"),
        (BnrunError("why", "data.root"), "data.root: why"),
        (BnrunError("why", "optimizer.lr", "c.yaml:3"), "c.yaml:3: optimizer.lr: why"),
        (BnrunError("why", source="c.yaml"), "c.yaml: why"),
        (BnrunError("why", "--epochs", "--epochs"), "--epochs: why"),
    ],
)
def test_the_text_is_source_key_and_reason(error: BnrunError, text: str) -> None:
    assert str(error) == text


def test_several_config_errors_are_one_with_a_line_each() -> None:
    error = ConfigError("x", "a", others=[ConfigError("y", "b"), ConfigError("z", source="f:1")])
    assert str(error) == "a: x\nb: y\nf:1: z"
    assert [other.reason for other in error.others] == ["y", "z"]


def test_an_error_is_pickled_with_all_its_parts() -> None:
    error = ConfigError("why", "key", "source", [ConfigError("other", "k")])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ConfigError
    assert (str(again), again.key, again.source) == (str(error), "key", "source")
    assert again.others[0].key == "k"
    failed = pickle.loads(pickle.dumps(TrainingFailed("why", "key")))
    assert (str(failed), failed.exit_code) == ("key: why", 1)
