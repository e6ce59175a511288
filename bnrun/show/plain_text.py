"""Text for terminals and files that have few characters: γ is `gamma`, ± is `+-`."""

import codecs
import io
import unicodedata
from typing import TextIO

SPELLED = {
    "α": "alpha",
    "γ": "gamma",
    "β": "beta",
    "±": "+-",
    "×": "x",
    "²": "^2",
    "√": "sqrt",
    "π": "pi",
    "φ": "phi",
    "′": "'",
    "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
    "…": "...",
    "─": "-",
    "━": "-",
    "═": "=",
    "├": "|",
    "└": "|",
    "│": "|",
    "█": "#",
    "•": "*",
    "·": "-",
    "≤": "<=",
    "“": '"',
    "”": '"',
    "●": "*",
    "○": "o",
    "▲": "^",
    "↑": "^",
    **dict.fromkeys("▌▋▊▉", "#"),
    **dict.fromkeys("▏▎▍", "-"),
}
"""How characters are written where an encoding lacks them."""


def spell_out(stream: TextIO) -> None:
    """Have a stream write the characters that its encoding lacks in others, and never fail.

    In ASCII and the like, a table with γ would end the command. Most systems have UTF-8, where
    this changes nothing.
    """
    codecs.register_error("bnrun.spelled", _spelled)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="bnrun.spelled")


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the rest of a line that cannot be encoded, and where the line ends.

    Where a character becomes several, the next gap between two columns is as much narrower, so that
    tables stay in line.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    line, separator, _ = error.object[error.start :].partition("\n")
    written, excess = "", 0
    for one in line:
        if one == " " and excess > 0 and written.endswith(" "):
            excess -= 1
            continue
        spelled = _spell(one, error.encoding)
        written += spelled
        excess += len(spelled) - (0 if unicodedata.combining(one) else 1)
    return written + separator, error.start + len(line) + len(separator)


def _spell(one: str, encoding: str) -> str:
    """Return a character, or what is written in its place where an encoding lacks it."""
    try:
        one.encode(encoding)
    except UnicodeEncodeError:
        return SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode()
    return one
