"""A benchmark as tables, how fast each arm is and where its time goes; and a speedrun as one."""

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType

from bnrun.benchmark.result import PHASES, WORKING_PHASES, ArmSpeed, Benchmark
from bnrun.benchmark.speedrun import Speedrun
from bnrun.comparison.estimate import Estimate
from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table, text
from bnrun.show.wording import (
    build_name,
    data_name,
    figures,
    norm_name,
    percent,
    rate,
    ratio,
    ratio_range,
)


def benchmark_view(benchmark: Benchmark) -> RenderableType:
    """Show a benchmark: where the time goes, speed with evaluation and, last, in training."""
    return Group(
        Paragraph(f"LeNet, {data_name(benchmark.data)}, batches of {benchmark.batch_size}"),
        *map(Paragraph, _notes(benchmark)),
        *("", _step_table(benchmark), "", _peak_table(benchmark)),
        *("", _epoch_table(benchmark), "", _speed_table(benchmark)),
    )


def _speed_table(benchmark: Benchmark) -> Table:
    names = ("examples/s", "compute only", "ratio", "spread")
    shown = table(label("training"), text("norm"), text("engine"), *map(number, names))
    for arm in benchmark.arms:
        shown.add_row(
            arm.name,
            norm_name(arm.norm),
            arm.engine,
            rate(arm.examples_per_second),
            rate(arm.compute_examples_per_second),
            *_ratio(arm, benchmark.baseline, arm.ratio, arm.spread),
        )
    return shown


def _epoch_table(benchmark: Benchmark) -> Table:
    shown = table(
        label("with evaluation"), *map(number, ("examples/s", "ratio", "spread")), split=True
    )
    for arm in benchmark.arms:
        ratios = _ratio(arm, benchmark.baseline, arm.epoch_ratio, arm.epoch_spread)
        shown.add_row(arm.name, rate(arm.epoch_examples_per_second), *ratios)
    return shown


def _step_table(benchmark: Benchmark) -> Table:
    shown = table(label("ms a step"), *map(number, (*PHASES, "peak MB")), split=True)
    for arm in benchmark.arms:
        phases = arm.phases
        shown.add_row(
            arm.name,
            *(figures(1000 * phases[name], digits=2)[0] if phases else "-" for name in PHASES),
            "-" if arm.peak_memory is None else f"{arm.peak_memory / 1e6:,.0f}",
        )
    return shown


def _peak_table(benchmark: Benchmark) -> Table:
    names = (*WORKING_PHASES, "end to end")
    shown = table(label("share of peak"), *map(number, names), split=True)
    for arm in benchmark.arms:
        shares = arm.phase_shares
        phases = (percent(shares[name]) if shares else "-" for name in WORKING_PHASES)
        shown.add_row(arm.name, *phases, percent(arm.share_of_peak))
    return shown


def _ratio(
    arm: ArmSpeed, baseline: str, middle: float, spread: tuple[float, float]
) -> tuple[str, str]:
    if arm.name == baseline:
        return "1", ""
    return ratio(middle), ratio_range(*spread)


def _notes(benchmark: Benchmark) -> Iterator[str]:
    noise, rounds = benchmark.noise, benchmark.rounds
    few = " (of fewer than four, the range)" if benchmark.has_ranges else ""
    medians = (
        "One round, in which" if rounds == 1 else f"Medians of {rounds} rounds, in each of which"
    )
    yield (
        f"{medians} every arm trains {benchmark.steps} steps; "
        f"ratios to {benchmark.baseline} within a round, and the middle half of them{few}. "
        f"Noise: {noise.name} against itself {ratio(noise.ratio)} ({ratio_range(*noise.spread)})."
    )
    yield (
        "With evaluation: an epoch at that rate, and one evaluation, taken in every second round."
    )
    if any(arm.name.startswith("loop-") and arm.norm == "textbook" for arm in benchmark.arms):
        yield (
            "loop-N is the textbook's own network, recipe and training loop, with N workers for "
            "its loader; the time that these take to start at each epoch is left out."
        )
    yield f"Peak: {_peak(benchmark)} in products of 1024 x 1024 matrices. {_memory(benchmark)}"
    yield from benchmark.remarks
    machine = f"on {benchmark.device}: {benchmark.machine}, torch {benchmark.versions['torch']}"
    yield f"{machine}, {build_name(benchmark.kernels)}" if benchmark.kernels else machine


def _peak(benchmark: Benchmark) -> str:
    if benchmark.device == "cpu":
        return f"{benchmark.flops_per_second / 1e9:,.0f} GFLOP/s"
    return f"{benchmark.flops_per_second / 1e12:,.1f} TFLOP/s"


def _memory(benchmark: Benchmark) -> str:
    """Return what the memory column is of."""
    if any(arm.peak_memory is None for arm in benchmark.arms):
        return "Memory is not known here: Python has no `resource` module on this system."
    if benchmark.device == "cpu":
        return "Memory is that of the arm's process, without its loader's workers."
    return "Memory is what was allocated on the device."


def speedrun_view(speedrun: Speedrun) -> RenderableType:
    """Show a speedrun: mean accuracy and time with their intervals and ranges."""
    n, epochs = len(speedrun.trials), speedrun.config["training"]["epochs"]
    seeds = (
        f"{n} seeds ({speedrun.trials[0].seed} to {speedrun.trials[-1].seed})"
        if n > 1
        else "one seed"
    )
    word = "epoch" if epochs == 1 else "epochs"
    names = ("mean", "95 % interval", "lowest", "highest", "n")
    shown = table(label(), *map(number, names), split=True)
    accuracies = [trial.test_acc for trial in speedrun.trials]
    seconds = [trial.seconds for trial in speedrun.trials]
    shown.add_row("test acc", *_row(speedrun.test_acc, accuracies, "{:.4f}".format))
    shown.add_row("seconds", *_row(speedrun.seconds, seconds, "{:.2f}".format))
    return Group(
        Paragraph(f"LeNet, {data_name(speedrun.data)}, {epochs} {word}, {seeds}"),
        *("", shown, ""),
        Paragraph(
            "Seconds are wall time of a whole training, evaluation included, once torch and the "
            f"data are loaded; {sum(seconds):,.0f} s in all."
        ),
        Paragraph(
            f"on {speedrun.device}: {speedrun.machine}, engine {speedrun.engine}, "
            f"torch {speedrun.torch}"
        ),
    )


def _row(
    estimate: Estimate, values: Sequence[float], write: Callable[[float], str]
) -> tuple[str, ...]:
    interval = " to ".join(map(write, estimate.ci95)) if estimate.ci95 else "-"
    return write(estimate.mean), interval, write(min(values)), write(max(values)), str(estimate.n)
