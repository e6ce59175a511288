"""`bnrun bench`: how fast is training here, compared with what else one would use?"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import DeviceOption, JsonOption, QuietOption, SetOption
from bnrun.errors import ConfigError
from bnrun.events import drain

if TYPE_CHECKING:
    from bnrun.benchmark.arm_syntax import BenchArm
    from bnrun.benchmark.result import Benchmark
    from bnrun.benchmark.speedrun import Speedrun
    from bnrun.config import Config
    from bnrun.data.fetch import Progress
    from bnrun.events import Stage

    Work = Generator[Progress | Stage, None, Benchmark | Speedrun]

STEPS, ROUNDS = 30, 10


def bench(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A YAML file, or a name from bnrun configs.",
            autocompletion=completion.configs,
        ),
    ] = None,
    arms: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARMS",
            help="loop:WORKERS, a norm, or NAME=NORM,KEY=VALUE,...; with spaces.",
            autocompletion=completion.arms,
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
    bnrun bench --config lenet_fast --speedrun 20
    """
    from bnrun.benchmark.arm_syntax import DEFAULT_ARMS, bench_arms
    from bnrun.cli.overrides import config_overrides, option_names
    from bnrun.config import resolve
    from bnrun.norms import checked_config
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen

    if speedrun is not None and (arms or steps or rounds):
        raise ConfigError(
            "one config is trained to its end, so this takes no --arms, --steps or --rounds.",
            key="--speedrun",
        )
    overrides = config_overrides(set_, device=device)
    with option_names(device=device):
        resolved = checked_config(resolve(config, overrides)).config
        if speedrun is not None:
            work = _speedrun(resolved, speedrun)
        else:
            built = bench_arms(arms or [DEFAULT_ARMS], config, overrides)
            work = _bench(built, steps or STEPS, rounds or ROUNDS)
        with layer_output_on_stderr(), open_screen(stderr(), quiet=quiet) as screen:
            with loading(screen, "torch"):
                from bnrun.benchmark import run_benchmark  # noqa: F401
            result = drain(work, screen.show)
    _show_result(result, json)


def _bench(arms: "Sequence[BenchArm]", steps: int, rounds: int) -> "Work":
    from bnrun.benchmark.run_benchmark import bench
    from bnrun.data.load import load
    from bnrun.training import pick_device

    pick_device(arms[0].config.training.device)  # refused here, it needs no data to be fetched
    dataset = yield from load(arms[0].config.data)
    return (yield from bench(arms, dataset, steps, rounds))


def _speedrun(config: "Config", count: int) -> "Work":
    from bnrun.benchmark.speedrun import speedrun
    from bnrun.data.load import load
    from bnrun.training import pick_device

    device = pick_device(config.training.device)
    dataset = yield from load(config.data)
    return (yield from speedrun(config, dataset, device, count))


def _show_result(result: "Benchmark | Speedrun", json: bool) -> None:
    from bnrun.benchmark.result import Benchmark
    from bnrun.show.bench_tables import benchmark_view, speedrun_view
    from bnrun.show.console import show_json, show_view

    if json:
        show_json(result.to_dict())
    elif isinstance(result, Benchmark):
        show_view(benchmark_view(result))
    else:
        show_view(speedrun_view(result))
