"""`bnrun guide`: the manual, a page per topic."""

from typing import Annotated

import typer

from bnrun.cli import completion
from bnrun.errors import known_value


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="A page; left out, they are listed.",
            autocompletion=completion.topics,
        ),
    ] = None,
) -> None:
    """Read the manual, one page per topic."""
    from bnrun.guide import TOPICS, page, subject
    from bnrun.show.console import show_view
    from bnrun.show.guide_pages import show_page, topics_view

    if topic is None:
        show_view(topics_view([(name, subject(name)) for name in TOPICS]))
    else:
        show_page(page(known_value("TOPIC", topic, TOPICS)))
