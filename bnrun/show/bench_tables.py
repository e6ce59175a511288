"""A benchmark as tables, how fast each arm is and where its time goes; and a speedrun as one."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from bnrun.benchmark.speedrun import Speedrun
from bnrun.benchmark.speeds import PHASES, ArmSpeed, Benchmark
from bnrun.comparison.estimate import Estimate
from bnrun.show.tables import label, number, table, text
from bnrun.show.wording import data_name, norm_name, rate


def benchmark_view(found: Benchmark) -> RenderableType:
    """Show a benchmark."""
    parts: list[RenderableType] = [
        Text(f"LeNet, {data_name(found.data)}, batches of {found.batch_size}"),
        *("", _speed_table(found), "", _epoch_table(found), "", _step_table(found), ""),
    ]
    return Group(*parts, *map(Text, _notes(found)))


def _speed_table(found: Benchmark) -> Table:
    figures = ("examples/s", "compute only", "ratio", "spread")
    shown = table(label("training"), text("norm"), text("engine"), *map(_figure, figures))
    for arm in found.arms:
        shown.add_row(
            Text(arm.name),
            Text(norm_name(arm.norm)),
            arm.engine,
            rate(arm.examples_per_second),
            rate(arm.compute_examples_per_second),
            *_ratio(arm, found.baseline, arm.ratio, arm.spread),
        )
    return shown


def _epoch_table(found: Benchmark) -> Table:
    shown = table(label("with evaluation"), *map(_figure, ("examples/s", "ratio", "spread")))
    for arm in found.arms:
        ratio = _ratio(arm, found.baseline, arm.epoch_ratio, arm.epoch_spread)
        shown.add_row(Text(arm.name), rate(arm.epoch_examples_per_second), *ratio)
    return shown


def _step_table(found: Benchmark) -> Table:
    shown = table(label("ms a step"), *map(_figure, (*PHASES, "peak MB", "of peak")))
    for arm in found.arms:
        phases = arm.phases
        shown.add_row(
            Text(arm.name),
            *(f"{1000 * phases[name]:.2f}" if phases else "-" for name in PHASES),
            "-" if arm.peak_memory is None else f"{arm.peak_memory / 1e6:,.0f}",
            f"{100 * arm.share_of_peak:.1f} %",
        )
    return shown


def _figure(heading: str) -> Column:
    return number(heading, fold=True)


def _ratio(
    arm: ArmSpeed, baseline: str, ratio: float, spread: tuple[float, float]
) -> tuple[str, str]:
    if arm.name == baseline:
        return "1", ""
    return f"{ratio:.2f}", f"{spread[0]:.2f} to {spread[1]:.2f}"


def _notes(found: Benchmark) -> Iterator[str]:
    noise, rounds = found.noise, found.rounds
    few = " (of fewer than four, the range)" if found.has_ranges else ""
    yield (
        f"Medians of {rounds} rounds, in each of which every arm trains {found.steps} steps; "
        f"ratios to {found.baseline} within a round, and the middle half of them{few}. "
        f"Noise: {noise.name} against itself {noise.ratio:.2f} "
        f"({noise.spread[0]:.2f} to {noise.spread[1]:.2f})."
    )
    yield (
        "With evaluation: an epoch at that rate, and one evaluation, taken in every second round."
    )
    if any(arm.name.startswith("loop-") and arm.norm == "textbook" for arm in found.arms):
        yield (
            "loop-N is the textbook's own network, recipe and training loop, its loader with N "
            "workers; the time that these take to start for an epoch's training is left out."
        )
    yield f"Peak: {_peak(found)} in products of 1024 x 1024 matrices. {_memory(found)}"
    yield f"on {found.device}: {found.machine}, torch {found.versions['torch']}"


def _peak(found: Benchmark) -> str:
    if found.device == "cpu":
        return f"{found.flops_per_second / 1e9:,.0f} GFLOP/s"
    return f"{found.flops_per_second / 1e12:,.1f} TFLOP/s"


def _memory(found: Benchmark) -> str:
    """Return what the memory column is of."""
    if any(arm.peak_memory is None for arm in found.arms):
        return "Memory is not known here: Python has no `resource` module on this system."
    if found.device == "cpu":
        return "Memory is that of the arm's process, without its loader's workers."
    return "Memory is what was allocated on the device."


def speedrun_view(found: Speedrun) -> RenderableType:
    """Show a speedrun: means with their intervals, and the range."""
    n, epochs = len(found.trials), found.config["training"]["epochs"]
    seeds = (
        f"{n} seeds ({found.trials[0].seed} to {found.trials[-1].seed})" if n > 1 else "one seed"
    )
    word = "epoch" if epochs == 1 else "epochs"
    figures = ("mean", "95 % interval", "lowest", "highest", "n")
    shown = table(label(), *map(_figure, figures))
    accuracies = [trial.test_acc for trial in found.trials]
    seconds = [trial.seconds for trial in found.trials]
    shown.add_row("test acc", *_row(found.test_acc, accuracies, "{:.4f}".format))
    shown.add_row("seconds", *_row(found.seconds, seconds, "{:.2f}".format))
    return Group(
        Text(f"LeNet, {data_name(found.data)}, {epochs} {word}, {seeds}"),
        *("", shown, ""),
        Text(
            "Seconds are wall time of a whole training, evaluation included, once torch and the "
            f"data are loaded; {sum(seconds):,.0f} s in all."
        ),
        Text(f"on {found.device}: {found.machine}, engine {found.engine}, torch {found.torch}"),
    )


def _row(
    found: Estimate, values: Sequence[float], written: Callable[[float], str]
) -> tuple[str, ...]:
    interval = " to ".join(map(written, found.ci95)) if found.ci95 else "-"
    return written(found.mean), interval, written(min(values)), written(max(values)), str(found.n)
