"""The option `--cluster`: trials on the workers of a Dask cluster."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bnrun.cli import completion
from bnrun.errors import ConfigError
from bnrun.events import Activity, Notice

if TYPE_CHECKING:
    from bnrun.comparison.cluster import Cluster

ClusterOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Train on a Dask cluster: its scheduler's address, or local.",
        autocompletion=completion.one_of("local"),
    ),
]

Jobs = TypeVar("Jobs", int, int | None)


@contextmanager
def trial_jobs(cluster: str | None, jobs: Jobs, quiet: bool) -> "Iterator[Jobs | Cluster]":
    """Yield how many trials are trained at a time; or the cluster that trains them, connected.

    Without a number, a local cluster has as many workers as `usual_jobs` says.

    Raises:
        ConfigError: see `connect`; or the cluster is told how many to train.
    """
    if cluster is None:
        yield jobs
        return
    from bnrun.comparison.cluster import LOCAL, connect
    from bnrun.comparison.trials import usual_jobs
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    if cluster != LOCAL and jobs not in (None, 1):
        raise ConfigError(
            "with --cluster, as many trials are trained at a time as its workers have threads: "
            f"leave --jobs out. It is for --cluster {LOCAL}, which starts so many workers.",
            key="--jobs",
        )
    with open_screen(stderr(), quiet=quiet) as screen:
        screen.show(Activity(f"connecting to {cluster}"))
        connection = connect(cluster, usual_jobs() if jobs is None else jobs)
        screen.show(Notice(f"cluster {connection.sentence}"))
    with connection:
        yield connection


def written(cluster: str | None) -> str:
    """Return the option as one writes it after a command; empty where there is no cluster."""
    return "" if cluster is None else f" --cluster {shlex.quote(cluster)}"
