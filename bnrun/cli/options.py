"""Arguments and options that several commands have, each worded once."""

from pathlib import Path
from typing import Annotated

import typer

from bnrun.cli import completion

RUNS = Path("runs")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A path, a name, its start, COMPARISON/TRIAL, or latest.",
        autocompletion=completion.runs,
    ),
]
AnyRunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run, or a comparison: a path, a name, or latest.",
        autocompletion=completion.runs_and_comparisons,
    ),
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        metavar="WHICH",
        help="last, population, or an epoch that was kept.",
        autocompletion=completion.one_of("last", "population"),
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a config key (repeatable).",
        autocompletion=completion.settings,
    ),
]
EpochsOption = Annotated[
    int | None, typer.Option(metavar="N", help="Passes over the training images.")
]
DEVICES = completion.one_of(*completion.DEVICES)
DeviceOption = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", autocompletion=DEVICES),
]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="The folder that runs are in.")
]
NewOutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Where the new directory is made.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
