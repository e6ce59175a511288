"""The text `NORM(option=value)`: a norm with arguments for its constructor, and back.

    builtin(momentum=0.01)
    path/to/mine.py:Norm(eps=1e-3, affine=false)

A value is a number, true or false, none, text, or a list of these; text is quoted where it has
commas or brackets, or would read as something else. There are no expressions.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bnrun.config import yaml_text
from bnrun.errors import ConfigError

_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'\""

_PLAIN_TEXT = re.compile(r"[./+-]*\w[\w./+-]*")
"""Text that needs no quotes, unless it reads as a number, as true, false or none."""


def parse_norm_call(text: str, source: str) -> tuple[str, dict[str, Any] | None]:
    """Return a norm, and the options in the brackets after it; None where there are no brackets.

    Args:
        text: the norm, with or without options.
        source: what errors call the place that the text comes from.

    Raises:
        ConfigError: the brackets are not closed, or what is in them is no list of options.
    """
    text = text.strip()
    if not text.endswith(")"):
        if text.count("(") > text.count(")"):
            raise _malformed(text, "its bracket is not closed", source)
        return text, None
    opening = _matching_bracket(text)
    if not opening:
        raise _malformed(text, "its brackets do not match", source)
    return text[:opening].rstrip(), _options(text, text[opening + 1 : -1], source)


def norm_call(norm: str, options: Mapping[str, Any]) -> str:
    """Return the text that `parse_norm_call` reads back; without options, the norm alone."""
    if not options:
        return norm
    return f"{norm}({','.join(f'{name}={_written(value)}' for name, value in options.items())})"


def split_at_commas(text: str, depth: int = 0) -> list[str]:
    """Split a text at its commas outside brackets. Quotes count inside brackets alone.

    Args:
        text: what to split.
        depth: how many brackets around it were taken off.
    """
    parts, start = [], 0
    for index, character, inside in _depths(text, depth):
        if character == "," and inside == depth:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _depths(text: str, depth: int) -> Iterator[tuple[int, str, int]]:
    """Yield (index, character, depth of brackets) of each character outside quotes."""
    quote = ""
    for index, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif depth and character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
            yield index, character, depth


def _matching_bracket(text: str) -> int:
    """Return where the bracket opens that the text's last character closes; 0 if nowhere.

    It is looked for from the end: the name of a folder, before it, may have brackets of its own.
    """
    depth, quote = 0, ""
    for index in range(len(text) - 1, 0, -1):
        character = text[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _CLOSING) - (character in _OPENING)
        if depth == 0:
            return index if character == "(" else 0
    return 0


def _options(text: str, inside: str, source: str) -> dict[str, Any]:
    """Return the options that stand between the brackets of a text."""
    options: dict[str, Any] = {}
    for part in split_at_commas(inside, depth=1) if inside.strip() else ():
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not name.isidentifier() or not value:
            raise _malformed(text, f"'{part.strip()}' is not option=value", source)
        if name in options:
            raise _malformed(text, f"'{name}' is given twice", source)
        options[name] = _value(value, source)
    return options


def _malformed(text: str, problem: str, source: str) -> ConfigError:
    return ConfigError(
        f"received '{text}': {problem}. A norm with options is written NORM(option=value, …), such "
        'as "builtin(momentum=0.01)", in quotes for the shell.',
        source=source,
    )


def _value(text: str, source: str) -> Any:
    return None if text.lower() == "none" else yaml_text.parse(text, source).value


def _written(value: Any) -> str:
    if isinstance(value, list):
        items = ("null" if one is None else _written(one) for one in value)  # inside, all is YAML
        return f"[{', '.join(items)}]"
    if not isinstance(value, str):
        return "none" if value is None else yaml_text.inline(value)
    if _PLAIN_TEXT.fullmatch(value) and _value(value, "") == value:
        return value
    return "'{}'".format(value.replace("'", "''"))
