"""`bnrun compare`: arms trained on the same seeds; what differs, and how sure that is."""

import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.cluster import ClusterOption, trial_jobs, written
from bnrun.cli.compare_runs import compare_runs
from bnrun.cli.interruption import interruptible, loading
from bnrun.cli.options import (
    RUNS,
    DeviceOption,
    EpochsOption,
    JsonOption,
    NewOutOption,
    QuietOption,
    SetOption,
)
from bnrun.errors import WORK_FAILED, ConfigError, known_value
from bnrun.events import Activity, Notice, drain

if TYPE_CHECKING:
    import torch

    from bnrun.comparison.cluster import Cluster
    from bnrun.comparison.comparison_events import CompareEvent
    from bnrun.comparison.paired_differences import Criteria
    from bnrun.comparison.result import Comparison
    from bnrun.data.dataset import Dataset
    from bnrun.runs.comparison_directory import ComparisonDirectory
    from bnrun.show.progress import Screen

    Work = Generator[CompareEvent, None, Comparison]
    Revise = Callable[[Comparison], Comparison]

SEEDS = 3


def compare(
    arms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARM",
            help="Two or more: a norm, or NAME=NORM,KEY=VALUE,...",
            autocompletion=completion.arms,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What every arm starts from: a YAML file, or a name.",
            autocompletion=completion.configs,
        ),
    ] = None,
    set_: SetOption = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V,V,...",
            help="Make an arm for each value (repeatable).",
            autocompletion=completion.settings,
        ),
    ] = None,
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
            autocompletion=completion.metrics,
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
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="WHICH",
            help="Judge all pairs, or (first) each arm with the first.  [default: all of up to 3 "
            "arms, else first]",
            autocompletion=completion.one_of("first", "all"),
        ),
    ] = None,
    no_parity: Annotated[
        bool, typer.Option("--no-parity", help="Do not ask whether arms are the same function.")
    ] = False,
    no_throughput: Annotated[
        bool, typer.Option("--no-throughput", help="Do not time the arms.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, metavar="N", help="Trials trained at a time.")
    ] = 1,
    cluster: ClusterOption = None,
    out: NewOutOption = RUNS,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Continue a comparison: its directory, or its name.",
            autocompletion=completion.comparisons,
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare norms, or anything else, over the same seeds.

    For example: bnrun compare scratch builtin, or
    bnrun compare max=scratch,model.pool=max avg=scratch,model.pool=avg, or
    bnrun compare scratch --sweep optimizer.lr=0.1,0.3,1

    Instead of arms, name runs that exist, as in bnrun compare latest 20261124T182233Z: they are
    put side by side, and paired where they share seed, images and device. Nothing is trained.
    """
    from bnrun.cli.overrides import config_overrides, option_names
    from bnrun.comparison.arm_syntax import build_arms
    from bnrun.comparison.plan import make_plan, revise_plan
    from bnrun.comparison.result import MEASURES
    from bnrun.comparison.sweep import parse_sweep
    from bnrun.show.compare_progress import CompareBars, CompareLines
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen

    options = {"epochs": epochs, "device": device}
    overrides = config_overrides(set_, **options)
    criteria = _criteria(metric, equivalence, survivors, pairs)
    skipped = {"parity": no_parity, "throughput": no_throughput}
    measures = [measure for measure in MEASURES if not skipped[measure]]
    planned = (arms, config, overrides, sweep, seeds, metric, equivalence)
    if resume is not None and any(planned):
        raise ConfigError(
            "a comparison continues exactly as its own compare.yaml says, so this takes no ARM, "
            "--config, --set, --sweep, --seeds, --epochs, --device, --metric or --equivalence.",
            key="--resume",
        )
    trains = {
        "--cluster": cluster,
        "--config": config,
        "--set": set_,
        "--sweep": sweep,
        "--seeds": seeds,
        **options,
    }
    if resume is None and compare_runs(arms or (), out, criteria, json, trains):
        return
    directory = None
    with option_names(**options), interruptible(lambda: _what_is_kept(directory, cluster)):
        if resume is None:
            sweeps = [parse_sweep(text) for text in sweep or ()]
            built = build_arms(arms or [], config, overrides, sweeps)
            begin = partial(_new, make_plan(built, seeds or SEEDS, criteria, measures))
        else:
            revise = partial(revise_plan, criteria=criteria, measures=measures)
            begin = partial(_resumed, resume, revise, survivors or pairs is not None)
        try:
            with (
                trial_jobs(cluster, jobs, quiet) as workers,
                layer_output_on_stderr(),
                open_screen(stderr(), quiet=quiet, live=CompareBars, lines=CompareLines) as screen,
            ):
                directory, work = begin(workers, out, screen)
                with directory, closing(work), _waiting_for_trials(screen):
                    for event in work:
                        directory.record(event)
                        screen.show(event)
        finally:  # after Ctrl-C or a failure, too: what was finished is worth showing
            if directory is not None:
                _show_result(directory, json, quiet)
    if directory.comparison.status != "completed":
        raise typer.Exit(WORK_FAILED)


def _criteria(
    metric: str | None, equivalence: float | None, survivors: bool, pairs: str | None
) -> "Criteria":
    """Return how pairs are to be judged.

    Raises:
        ConfigError: a value is not acceptable.
    """
    from bnrun.comparison.paired_differences import PAIRS, Criteria
    from bnrun.comparison.plan import check_criteria

    which = None if pairs is None else known_value("--pairs", pairs, PAIRS)
    criteria = Criteria(metric, equivalence, survivors, which)
    check_criteria(criteria)
    return criteria


def _new(
    plan: "Comparison", jobs: "int | Cluster", out: Path, screen: "Screen"
) -> "tuple[ComparisonDirectory, Work]":
    """Build a new comparison; its directory is made last, when nothing else can be refused."""
    with loading(screen, "torch"):
        from bnrun.comparison.run_comparison import load_shared
        from bnrun.comparison.shared_engine import resolve_engine
        from bnrun.runs.comparison_directory import create_comparison
        from bnrun.training.engine_choice import describe_choice

    dataset, device = drain(load_shared(plan), screen.show)
    screen.show(Activity(describe_choice(plan.arms[0].arm.config, device)))
    directory = create_comparison(out, resolve_engine(plan, dataset, device))
    return directory, _work(directory, dataset, device, jobs)


def _resumed(
    name: str,
    revise: "Revise",
    judges: bool,
    jobs: "int | Cluster",
    out: Path,
    screen: "Screen",
) -> "tuple[ComparisonDirectory, Work]":
    """Build a comparison that continues, from its directory; add what its plan lacks.

    Where it `judges` by other criteria, `latest` may be complete.
    """
    from bnrun.runs.comparison_directory import reopen_comparison
    from bnrun.runs.lookup import find_comparison, no_obstacle
    from bnrun.runs.obstacles import nothing_left_to_train

    def show(notice: str) -> None:
        screen.show(Notice(notice))

    obstacle = no_obstacle if judges else nothing_left_to_train
    directory = reopen_comparison(find_comparison(name, out, obstacle, show), show)
    with loading(screen, "torch"):
        from bnrun.comparison.run_comparison import load_shared
        from bnrun.comparison.shared_engine import resolve_engine
        from bnrun.training.engine_choice import describe_choice
    before = directory.comparison
    screen.show(Notice(_resuming(directory)))
    dataset, device = drain(load_shared(before), screen.show)
    screen.show(Activity(describe_choice(before.arms[0].arm.config, device)))
    comparison = revise(resolve_engine(before, dataset, device))
    if comparison != before:
        directory.write_plan(comparison)
    return directory, _work(directory, dataset, device, jobs)


def _work(
    directory: "ComparisonDirectory",
    dataset: "Dataset",
    device: "torch.device",
    jobs: "int | Cluster",
) -> "Work":
    from bnrun.comparison.run_comparison import compare
    from bnrun.runs.trial_directory import trial_runner

    trials = directory.unfinished_trials()
    return compare(directory.comparison, trials, dataset, device, trial_runner(dataset, jobs))


def _resuming(directory: "ComparisonDirectory") -> str:
    """Return where a comparison continues."""
    from bnrun.comparison.trials import count_trials

    done, planned = count_trials(directory.comparison)
    if done < planned:
        return f"resuming {directory.path} after {done} of {planned} trials"
    if directory.comparison.status == "completed":
        return f"{directory.path} is complete: all {planned} trials are trained"
    return f"resuming {directory.path} after its {planned} trials"


def _what_is_kept(directory: "ComparisonDirectory | None", cluster: str | None) -> str | None:
    """Return what Ctrl-C leaves of a comparison; None before it has a directory."""
    if directory is None:
        return None
    from bnrun.comparison.trials import count_trials

    done, planned = count_trials(directory.comparison)
    return (
        f"{done} of {planned} trials are finished and kept; "
        f"continue with:\nbnrun compare --resume {shlex.quote(str(directory.path))}"
        f"{written(cluster)}"
    )


@contextmanager
def _waiting_for_trials(screen: "Screen") -> Iterator[None]:
    """Say after Ctrl-C what is waited for: trials in processes write down how far they came."""
    try:
        yield
    except KeyboardInterrupt:
        screen.show(Activity("interrupted; waiting for the trials to end"))
        raise


def _show_result(directory: "ComparisonDirectory", json: bool, quiet: bool) -> None:
    """Show the result, and draw it."""
    from bnrun.cli.plot import draw_comparison, drawing
    from bnrun.show.console import show_notice

    comparison = directory.comparison
    show_comparison(comparison, json)
    if any(result.completed for result in comparison.arms):
        try:
            with drawing(quiet=quiet):
                draw_comparison(directory.path, comparison)
        except Exception as error:  # from the user's matplotlib settings; the result is not lost
            show_notice(f"the picture can't be drawn: {error}")


def show_comparison(comparison: "Comparison", json: bool) -> None:
    """Show a comparison, as tables or as its JSON document."""
    from bnrun.show.compare_tables import comparison_view
    from bnrun.show.console import show_json, show_line, show_view

    if json:
        show_json(comparison.to_dict())
    else:
        show_view(comparison_view(comparison))
        show_line(f"kept in {comparison.run}")
