"""The kernels' speed as tables: those whose work is arithmetic, and those that move memory."""

from collections.abc import Iterator

from rich.console import Group, RenderableType

from bnrun.benchmark.kernel_cases import COPIED_VALUES, FLOAT_BYTES, Unit
from bnrun.benchmark.kernel_result import KernelBenchmark, PassSpeed
from bnrun.show.folding import Paragraph
from bnrun.show.tables import Table, label, number, table, text
from bnrun.show.wording import build_name, figures, percent, ratio, ratio_range

RATES: dict[Unit, str] = {"FLOP": "GFLOP/s", "byte": "GB/s"}


def kernels_view(benchmark: KernelBenchmark) -> RenderableType:
    """Show what the figures are of, a table for each unit of work, and what is slower."""
    return Group(
        Paragraph(f"Kernels in the sizes of LeNet, batches of {benchmark.batch_size}"),
        *map(Paragraph, _notes(benchmark)),
        *("", _stages_table(benchmark)),
        *("", _table(benchmark, "FLOP"), "", _table(benchmark, "byte"), ""),
        Paragraph(_slower(benchmark)),
    )


def _table(benchmark: KernelBenchmark, unit: Unit) -> Table:
    names = ("ms", "torch", RATES[unit], "of peak", "ratio", "spread")
    shown = table(label("kernel"), text("pass"), *map(number, names))
    for kernel in benchmark.kernels:
        if kernel.unit != unit:
            continue
        for name, one in kernel.passes():
            shown.add_row(kernel.name, name, *_cells(one))
    return shown


def _stages_table(benchmark: KernelBenchmark) -> Table:
    names = ("ms", "share", "GFLOP/s", "of peak")
    shown = table(label("a step, stage by stage"), *map(number, names))
    for stage in benchmark.stages:
        speed = (f"{stage.flops_per_second / 1e9:,.1f}", percent(stage.share_of_peak))
        works = stage.flops_per_second > 0
        shown.add_row(
            stage.name,
            _milliseconds(stage.seconds),
            percent(stage.share),
            *(speed if works else ("-", "-")),
        )
    return shown


def _cells(one: PassSpeed) -> Iterator[str]:
    yield _milliseconds(one.seconds)
    yield _milliseconds(one.torch_seconds)
    yield f"{one.rate / 1e9:,.1f}"
    yield percent(one.share_of_peak)
    yield ratio(one.ratio)
    yield ratio_range(*one.spread)


def _milliseconds(seconds: float) -> str:
    return figures(1000 * seconds, digits=2)[0]


def _notes(benchmark: KernelBenchmark) -> Iterator[str]:
    copied = benchmark.batch_size * COPIED_VALUES * FLOAT_BYTES / 1e6
    yield (
        f"Medians of {benchmark.rounds} rounds of {benchmark.calls} calls each. Ratio: torch's "
        "time to the kernel's within a round, and the middle half of the rounds; above 1 the "
        "kernel is faster. Noise: the kernels against themselves "
        f"{ratio(benchmark.noise)} ({ratio_range(*benchmark.noise_spread)})."
    )
    yield (
        "Both are called by autograd, as in training. avg pool includes the sigmoid before it. "
        "LeNet is the network with norm scratch, and torch's layers with norm builtin."
    )
    yield (
        f"Peak: {benchmark.flops_per_second / 1e9:,.0f} GFLOP/s in products of 1024 x 1024 "
        f"matrices; {benchmark.bytes_per_second / 1e9:,.0f} GB/s in copying {copied:,.1f} MB. "
        "Bytes are those of inputs and outputs, each counted once."
    )
    yield f"on cpu: {benchmark.machine}, torch {benchmark.torch}, {build_name(benchmark.build)}"


def _slower(benchmark: KernelBenchmark) -> str:
    slower = benchmark.slower()
    if not slower:
        return "No kernel is slower than torch's operation by more than the noise."
    return f"Slower than torch's operation by more than the noise: {', '.join(slower)}."
