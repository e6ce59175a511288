"""`bnrun compare`: arms trained on the same seeds; what differs, and how sure that is."""

import shlex
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli.options import (
    RUNS,
    DeviceOption,
    EpochsOption,
    JsonOption,
    NewOutOption,
    QuietOption,
    SetOption,
)
from bnrun.errors import WORK_FAILED, ConfigError
from bnrun.events import drain

if TYPE_CHECKING:
    import torch

    from bnrun.comparison.arms import Arm
    from bnrun.comparison.comparison_events import CompareEvent
    from bnrun.comparison.paired_differences import Criteria
    from bnrun.comparison.result import Comparison
    from bnrun.data.dataset import Dataset
    from bnrun.runs.comparison_directory import ComparisonDirectory
    from bnrun.show.progress import Screen

    Work = Generator[CompareEvent, None, Comparison]

SEEDS = 3


def compare(
    arms: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARM", help="Two or more: a norm, or NAME=NORM,KEY=VALUE,..."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What every arm starts from: a YAML file, or a name."),
    ] = None,
    set_: SetOption = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Trials of each arm.  [default: {SEEDS}]"),
    ] = None,
    epochs: EpochsOption = None,
    device: DeviceOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Judge this one first: loss, train_acc, test_acc or test_acc_population.",
        ),
    ] = None,
    equivalence: Annotated[
        float | None,
        typer.Option(
            metavar="MARGIN", help="Test whether arms are equivalent: within MARGIN of another."
        ),
    ] = None,
    survivors: Annotated[
        bool, typer.Option("--survivors", help="Judge pairs although trials of them were lost.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, metavar="N", help="Trials trained at a time.")
    ] = 1,
    out: NewOutOption = RUNS,
    resume: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Continue a comparison: its directory, or its name."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare norms, or anything else, over the same seeds.

    For example: bnrun compare scratch builtin, or
    bnrun compare max=scratch,model.pool=max avg=scratch,model.pool=avg
    """
    from bnrun.cli.overrides import config_overrides, option_names
    from bnrun.comparison.arm_syntax import build_arms
    from bnrun.comparison.paired_differences import Criteria
    from bnrun.comparison.plan import check_criteria
    from bnrun.show.compare_progress import CompareBars, CompareLines
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen

    options = {"epochs": epochs, "device": device}
    overrides = config_overrides(set_, **options)
    criteria = Criteria(metric, equivalence, survivors)
    check_criteria(criteria)
    if resume is not None and (arms or config or overrides or seeds or metric or equivalence):
        raise ConfigError(
            "a comparison continues exactly as its own compare.yaml says, so this takes no ARM, "
            "--config, --set, --seeds, --epochs, --device, --metric or --equivalence.",
            key="--resume",
        )
    directory = None
    with option_names(**options):
        built = build_arms(arms or [], config, overrides) if resume is None else ()
        try:
            with (
                layer_output_on_stderr(),
                open_screen(stderr(), quiet=quiet, live=CompareBars, lines=CompareLines) as screen,
            ):
                if resume is None:
                    directory, work = _new(built, seeds or SEEDS, criteria, jobs, out, screen)
                else:
                    directory, work = _resumed(resume, survivors, jobs, out, screen)
                with directory, closing(work):
                    for event in work:
                        directory.record(event)
                        screen.show(event)
        finally:  # after Ctrl-C or a failure, too: what was finished is worth showing
            if directory is not None:
                _show_result(directory, json)
    if directory.comparison.status != "completed":
        raise typer.Exit(WORK_FAILED)


def _new(
    arms: "Sequence[Arm]",
    seeds: int,
    criteria: "Criteria",
    jobs: int,
    out: Path,
    screen: "Screen",
) -> "tuple[ComparisonDirectory, Work]":
    """Build a new comparison; its directory is made last, when nothing else can be refused."""
    from bnrun.comparison.plan import make_plan
    from bnrun.comparison.run_comparison import load_shared
    from bnrun.comparison.shared_engine import resolve_engine
    from bnrun.runs.comparison_directory import create_comparison

    first = arms[0].config.training.seed
    plan = make_plan(arms, range(first, first + seeds), criteria)
    dataset, device = drain(load_shared(arms), screen.show)
    directory = create_comparison(out, resolve_engine(plan, dataset, device))
    return directory, _work(directory, dataset, device, jobs)


def _resumed(
    name: str, survivors: bool, jobs: int, out: Path, screen: "Screen"
) -> "tuple[ComparisonDirectory, Work]":
    """Build a comparison that continues, from its directory; add what its plan lacks."""
    from dataclasses import replace

    from bnrun.comparison.run_comparison import load_shared
    from bnrun.comparison.shared_engine import resolve_engine
    from bnrun.runs.comparison_directory import reopen_comparison
    from bnrun.runs.lookup import find_comparison

    directory = reopen_comparison(find_comparison(name, out))
    before = directory.comparison
    arms = [result.arm for result in before.arms]
    dataset, device = drain(load_shared(arms), screen.show)
    comparison = resolve_engine(before, dataset, device)
    if survivors:
        criteria = replace(comparison.criteria, survivors=True)
        comparison = replace(comparison, criteria=criteria)
    if comparison != before:
        directory.write_plan(comparison)
    return directory, _work(directory, dataset, device, jobs)


def _work(
    directory: "ComparisonDirectory", dataset: "Dataset", device: "torch.device", jobs: int
) -> "Work":
    from bnrun.comparison.run_comparison import compare
    from bnrun.runs.trial_directory import trial_trainer

    train, trials = trial_trainer(dataset, jobs), directory.unfinished_trials()
    return compare(directory.comparison, trials, dataset, device, train, jobs)


def _show_result(directory: "ComparisonDirectory", json: bool) -> None:
    """Show the result, draw it, and say how to continue."""
    from bnrun.cli.plot import draw_comparison
    from bnrun.show.console import show_note

    comparison = directory.comparison
    show_comparison(comparison, json)
    if any(result.completed for result in comparison.arms):
        try:
            draw_comparison(directory.path, comparison)
        except Exception as error:  # from the user's matplotlib settings; the result is not lost
            show_note(f"the picture can't be drawn: {error}")
    if comparison.status == "interrupted":
        show_note(f"continue with: bnrun compare --resume {shlex.quote(str(directory.path))}")


def show_comparison(comparison: "Comparison", json: bool) -> None:
    """Show a comparison, as tables or as its JSON document."""
    from bnrun.show.compare_tables import comparison_view
    from bnrun.show.console import show_json, show_line, show_view

    if json:
        show_json(comparison.to_dict())
    else:
        show_view(comparison_view(comparison))
        show_line(f"kept in {comparison.run}")
