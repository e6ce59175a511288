"""The norms that have a name, and normalized weights, as tables."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from bnrun.norms.descriptions import Description
from bnrun.show.folding import Paragraph
from bnrun.show.tables import label, table, text

NOTE = (
    "x̂ = (x - mean) / √(var + eps). Averages are taken in each channel, where channels are not "
    "named. What is averaged over the batch is replaced by moving averages when predicting; the "
    "others treat each example by itself."
)


WEIGHTS_NOTE = "Weights of all layers but the last, with any norm or none; v and g are trained."


def norms_table(
    norms: Mapping[str, Description], weights: Mapping[str, Description]
) -> RenderableType:
    """Show what each norm computes, what it averages over, and who says so; weights, too."""
    of_norms, of_weights = _table("norm", norms), _table("model.weights", weights)
    return Group(of_norms, Paragraph(NOTE), Text(), of_weights, Paragraph(WEIGHTS_NOTE))


def _table(name: str, descriptions: Mapping[str, Description]) -> RenderableType:
    shown = table(label(name), text("formula"), text("averages over"), text("source"))
    for key, one in descriptions.items():
        shown.add_row(key, one.formula, one.averages, one.source)
    return shown
