"""A benchmark, whole, as it is rendered on 80 columns."""

import io
from dataclasses import replace

from rich.console import Console, RenderableType

from bnrun.benchmark.auto_starts import AutoBenchmark, Start
from bnrun.benchmark.kernel_result import KernelBenchmark, KernelSpeed, PassSpeed, StageSpeed
from bnrun.benchmark.result import PHASES, ArmSpeed, Benchmark, Noise
from bnrun.benchmark.speedrun import Speedrun, SpeedrunTrial
from bnrun.events import DataUsed
from bnrun.kernels.build import Build
from bnrun.show.bench_tables import benchmark_view, speedrun_view
from bnrun.show.bench_views import bench_view

FASHION = DataUsed("fashion-mnist", "bnrun's cache", True, 60_000, 0, 10_000)


def _rendered(view: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=80, no_color=True, highlight=False).print(view)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _arm(name: str, norm: str, engine: str, ratio: float, phases: bool = True) -> ArmSpeed:
    return ArmSpeed(
        name=name,
        norm=norm,
        engine=engine,
        examples_per_second=7_000 * ratio,
        compute_examples_per_second=8_000 * ratio,
        epoch_examples_per_second=6_000 * ratio,
        ratio=ratio,
        spread=(0.9 * ratio, 1.1 * ratio),
        epoch_ratio=1.05 * ratio,
        epoch_spread=(0.95 * ratio, 1.15 * ratio),
        phases=dict(zip(PHASES, (0.02, 0.0012, 0.00345, 0.0001), strict=True)) if phases else None,
        peak_memory=456_000_000,
        share_of_peak=0.0543 * ratio,
        phase_shares={"forward": 0.0812 * ratio, "backward": 0.0478 * ratio} if phases else None,
    )


def _benchmark(*arms: ArmSpeed, device: str = "cpu") -> Benchmark:
    return Benchmark(
        arms=arms,
        baseline=arms[0].name,
        noise=Noise("scratch", 1.01, (0.97, 1.04)),
        rounds=10,
        steps=30,
        batch_size=256,
        data=FASHION,
        device=device,
        machine="Some CPU, 2 threads",
        versions={"torch": "2.15.0"},
        flops_per_second=1.98e11,
        kernels=Build(("AVX2", "FMA"), "GCC 12.2.0") if device == "cpu" else None,
    )


def test_a_benchmark() -> None:
    found = _benchmark(
        _arm("loop-0", "textbook", "eager", 1.0), _arm("scratch", "scratch", "compiled", 6.25)
    )
    assert _rendered(benchmark_view(found)) == (
        "LeNet, Fashion-MNIST, batches of 256\n"
        "Medians of 10 rounds, in each of which every arm trains 30 steps; ratios to\n"
        "loop-0 within a round, and the middle half of them. Noise: scratch against\n"
        "itself 1.01 (0.97 to 1.04).\n"
        "With evaluation: an epoch at that rate, and one evaluation, taken in every\n"
        "second round.\n"
        "loop-N is the textbook's own network, recipe and training loop, with N workers\n"
        "for its loader; the time that these take to start at each epoch is left out.\n"
        "Peak: 198 GFLOP/s in products of 1024 x 1024 matrices. Memory is that of the\n"
        "arm's process, without its loader's workers.\n"
        "on cpu: Some CPU, 2 threads, torch 2.15.0, kernels compiled for AVX2 and FMA by\n"
        "GCC 12.2.0\n"
        "\n"
        "ms a step   data  forward  backward  optimizer  peak MB\n"
        "───────────────────────────────────────────────────────\n"
        "loop-0     20.00     1.20      3.45       0.10      456\n"
        "scratch    20.00     1.20      3.45       0.10      456\n"
        "\n"
        "share of peak  forward  backward  end to end\n"
        "────────────────────────────────────────────\n"
        "loop-0           8.1 %     4.8 %       5.4 %\n"
        "scratch         50.7 %    29.9 %      33.9 %\n"
        "\n"
        "with evaluation  examples/s  ratio        spread\n"
        "────────────────────────────────────────────────\n"
        "loop-0                6,000      1\n"
        "scratch              37,500   6.56  5.94 to 7.19\n"
        "\n"
        "training  norm      engine    examples/s  compute only  ratio        spread\n"
        "───────────────────────────────────────────────────────────────────────────\n"
        "loop-0    textbook  eager          7,000         8,000      1\n"
        "scratch   scratch   compiled      43,750        50,000   6.25  5.62 to 6.88"
    )


def test_a_captured_step_has_no_phases_and_memory_is_the_devices() -> None:
    found = _benchmark(_arm("scratch", "scratch", "compiled", 1.0, phases=False), device="cuda:0")
    shown = _rendered(benchmark_view(found))
    assert "scratch       -        -         -          -      456" in shown
    assert "scratch              -         -       5.4 %" in shown
    assert "kernels" not in shown
    assert "Peak: 0.2 TFLOP/s" in shown
    assert "what was allocated on the device" in shown.replace("\n", " ")
    assert "loop-N" not in shown


def test_where_memory_is_not_known_the_table_says_so() -> None:
    arm = replace(_arm("scratch", "scratch", "compiled", 1.0), peak_memory=None)
    shown = _rendered(benchmark_view(_benchmark(arm)))
    assert "scratch    20.00     1.20      3.45       0.10        -" in shown
    assert "Memory is not known here: Python has no `resource` module" in shown.replace("\n", " ")


def test_few_rounds_have_ranges() -> None:
    """The first round, and every second one from there on, times an evaluation, too."""
    whole = _benchmark(_arm("scratch", "scratch", "compiled", 1.0))
    few, enough = (
        _rendered(benchmark_view(replace(whole, rounds=rounds))).replace("\n", " ")
        for rounds in (6, 7)
    )
    assert "(of fewer than four, the range)" in few
    assert "the range" not in enough


def test_one_round_is_no_median() -> None:
    found = replace(_benchmark(_arm("scratch", "scratch", "compiled", 1.0)), rounds=1)
    assert "One round, in which every arm trains 30 steps" in _rendered(benchmark_view(found))


def _pass(milliseconds: float, ratio: float, rate: float, share: float) -> PassSpeed:
    return PassSpeed(
        seconds=milliseconds / 1000,
        torch_seconds=milliseconds * ratio / 1000,
        rate=rate,
        share_of_peak=share,
        ratio=ratio,
        spread=(0.9 * ratio, 1.1 * ratio),
        noise=1.0,
        noise_spread=(0.98, 1.02),
    )


def _kernels(*kernels: KernelSpeed) -> KernelBenchmark:
    return KernelBenchmark(
        kernels=kernels,
        stages=(
            StageSpeed("conv1", 0.00051, 0.25, 8.67e10, 0.619),
            StageSpeed("optimizer", 0.00153, 0.75, 0.0, 0.0),
        ),
        noise=1.002,
        noise_spread=(0.971, 1.036),
        rounds=10,
        calls=7,
        batch_size=256,
        flops_per_second=1.4e11,
        bytes_per_second=7.1e10,
        machine="Some CPU, 2 threads",
        build=Build(("AVX2", "FMA"), "GCC 12.2.0"),
        torch="2.15.0",
    )


def test_what_must_be_known_to_read_the_ratios_is_said() -> None:
    whole = replace(_arm("scratch", "scratch", "compiled", 1.0), in_one_call=True)
    layered = _arm("builtin", "builtin", "compiled", 1.0)
    eager = replace(_arm("mine", "m", "eager", 1.0), engine_reason="there is no C++ compiler")
    shown = " ".join(_rendered(bench_view(_benchmark(whole, layered, eager))).split())
    assert "mine trains eager: there is no C++ compiler." in shown
    assert (
        "In scratch, a training step is one call of a kernel, from the batch to SGD. In builtin, "
        "it calls layer by layer"
    ) in shown
    assert "one call" not in _rendered(bench_view(_benchmark(whole, eager)))


def test_kernels() -> None:
    found = _kernels(
        KernelSpeed(
            "conv1", "FLOP", _pass(0.55, 3.25, 8.04e10, 0.574), _pass(0.8, 1.2, 5.5e10, 0.39)
        ),
        KernelSpeed("image batch", "byte", _pass(0.05, 4.0, 2.1e10, 0.296), None),
        KernelSpeed(
            "max pool 1", "byte", _pass(0.15, 16.2, 2.9e10, 0.41), _pass(0.4, 0.8, 1.7e10, 0.24)
        ),
    )
    assert _rendered(bench_view(found)) == (
        "Kernels in the sizes of LeNet, batches of 256\n"
        "Medians of 10 rounds of 7 calls each. Ratio: torch's time to the kernel's within\n"
        "a round, and the middle half of the rounds; above 1 the kernel is faster. Noise:\n"
        "the kernels against themselves 1.00 (0.97 to 1.04).\n"
        "Both are called by autograd, as in training. avg pool includes the sigmoid\n"
        "before it. LeNet is the network with norm scratch, and torch's layers with norm\n"
        "builtin.\n"
        "Peak: 140 GFLOP/s in products of 1024 x 1024 matrices; 71 GB/s in copying 3.5\n"
        "MB. Bytes are those of inputs and outputs, each counted once.\n"
        "on cpu: Some CPU, 2 threads, torch 2.15.0, kernels compiled for AVX2 and FMA by\n"
        "GCC 12.2.0\n"
        "\n"
        "a step, stage by stage    ms   share  GFLOP/s  of peak\n"
        "──────────────────────────────────────────────────────\n"
        "conv1                   0.51  25.0 %     86.7   61.9 %\n"
        "optimizer               1.53  75.0 %        -        -\n"
        "\n"
        "kernel  pass        ms  torch  GFLOP/s  of peak  ratio        spread\n"
        "────────────────────────────────────────────────────────────────────\n"
        "conv1   forward   0.55   1.79     80.4   57.4 %   3.25  2.93 to 3.58\n"
        "conv1   backward  0.80   0.96     55.0   39.0 %   1.20  1.08 to 1.32\n"
        "\n"
        "kernel       pass        ms  torch  GB/s  of peak  ratio          spread\n"
        "────────────────────────────────────────────────────────────────────────\n"
        "image batch  forward   0.05   0.20  21.0   29.6 %   4.00    3.60 to 4.40\n"
        "max pool 1   forward   0.15   2.43  29.0   41.0 %  16.20  14.58 to 17.82\n"
        "max pool 1   backward  0.40   0.32  17.0   24.0 %   0.80    0.72 to 0.88\n"
        "\n"
        "Slower than torch's operation by more than the noise: max pool 1 backward."
    )


def test_where_no_kernel_is_slower_the_last_line_says_so() -> None:
    shown = _rendered(
        bench_view(_kernels(KernelSpeed("loss", "byte", _pass(0.05, 1.0, 1e9, 0.01), None)))
    )
    assert shown.endswith("No kernel is slower than torch's operation by more than the noise.")


def _auto(*starts: Start, compiling: float | None = 2.13) -> AutoBenchmark:
    return AutoBenchmark(
        config={"training": {"epochs": 10}},
        starts=starts,
        data=FASHION,
        device="cpu",
        machine="Some CPU, 2 threads",
        torch="2.15.0",
        compiling=compiling,
        assumed_compiling=3.0,
        assumed_saving=0.4,
    )


def test_starts_with_auto() -> None:
    why = "a step takes 4.2 ms compiled, 7.6 ms eager"
    found = _auto(
        Start(12.31, 12.04, 25.1, 0.21, "compiled", why),
        Start(12.52, 12.15, 24.8, 0.23, "compiled", why),
    )
    assert _rendered(bench_view(found)) == (
        "LeNet, Fashion-MNIST, 10 epochs, 2 starts: seconds of whole trainings\n"
        "\n"
        "start   auto  compiled  eager  choosing  chosen    why\n"
        "────────────────────────────────────────────────────────────────────────────────\n"
        "1      12.31     12.04  25.10      0.21  compiled  4.2 ms compiled, 7.6 ms eager\n"
        "2      12.52     12.15  24.80      0.23  compiled  4.2 ms compiled, 7.6 ms eager\n"
        "\n"
        "auto chose the slower engine in 0 of 2 starts. The faster one here is compiled:\n"
        "eager takes 2.06 times as long (2.04 to 2.08).\n"
        "Choosing took 0.22 s, and saved 12.54 s of a training against eager (medians).\n"
        "auto took longer than eager in 0 of 2 starts.\n"
        "Compiling the kernels, once on a machine, takes 2.1 s here; auto assumes 3.0 s,\n"
        "and that it saves 40 % of a step or more.\n"
        "on cpu: Some CPU, 2 threads, torch 2.15.0"
    )


def test_where_engines_are_equal_none_is_the_slower_one() -> None:
    found = _auto(
        Start(1.2, 1.1, 0.9, 0.1, "eager", ""),
        Start(1.3, 0.9, 1.1, 0.1, "eager", ""),
        compiling=None,
    )
    shown = _rendered(bench_view(found)).replace("\n", " ")
    assert "Neither engine is the faster one here: eager takes 1.02 times as long" in shown
    assert "Choosing took 0.10 s, and cost 0.25 s of a training against eager" in shown
    assert "Compiling" not in shown


def test_a_speedrun() -> None:
    accuracies = (0.901, 0.904, 0.902)
    trials = tuple(
        SpeedrunTrial(seed, test_acc, 5.0 + seed) for seed, test_acc in enumerate(accuracies)
    )
    found = Speedrun(
        config={"training": {"epochs": 4}},
        trials=trials,
        data=FASHION,
        device="cpu",
        machine="Some CPU, 2 threads",
        engine="compiled",
        torch="2.15.0",
    )
    assert _rendered(speedrun_view(found)) == (
        "LeNet, Fashion-MNIST, 4 epochs, 3 seeds (0 to 2)\n"
        "\n"
        "            mean     95 % interval  lowest  highest  n\n"
        "──────────────────────────────────────────────────────\n"
        "test acc  0.9023  0.8985 to 0.9061  0.9010   0.9040  3\n"
        "seconds     6.00      3.52 to 8.48    5.00     7.00  3\n"
        "\n"
        "Seconds are wall time of a whole training, evaluation included, once torch and\n"
        "the data are loaded; 18 s in all.\n"
        "on cpu: Some CPU, 2 threads, engine compiled, torch 2.15.0"
    )
