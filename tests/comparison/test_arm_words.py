"""Arms in sentences: no name reads as a word of the sentence."""

import pytest

from bnrun.comparison.arm_words import in_words, listed


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("scratch", "scratch"),
        ("lr=0.1", "lr=0.1"),
        ("none", "arm none"),
        ("Both", "arm Both"),
        ("0.1", "arm 0.1"),
    ],
)
def test_a_name_that_reads_as_a_word_or_a_number_is_called_an_arm(name: str, written: str) -> None:
    assert in_words(name) == written


def test_several_are_listed() -> None:
    assert listed(["none"]) == "arm none"
    assert listed(["scratch", "builtin", "mine"]) == "scratch, builtin and mine"
    assert listed(["scratch", "none"]) == "arms scratch and none"


def test_a_name_of_several_words_is_quoted() -> None:
    assert in_words("scratch lr 0.1") == "'scratch lr 0.1'"
    assert in_words("0.1 again") == "arm '0.1 again'"
    assert listed(["scratch", "scratch (2)", "none"]) == "arms scratch, 'scratch (2)' and none"
