"""The first screen of the README: the two commands that a newcomer types."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_two_first_commands_stand_on_the_first_screen() -> None:
    first_screen = README.splitlines()[:40]
    assert "pip install . && bnrun train configs/lenet_bn.yaml" in first_screen
    assert "pip install '.[test]' && pytest" in first_screen


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    pattern = re.search(r'grep -m 1 -E "(.*)" README\.md', script)
    assert pattern is not None
    first = next(line for line in README.splitlines() if re.search(pattern[1], line))
    assert first == "pip install '.[test]' && pytest"


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 250
