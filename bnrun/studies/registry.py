"""The studies by name."""

from bnrun.errors import ConfigError, did_you_mean
from bnrun.studies import converge, exact, noisy, predict, rates, start
from bnrun.studies.study import Study

_STUDIES = (exact.STUDY, start.STUDY, predict.STUDY, converge.STUDY, rates.STUDY, noisy.STUDY)

STUDIES: dict[str, Study] = {study.name: study for study in _STUDIES}


def find_study(name: str) -> Study:
    """Return the study of a name.

    Raises:
        ConfigError: no study has this name.
    """
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES)
        raise ConfigError(
            f"there is no study '{name}'.{hint} The studies: {', '.join(STUDIES)}.", "STUDY"
        )
    return STUDIES[name]
