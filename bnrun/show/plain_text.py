"""Text for terminals and files that have few characters: γ is `gamma`, ± is `+-`."""

import codecs
import io
from typing import TextIO

SPELLED = {
    "γ": "gamma",
    "β": "beta",
    "±": "+-",
    "×": "x",
    "²": "^2",
    "√": "sqrt",
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
    """Return what stands for the characters that could not be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    texts = (
        SPELLED.get(one) or one.encode("ascii", "backslashreplace").decode()
        for one in error.object[error.start : error.end]
    )
    return "".join(texts), error.end
