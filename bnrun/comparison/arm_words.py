"""Arms in sentences."""

import re
from collections.abc import Iterable, Mapping

_WORD = re.compile(
    "all|an|any|as|both|each|either|every|few|half|it|less|many|more|most|much|neither|never|no"
    "|none|not|nothing|one|only|others?|same|slightly|some|still|that|the|they|this|two|three|very",
    re.IGNORECASE,
)
"""Names that a sentence would read as a word of its own: `none higher`, `both are the same`."""


def in_words(name: str) -> str:
    """Return an arm's name as a sentence writes it: `scratch`, `arm none`, `'scratch lr 0.1'`."""
    return f"arm {quoted(name)}" if _reads_as_a_word(name) else quoted(name)


def listed(names: Iterable[str]) -> str:
    """Return the names of arms as a sentence lists them: `a and b`, `arms a, b and none`."""
    *others, last = names
    if not others:
        return in_words(last)
    arms = "arms " if any(map(_reads_as_a_word, (*others, last))) else ""
    return f"{arms}{', '.join(map(quoted, others))} and {quoted(last)}"


def quoted(name: str) -> str:
    """Return an arm's name in quotation marks where it is several words: `'scratch lr 0.1'`."""
    return f"'{name}'" if " " in name else name


def capitalized(sentence: str) -> str:
    """Return a sentence with a capital where it starts with `arm` or `arms`."""
    starts_with_arm = re.match(r"arms? ", sentence)
    return sentence[0].upper() + sentence[1:] if starts_with_arm else sentence


def _reads_as_a_word(name: str) -> bool:
    return _WORD.fullmatch(name) is not None or not name[0].isalpha()


def one_call_remark(in_one_call: Mapping[str, bool]) -> str | None:
    """Return what part of a difference in speed is not the norms' own; None where it is all theirs.

    Args:
        in_one_call: of each arm of the engine compiled: whether its step is one call of a kernel.
    """
    whole = [arm for arm, is_whole in in_one_call.items() if is_whole]
    layered = [arm for arm, is_whole in in_one_call.items() if not is_whole]
    if not whole or not layered:
        return None
    return (
        f"In {listed(whole)}, a training step is one call of a kernel, from the batch to SGD. In "
        f"{listed(layered)}, it calls layer by layer: kernels for the layers and norms that have "
        "one, and the others as their authors wrote them. So part of the difference is not the "
        "norms' own; --set training.engine=eager compares the layers alone."
    )
