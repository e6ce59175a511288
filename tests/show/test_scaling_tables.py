"""How a training scales, whole, as it is rendered on 80 columns."""

import io

from rich.console import Console

from bnrun.benchmark.process_scaling import Scaling, ScalingPoint
from bnrun.benchmark.result import Noise
from bnrun.events import DataUsed
from bnrun.show.bench_views import bench_view

SCREEN = """\
LeNet, norm scratch, Fashion-MNIST, batches of 256, shared by processes
Medians of 10 rounds of 30 steps; ratios to 1 process within a round, and their
middle half. Noise: 1 process against itself 1.01 (0.97 to 1.04).
Threads are those of each process. Efficiency is the ratio over the number of
processes. Sums are of statistics and gradients: bytes that each process hands
over, and the time of the one that waits least.
One process takes a step in one call of a kernel. Several sum statistics and
gradients within the step, so they call layer by layer: part of the difference
is that call.
More processes than the 2 threads that one process has here wait for one
another's turn on a processor: their time in sums is mostly that.
The fastest here: 1 process.
on cpu: Some CPU, 2 threads, torch 2.15.0

sums a step  calls   kB    ms  share of time
────────────────────────────────────────────
2                9  185  1.30         10.0 %
4                9  185  2.30         20.0 %

processes  threads  engine    examples/s  ratio        spread  efficiency
─────────────────────────────────────────────────────────────────────────
1                2  compiled      50,000      1                   100.0 %
2                1  compiled      20,000   0.40  0.36 to 0.44      20.0 %
4                1  eager         10,000   0.20  0.18 to 0.22       5.0 %"""


def _point(count: int, engine: str, ratio: float) -> ScalingPoint:
    return ScalingPoint(
        processes=count,
        threads=max(2 // count, 1),
        engine=engine,
        in_one_call=count == 1,
        examples_per_second=50_000 * ratio,
        ratio=ratio,
        spread=(0.9 * ratio, 1.1 * ratio),
        efficiency=ratio / count,
        summing_seconds=0.0003 + 0.0005 * count,
        summing_share=0.05 * count,
        calls=9.0,
        bytes=184_544.0,
    )


def test_a_scaling_says_what_passes_between_processes_and_how_fast_they_are() -> None:
    scaling = Scaling(
        points=(_point(1, "compiled", 1), _point(2, "compiled", 0.4), _point(4, "eager", 0.2)),
        noise=Noise("1 process", 1.01, (0.97, 1.04)),
        rounds=10,
        steps=30,
        batch_size=256,
        norm="scratch",
        norm_statistics="synced",
        threads=2,
        data=DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000),
        device="cpu",
        machine="Some CPU, 2 threads",
        torch="2.15.0",
    )
    file = io.StringIO()
    Console(file=file, width=80, no_color=True, highlight=False).print(bench_view(scaling))
    assert "\n".join(line.rstrip() for line in file.getvalue().splitlines()) == SCREEN
