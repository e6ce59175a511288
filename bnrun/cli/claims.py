"""`bnrun claims`: the catalogue of claims, each with its source and its last verdict here."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.options import RUNS, JsonOption, OutOption

if TYPE_CHECKING:
    from bnrun.show.claim_tables import LastVerdicts
    from bnrun.studies.claim import Claim
    from bnrun.studies.study import Study


def claims(
    claim: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="One claim, whole, such as C1.", autocompletion=completion.claims
        ),
    ] = None,
    out: OutOption = RUNS,
    json: JsonOption = False,
) -> None:
    """List the claims: who says each, and its last verdict here; or show one.

    The verdicts are those of the newest studies in runs/, judged by today's rules.
    """
    from bnrun.runs.study_file import last_verdicts
    from bnrun.show.claim_tables import catalogue_view, claim_view
    from bnrun.show.console import show_json, show_view
    from bnrun.studies.registry import STUDIES, find_claim

    if claim is None:
        last = last_verdicts(out)
        if json:
            every = (study for study in STUDIES.values())
            show_json({"claims": [_entry(one, by, last) for by in every for one in by.claims]})
        else:
            show_view(catalogue_view(STUDIES.values(), last))
        return
    found, study = find_claim(claim)
    last = last_verdicts(out)
    if json:
        show_json(_entry(found, study, last))
    else:
        show_view(claim_view(found, study, last))


def _entry(claim: "Claim", study: "Study", last: "LastVerdicts") -> dict[str, Any]:
    """Return a claim of the catalogue, with its last verdict here."""
    entry = claim.to_dict() | {"study": study.name, "last": None}
    if claim.id in last:
        kept, result = last[claim.id]
        started = kept.started and f"{kept.started:%Y-%m-%dT%H:%M:%SZ}"
        conditions = {"run": kept.result.run, "budget": kept.result.budget, "started": started}
        entry["last"] = conditions | {"machine": kept.result.machine} | result.to_dict()
    return entry
