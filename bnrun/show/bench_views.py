"""Any result of `bnrun bench` as what the command shows."""

from rich.console import RenderableType

from bnrun.benchmark.auto_starts import AutoBenchmark
from bnrun.benchmark.kernel_result import KernelBenchmark
from bnrun.benchmark.process_scaling import Scaling
from bnrun.benchmark.result import Benchmark
from bnrun.benchmark.speedrun import Speedrun
from bnrun.show.auto_tables import auto_view
from bnrun.show.bench_tables import benchmark_view, speedrun_view
from bnrun.show.kernel_tables import kernels_view
from bnrun.show.scaling_tables import scaling_view


def bench_view(
    result: Benchmark | Speedrun | KernelBenchmark | AutoBenchmark | Scaling,
) -> RenderableType:
    """Return the view of a result."""
    match result:
        case Benchmark():
            return benchmark_view(result)
        case Speedrun():
            return speedrun_view(result)
        case KernelBenchmark():
            return kernels_view(result)
        case AutoBenchmark():
            return auto_view(result)
        case Scaling():
            return scaling_view(result)
