"""`bnrun study`: what texts and papers claim about normalization, as experiments with verdicts."""

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.cluster import ClusterOption, trial_jobs, written
from bnrun.cli.interruption import interruptible, loading
from bnrun.cli.options import RUNS, JsonOption, NewOutOption, QuietOption
from bnrun.errors import ConfigError, known_value

if TYPE_CHECKING:
    from bnrun.comparison.cluster import Cluster
    from bnrun.runs.study_directory import StudyDirectory
    from bnrun.studies.study import Budget, StudyResult

    TrialJobs = int | Cluster | None

STANDARD: "Budget" = "standard"


def study(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY", help="One of the list; or all.", autocompletion=completion.studies
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"quick, {STANDARD} (the default) or thorough.",
            autocompletion=completion.one_of("quick", STANDARD, "thorough"),
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the studies.")] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Continue a study that was interrupted.",
            autocompletion=completion.study_directories,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Judge what a study kept; measure nothing.",
            autocompletion=completion.study_directories,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Trials trained at a time.  [default: one for each thread of torch, 8 at most]",
        ),
    ] = None,
    cluster: ClusterOption = None,
    out: NewOutOption = RUNS,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put claims about normalization to the test; give each a verdict.

    For example: bnrun study exact. Without a name, this lists the studies.
    """
    from bnrun.studies.registry import STUDIES, find_study
    from bnrun.studies.study import BUDGETS

    chosen = STANDARD if budget is None else known_value("--budget", budget, BUDGETS)
    if list_ or (name is None and resume is None and judge is None):
        _show_list(json)
        return
    if resume is not None or judge is not None:
        if budget is not None:
            reason = "a kept study has its own budget, so this takes no --budget."
            raise ConfigError(reason, "--judge" if resume is None else "--resume")
        with trial_jobs(cluster if judge is None else None, jobs, quiet) as workers:
            _show(_continue_or_judge(name, resume, judge, workers, out, quiet), json, quiet)
        return
    assert name is not None
    if name == "all" and json:
        raise ConfigError("it prints one document, so name one study.", key="--json")
    found = [*STUDIES] if name == "all" else [find_study(name).name]
    with trial_jobs(cluster, jobs, quiet) as workers:
        for one in found:
            _show(_run_new(one, chosen, workers, out, quiet), json, quiet)


def _run_new(
    name: str, budget: "Budget", jobs: "TrialJobs", out: Path, quiet: bool
) -> "StudyResult":
    """Run a new study; its directory is made when nothing else can be refused."""
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen
    from bnrun.studies.registry import find_study
    from bnrun.studies.study import plan

    found = find_study(name)
    with open_screen(stderr(), quiet=quiet) as screen, loading(screen, "torch"):
        import torch

        from bnrun.runs.study_directory import create_study
        from bnrun.training.device import device_name

    directory = create_study(out, plan(found, budget, device_name(torch.device("cpu"))))
    return _finish(directory, jobs, quiet)


def _continue_or_judge(
    name: str | None,
    resume: str | None,
    judge: str | None,
    jobs: "TrialJobs",
    out: Path,
    quiet: bool,
) -> "StudyResult":
    """Continue a study, or read what it kept.

    Raises:
        ConfigError: both are asked for, or the directory is of another study.
        RunError: there is no such directory, or it is damaged.
    """
    from bnrun.runs.lookup import find_study_directory
    from bnrun.runs.study_directory import reopen_study

    option = "--resume" if resume is not None else "--judge"
    if resume is not None and judge is not None:
        raise ConfigError("give --resume or --judge, not both.", "--judge")
    directory = reopen_study(find_study_directory(resume or judge or "", out))
    kept = directory.result.study.name
    if name not in (None, kept):
        raise ConfigError(f"{directory.path} is of study {kept}, not of {name}.", option)
    return directory.result if judge is not None else _finish(directory, jobs, quiet)


def _finish(directory: "StudyDirectory", jobs: "TrialJobs", quiet: bool) -> "StudyResult":
    """Measure what a study has no evidence for, and show the progress."""
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen
    from bnrun.studies.study import run_study

    option = written(None if jobs is None or isinstance(jobs, int) else jobs.address)
    command = f"bnrun study --resume {shlex.quote(str(directory.path))}{option}"
    with (
        interruptible(lambda: f"what was measured is kept; continue with:\n{command}"),
        open_screen(stderr(), quiet=quiet) as screen,
        directory,
        closing(run_study(directory.result, directory.laboratory(jobs))) as work,
    ):
        for event in work:
            directory.record(event)
            screen.show(event)
    return directory.result


def _show(result: "StudyResult", json: bool, quiet: bool) -> None:
    """Draw the claims, and show the result."""
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.study_tables import study_view

    drawn = _draw(result, quiet)
    if json:
        show_json(result.to_dict() | {"pictures": {id_: str(path) for id_, path in drawn.items()}})
    else:
        show_view(study_view(result, {id_: path.name for id_, path in drawn.items()}))
        show_line(f"kept in {result.run}")


def _draw(result: "StudyResult", quiet: bool) -> dict[str, Path]:
    """Draw the claims into the study's directory; where that fails, say so and show the rest."""
    from bnrun.cli.plot import draw_study, drawing
    from bnrun.show.console import show_notice

    try:
        with drawing(quiet=quiet):
            return draw_study(Path(str(result.run)), result)
    except Exception as error:  # from the user's matplotlib settings; the result is not lost
        show_notice(f"the pictures can't be drawn: {error}")
        return {}


def _show_list(json: bool) -> None:
    from bnrun.show.console import show_json, show_view
    from bnrun.show.study_tables import studies_table
    from bnrun.studies.registry import STUDIES

    if json:
        studies = [
            {
                "name": study.name,
                "question": study.question,
                "claims": [claim.id for claim in study.claims],
                "seconds": study.seconds,
            }
            for study in STUDIES.values()
        ]
        show_json({"studies": studies})
    else:
        show_view(studies_table(STUDIES.values()))
