"""The manual: one Markdown page a topic, shown by `bnrun guide TOPIC` and linked from README.md."""

from pathlib import Path

TOPICS = (
    "train",
    "verify",
    "audit",
    "compare",
    "look-inside",
    "study",
    "claims",
    "report",
    "speed",
    "processes",
    "cluster",
    "config",
    "runs",
    "data",
    "python",
    "develop",
)
"""The topics, in the order in which a newcomer may want them."""


def page(topic: str) -> str:
    """Return the Markdown of a topic's page."""
    return Path(__file__).with_name(f"{topic}.md").read_text(encoding="utf-8")


def subject(topic: str) -> str:
    """Return the sentence that says what a topic's page is about: the line below its title."""
    return page(topic).splitlines()[2]
