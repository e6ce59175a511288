"""`compare`: arms trained on the same seeds, and what their differences show."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from bnrun.api.configs import ConfigLike, shared_assignments
from bnrun.comparison import run_comparison
from bnrun.comparison.arm_syntax import build_arms
from bnrun.comparison.cluster import connect
from bnrun.comparison.paired_differences import Criteria, Pairs
from bnrun.comparison.plan import make_plan
from bnrun.comparison.result import MEASURES, Comparison
from bnrun.comparison.run_comparison import load_shared
from bnrun.comparison.shared_engine import resolve_engine
from bnrun.comparison.sweep import make_sweep
from bnrun.comparison.trials import unfinished_trials
from bnrun.errors import ConfigError
from bnrun.events import drain
from bnrun.norms import norm_text
from bnrun.runs.comparison_directory import create_comparison, keep_norms, read_comparison
from bnrun.runs.lookup import find_comparison
from bnrun.runs.trial_directory import trial_runner


def compare(
    *arms: str | type[nn.Module],
    config: ConfigLike = None,
    seeds: int | Sequence[int] = 3,
    epochs: int | None = None,
    device: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    metric: str | None = None,
    equivalence: float | None = None,
    survivors: bool = False,
    jobs: int = 1,
    cluster: str | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    pairs: Pairs | None = None,
    parity: bool = True,
    throughput: bool | None = None,
    out: str | Path | None = None,
    on_event: Callable[[object], object] = lambda event: None,
) -> Comparison:
    """Train arms on the same seeds, and return what their differences show.

    Args:
        arms: two or more: a norm (see `help(bnrun)`), or "NAME=NORM,KEY=VALUE,..." to vary
            anything else, as in "max=scratch,model.pool=max". One, or none, with a sweep.
        config: what every arm starts from: a `Config`, a YAML file, the name of a config that comes
            with bnrun, or None for the defaults.
        seeds: how many trials of each arm, or the seeds themselves.
        epochs: passes over the training images.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        overrides: config keys for every arm, such as `{"optimizer.lr": 0.5}`.
        metric: the one to judge first; None takes the test accuracy with population statistics.
        equivalence: a margin, in the unit of that metric, to test whether arms are equivalent.
        survivors: whether to judge pairs of which trials were lost.
        jobs: how many trials to train at a time. Several run in processes of their own.
        cluster: the address of a Dask scheduler, whose workers train the trials, or `local`; see
            `bnrun guide cluster`. It needs `out`.
        sweep: config keys with several values each, such as `{"optimizer.lr": [0.1, 1.0]}`: every
            arm is varied by each combination of them.
        pairs: which pairs to judge: `all`, or those of the `first` arm with each other one. None
            judges all of up to three arms, and beyond that those with the first.
        parity: whether to ask if arms are the same function.
        throughput: whether to time the arms, each in a process of its own. None does, unless an
            arm is a class: a class of a notebook exists in this process alone.
        out: a folder to keep the comparison in, as `bnrun compare --out` does. None keeps nothing.
        on_event: called with each event as it happens (bnrun/comparison/comparison_events.py).

    Returns:
        The comparison. `pairs` holds the differences and verdicts, `arms` the trials and their
        means, `parity` and `speeds` what else was measured, `remarks` how to read it all. Its
        `status` is `failed` where a trial diverged or failed; the others are there nevertheless.

    Raises:
        ConfigError: a key or a value is not acceptable, the arms cannot be compared, or no cluster
            answers.
        NormError: the norm of an arm cannot be loaded or built.
        DataError: the images are missing, damaged, or cannot be fetched.
        DeviceError, EngineError: the device or the engine is not available here.
        RunError: `out` cannot be written.

    Example:
        >>> import bnrun
        >>> synthetic = {"data.name": "synthetic"}
        >>> comparison = bnrun.compare(
        ...     "none", "builtin", seeds=2, epochs=1, overrides=synthetic, throughput=False
        ... )
        >>> comparison.status
        'completed'
        >>> [pair.metric for pair in comparison.pairs]
        ['loss', 'train_acc', 'test_acc', 'test_acc_population']
    """
    if throughput is None:
        throughput = all(isinstance(arm, str) for arm in arms)
    if cluster is not None and out is None:
        raise ConfigError("run directories come back from a cluster: give out, too.", "cluster")
    path, shared = shared_assignments(config, overrides, epochs=epochs, device=device)
    sweeps = [make_sweep(key, values) for key, values in (sweep or {}).items()]
    wanted = {"parity": parity, "throughput": throughput}
    plan = make_plan(
        build_arms([norm_text(arm) for arm in arms], path, shared, sweeps),
        seeds,
        Criteria(metric, equivalence, survivors, pairs),
        [measure for measure in MEASURES if wanted[measure]],
    )
    dataset, where = drain(load_shared(plan), on_event)
    planned = plan = resolve_engine(plan, dataset, where)
    with contextlib.ExitStack() as stack:
        where_trained = jobs if cluster is None else stack.enter_context(connect(cluster, jobs))
        directory = None
        if out is not None:
            directory = stack.enter_context(create_comparison(Path(out), plan))
            plan = directory.comparison
        else:
            plan = keep_norms(Path(stack.enter_context(TemporaryDirectory())), plan)
        trials = unfinished_trials(plan) if directory is None else directory.unfinished_trials()

        def handle(event: Any) -> None:
            if directory is not None:
                directory.record(event)
            on_event(event)

        work = run_comparison.compare(
            plan, trials, dataset, where, trial_runner(dataset, where_trained)
        )
        result = drain(work, handle)
    return result if directory is not None else _with_arms_of(planned, result)


def _with_arms_of(plan: Comparison, result: Comparison) -> Comparison:
    """Return a result whose arms load their norms as planned: the copies are gone."""
    arms = zip(plan.arms, result.arms, strict=True)
    return replace(result, arms=tuple(replace(own, arm=planned.arm) for planned, own in arms))


def load_comparison(comparison: str | Path = "latest", *, out: str | Path = "runs") -> Comparison:
    """Load a comparison from its directory, as far as it has come.

    Args:
        comparison: a path, a name in `out`, the start of one, or `latest`.
        out: the folder that comparisons are in.

    Raises:
        RunError: there is no such comparison, or it is damaged.

    Example:
        >>> import bnrun
        >>> bnrun.load_comparison("latest").status
        'completed'
    """
    return read_comparison(find_comparison(str(comparison), Path(out)))
