"""The configs that come with bnrun, as a list."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.show.folding import Indented
from bnrun.show.tables import pairs


def configs_view(configs: Iterable[tuple[str, str]]) -> RenderableType:
    """Return the list of configs, each with what it says of itself."""
    heading = Text("bnrun train NAME trains one; bnrun configs NAME prints it:\n")
    return Group(heading, Indented(pairs(configs), 2))
