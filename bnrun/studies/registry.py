"""The studies by name."""

from bnrun.errors import ConfigError, did_you_mean
from bnrun.studies import (
    batches,
    converge,
    exact,
    landscape,
    noisy,
    places,
    predict,
    rates,
    regularize,
    shift,
    start,
    zoo,
)
from bnrun.studies.claim import Claim
from bnrun.studies.study import Study

_STUDIES = (
    exact.STUDY,
    start.STUDY,
    predict.STUDY,
    converge.STUDY,
    rates.STUDY,
    noisy.STUDY,
    landscape.STUDY,
    batches.STUDY,
    regularize.STUDY,
    places.STUDY,
    zoo.STUDY,
    shift.STUDY,
)

STUDIES: dict[str, Study] = {study.name: study for study in _STUDIES}


def find_study(name: str) -> Study:
    """Return the study of a name.

    Raises:
        ConfigError: no study has this name.
    """
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES)
        for study in STUDIES.values():
            if any(claim.id == name.upper() for claim in study.claims):
                hint = f" {name.upper()} is a claim of study {study.name}."
        raise ConfigError(
            f"there is no study '{name}'.{hint} The studies: {', '.join(STUDIES)}.", "STUDY"
        )
    return STUDIES[name]


def find_claim(id_: str) -> tuple[Claim, Study]:
    """Return the claim with an id, in any case, or with a name; and its study.

    Raises:
        ConfigError: there is no such claim.
    """
    claims = {
        name: (claim, study)
        for study in STUDIES.values()
        for claim in study.claims
        for name in (claim.id, claim.name)
    }
    known = next((name for name in claims if name.lower() == id_.lower()), None)
    if known is None:
        hint = did_you_mean(id_, claims) or " `bnrun claims` lists them."
        if id_ in STUDIES:
            ids = ", ".join(claim.id for claim in STUDIES[id_].claims)
            hint = f" Study {id_} has {ids}."
        raise ConfigError(f"there is no claim '{id_}'.{hint}", "ID")
    return claims[known]
