"""The norms that have a name, as a table."""

from collections.abc import Mapping

from rich.console import Group

from bnrun.norms.descriptions import Description
from bnrun.show.folding import Paragraph
from bnrun.show.tables import label, table, text

NOTE = (
    "x̂ = (x - mean) / √(var + eps). Averages are taken in each channel, where channels are not "
    "named. What is averaged over the batch is replaced by moving averages when predicting; the "
    "others treat each example by itself."
)


def norms_table(descriptions: Mapping[str, Description]) -> Group:
    """Show what each norm computes, what it averages over, and who says so."""
    shown = table(label("norm"), text("formula"), text("averages over"), text("source"))
    for name, one in descriptions.items():
        shown.add_row(name, one.formula, one.averages, one.source)
    return Group(shown, Paragraph(NOTE))
