"""`bnrun bench`: how fast is training here, against what else one would use?"""

import sys
from collections.abc import Generator, Sequence
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli.options import DeviceOption, JsonOption, QuietOption, SetOption
from bnrun.errors import ConfigError
from bnrun.events import Stage

if TYPE_CHECKING:
    from bnrun.benchmark.bench_arms import BenchArm
    from bnrun.benchmark.speedrun import Speedrun
    from bnrun.benchmark.speeds import Benchmark
    from bnrun.config import Config
    from bnrun.show.progress import Screen

STEPS, ROUNDS = 30, 10


def bench(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML file; else configs/lenet_bn.yaml's values."),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARMS", help="loop:WORKERS, a norm, or NAME=NORM,KEY=VALUE,…; with spaces."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help=f"Of a block.  [default: {STEPS}]")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help=f"Blocks of each arm.  [default: {ROUNDS}]"),
    ] = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    speedrun: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Train the config to its end with N seeds instead."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the speed of training, in turns with the textbook's loop.

    For example: bnrun bench, or
    bnrun bench --arms "scratch builtin mine=my_batchnorm.py:BatchNorm", or
    bnrun bench --config configs/lenet_fast.yaml --speedrun 20
    """
    if speedrun is not None and (arms or steps or rounds):
        raise ConfigError(
            "--speedrun trains one config to its end: it takes no --arms, --steps or --rounds."
        )
    from bnrun.benchmark.bench_arms import DEFAULT_ARMS, bench_arms
    from bnrun.cli.overrides import config_overrides
    from bnrun.config import resolve
    from bnrun.norms import check_norm

    overrides = config_overrides(set_, device=device)
    whole = resolve(config, overrides).config
    check_norm(whole.model.norm)
    planned = bench_arms(arms or [DEFAULT_ARMS], config, overrides) if speedrun is None else ()

    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    found: Benchmark | Speedrun | None = None
    with (
        redirect_stdout(sys.stderr),  # what a user's own layer prints is no result of ours
        open_screen(stderr(), quiet=quiet) as screen,
    ):
        events: Generator[Stage | Benchmark | Speedrun, None, None] = (
            _bench(planned, steps or STEPS, rounds or ROUNDS, screen)
            if speedrun is None
            else _speedrun(whole, speedrun, screen)
        )
        with closing(events):
            for event in events:
                if isinstance(event, Stage):
                    screen.show(event)
                else:
                    found = event
    assert found is not None
    _show(found, json)


def _bench(
    arms: "Sequence[BenchArm]", steps: int, rounds: int, screen: "Screen"
) -> "Generator[Stage | Benchmark, None, None]":
    from bnrun.benchmark.speed_measurement import bench
    from bnrun.data.load import load
    from bnrun.events import drain

    return bench(arms, drain(load(arms[0].config.data), screen.show), steps, rounds)


def _speedrun(
    config: "Config", count: int, screen: "Screen"
) -> "Generator[Stage | Speedrun, None, None]":
    from bnrun import training
    from bnrun.benchmark.speedrun import speedrun
    from bnrun.data.load import load
    from bnrun.events import drain

    device = training.pick_device(config.training.device)
    return speedrun(config, drain(load(config.data), screen.show), device, count)


def _show(found: "Benchmark | Speedrun", json: bool) -> None:
    from bnrun.benchmark.speeds import Benchmark
    from bnrun.show.bench_tables import benchmark_view, speedrun_view
    from bnrun.show.console import show_json, stdout

    if json:
        show_json(found.to_dict())
    elif isinstance(found, Benchmark):
        stdout().print(benchmark_view(found))
    else:
        stdout().print(speedrun_view(found))
