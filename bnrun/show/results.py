"""Any result as the text that the command line shows, or as a picture."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from bnrun.comparison.result import Comparison
from bnrun.errors import RunError, known_value
from bnrun.health.report import Audit
from bnrun.show.audit_tables import audit_view
from bnrun.show.compare_tables import comparison_view
from bnrun.show.console import as_text
from bnrun.show.doctor_tables import doctor_view
from bnrun.show.evaluation_tables import evaluation_table
from bnrun.show.gamma_tables import GammaTables
from bnrun.show.study_tables import study_view
from bnrun.show.training_tables import training_table
from bnrun.show.verify_tables import report_view
from bnrun.studies.study import StudyResult
from bnrun.training.evaluation import Evaluation
from bnrun.training.gamma_inspection import Inspection
from bnrun.training.result import TrainingResult
from bnrun.verification.doctor_result import Examination
from bnrun.verification.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = (
    Report
    | Audit
    | Examination
    | TrainingResult
    | Inspection
    | Evaluation
    | Comparison
    | StudyResult
)


def render(result: Result, width: int = 80) -> str:
    """Return a result as the text that the command line shows, without colours.

    Args:
        result: what a function of bnrun returned.
        width: columns of the text.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> print(bnrun.render(result).splitlines()[0])
        LeNet, norm scratch, synthetic data, one seed (0)
    """
    return as_text(_view(result), width)


def plot(
    result: TrainingResult | Inspection | Comparison | StudyResult | Audit,
    *,
    claim: str | None = None,
) -> "Figure":
    """Return a picture of a result, a matplotlib figure.

    A training becomes curves of its loss and accuracies; an inspection γ and β by channel; a
    comparison the curves of its arms, with every seed of a few, or with the mean's interval; a
    claim of a study its parts, with their seeds; an audit how far statistics are off, by norm.
    `figure.savefig("file.png")` keeps it.

    Args:
        result: what a function of bnrun returned.
        claim: the id of a claim, such as `"X2"`, of a study; the first one, unless named.

    Raises:
        ConfigError: the study has measured no such claim.
        RunError: the norms of an inspection have neither γ nor β.

    Example:
        >>> import bnrun
        >>> result = bnrun.load_run("latest")
        >>> len(bnrun.plot(result).axes)
        2
    """
    from bnrun.show import pictures  # loads matplotlib

    match result:
        case TrainingResult():
            return pictures.curves(result.summary)
        case Comparison():
            return pictures.compare(result)
        case Audit():
            return pictures.audit_picture(result)
        case StudyResult():
            claims = {one.claim.id: one for one in result.claims}
            id_ = known_value("claim", claim or next(iter(claims), ""), list(claims))
            return pictures.claim_picture(claims[id_], result)
    title = f"γ and β after epoch {result.epoch}: norm {result.norm}"
    figure = pictures.gamma(result.layers, title, "")
    if figure is None:
        raise RunError(f"norm '{result.norm}' has neither γ nor β: there is nothing to draw.")
    return figure


def _view(result: Result) -> RenderableType:
    match result:
        case TrainingResult():
            return training_table(result.summary)
        case Inspection():
            return GammaTables(result, f"norm {result.norm}")
    return _VIEWS[type(result)](result)


_VIEWS: dict[type, Callable[[Any], RenderableType]] = {
    Report: report_view,
    Examination: doctor_view,
    Evaluation: evaluation_table,
    Comparison: comparison_view,
    StudyResult: study_view,
    Audit: audit_view,
}
