"""`bnrun norms`: the norms that have a name."""

import dataclasses
import inspect
from typing import Any

from bnrun.cli.options import JsonOption


def norms(json: JsonOption = False) -> None:
    """List the norms that have a name: formula, averages, source."""
    from bnrun.norms import NORMS
    from bnrun.norms.descriptions import DESCRIPTIONS, WEIGHTS
    from bnrun.show.console import show_json, show_view
    from bnrun.show.norms_table import norms_table

    if not json:
        show_view(norms_table(DESCRIPTIONS, WEIGHTS))
        return
    documents: list[dict[str, Any]] = []
    for name, one in DESCRIPTIONS.items():
        options = {
            parameter.name: parameter.default
            for parameter in inspect.signature(NORMS[name]).parameters.values()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        documents.append({"name": name, **dataclasses.asdict(one), "options": options})
    weights = [{"name": name, **dataclasses.asdict(one)} for name, one in WEIGHTS.items()]
    show_json({"norms": documents, "weights": weights})
