"""`bnrun bench`: how fast is training here, compared with what else one would use?"""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import DeviceOption, JsonOption, QuietOption, SetOption
from bnrun.errors import ConfigError, one_of
from bnrun.events import drain

if TYPE_CHECKING:
    from bnrun.benchmark.arm_syntax import BenchArm
    from bnrun.benchmark.auto_starts import AutoBenchmark
    from bnrun.benchmark.kernel_result import KernelBenchmark
    from bnrun.benchmark.process_scaling import Scaling
    from bnrun.benchmark.result import Benchmark
    from bnrun.benchmark.speedrun import Speedrun
    from bnrun.config import Config
    from bnrun.data.fetch import Progress
    from bnrun.events import Stage

    Result = Benchmark | Speedrun | KernelBenchmark | AutoBenchmark | Scaling
    Work = Generator[Progress | Stage, None, Result]

STEPS, ROUNDS = 30, 10
MAX_PROCESSES = 64
TAKES = {"--kernels": {"--rounds"}, "--processes": {"--steps", "--rounds"}}
"""What a measurement of something else than arms takes of their options."""


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
    kernels: Annotated[
        bool,
        typer.Option("--kernels", help="Time each kernel beside torch's operation instead."),
    ] = False,
    auto: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Train N times with auto and with each engine instead."
        ),
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(
            metavar="COUNTS",
            help="Time one training on these numbers of processes instead, as in 1,2,4.",
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Measure the speed of training, in turns with the textbook's loop.

    For example: bnrun bench, or
    bnrun bench --arms "scratch builtin mine=my_batchnorm.py:BatchNorm", or
    bnrun bench --config lenet_fast --speedrun 20, or
    bnrun bench --kernels, or
    bnrun bench --processes 1,2,4
    """
    from bnrun.benchmark.arm_syntax import DEFAULT_ARMS, bench_arms
    from bnrun.cli.overrides import config_overrides, option_names
    from bnrun.config import resolve
    from bnrun.norms import checked_config
    from bnrun.show.console import layer_output_on_stderr, stderr
    from bnrun.show.progress import open_screen
    from bnrun.workers import start_server

    chosen = {
        "--speedrun": speedrun is not None,
        "--kernels": kernels,
        "--auto": auto is not None,
        "--processes": processes is not None,
    }
    given = {"--arms": bool(arms), "--steps": bool(steps), "--rounds": bool(rounds)}
    _refuse_what_does_not_go_together(chosen, given)
    overrides = config_overrides(set_, device=device)
    with option_names(device=device):
        resolved = checked_config(resolve(config, overrides)).config
        if speedrun is not None:
            work = _speedrun(resolved, speedrun)
        elif kernels:
            work = _kernels(resolved, rounds or ROUNDS)
        elif auto is not None:
            work = _auto(resolved, auto)
        elif processes is not None:
            counts = _counts(processes)
            work = _processes(resolved, counts, steps or STEPS, rounds or ROUNDS)
        else:
            built = bench_arms(arms or [DEFAULT_ARMS], config, overrides)
            work = _bench(built, steps or STEPS, rounds or ROUNDS)
        with layer_output_on_stderr(), open_screen(stderr(), quiet=quiet) as screen:
            if speedrun is None:
                start_server()
            with loading(screen, "torch"):
                from bnrun.benchmark import run_benchmark  # noqa: F401
            result = drain(work, screen.show)
    _show_result(result, json)


def _refuse_what_does_not_go_together(chosen: dict[str, bool], given: dict[str, bool]) -> None:
    """Check the options against what is to be measured, of which there is one.

    Raises:
        ConfigError: two are chosen, or options of the benchmark of arms are given to another.
    """
    names = [name for name, is_chosen in chosen.items() if is_chosen]
    if len(names) > 1:
        raise ConfigError(f"measures something else than {names[1]}: take one of them.", names[0])
    if not names:
        return
    refused = [name for name in given if name not in TAKES.get(names[0], ())]
    if any(given[name] for name in refused):
        listed = one_of(refused)
        raise ConfigError(f"this measures no arms, so it takes no {listed}.", names[0])


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


def _kernels(config: "Config", rounds: int) -> "Work":
    from bnrun.benchmark.kernel_timings import bench_kernels
    from bnrun.config import Config
    from bnrun.config.difference import config_difference

    for difference in config_difference(Config().to_dict(), config.to_dict()):
        if difference.key not in ("training.batch_size", "training.device"):
            raise ConfigError(
                "bench --kernels times the kernels of the default network, so of all settings it "
                "takes training.batch_size alone.",
                difference.key,
            )

    device = config.training.device
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"received '{device}', and the kernels are for the CPU.", "training.device"
        )
    return (yield from bench_kernels(config.training.batch_size, rounds))


def _auto(config: "Config", count: int) -> "Work":
    from bnrun.benchmark.auto_starts import bench_auto
    from bnrun.data.load import load
    from bnrun.training import pick_device

    if config.training.engine != "auto":
        raise ConfigError(
            f"received '{config.training.engine}', and bench --auto times every engine.",
            "training.engine",
        )
    device = pick_device(config.training.device)
    dataset = yield from load(config.data)
    return (yield from bench_auto(config, dataset, device, count))


def _counts(text: str) -> list[int]:
    """Return the numbers of processes that an option names.

    Raises:
        ConfigError: they are not such numbers, or one stands there twice.
    """
    parts = text.split(",")
    counts = [int(one) for one in parts if one.strip().isdecimal()]
    is_range = all(1 <= count <= MAX_PROCESSES for count in counts)
    if len(counts) < len(parts) or not is_range or len(set(counts)) < len(counts):
        raise ConfigError(
            f"received '{text}'; these must be different whole numbers, 1 to {MAX_PROCESSES}, "
            "such as 1,2,4. Ratios are to the first.",
            "--processes",
        )
    return counts


def _processes(config: "Config", counts: "Sequence[int]", steps: int, rounds: int) -> "Work":
    from bnrun.benchmark.process_scaling import bench_processes
    from bnrun.data.load import load

    dataset = yield from load(config.data)
    return (yield from bench_processes(config, dataset, counts, steps, rounds))


def _show_result(result: "Result", json: bool) -> None:
    from bnrun.show.bench_views import bench_view
    from bnrun.show.console import show_json, show_view

    if json:
        show_json(result.to_dict())
    else:
        show_view(bench_view(result))
