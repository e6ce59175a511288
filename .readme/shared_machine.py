"""Trainings side by side on one machine, with OpenMP's waiting threads asleep or spinning.

    python .readme/shared_machine.py [ROUNDS]       # let nothing else run; some minutes a round

For each engine, with the settings that bnrun makes and with OpenMP's own: the seconds until the
last one of 1, 2 and 3 trainings that start together has ended, imports included. The table for
`bnrun guide speed`; medians of ROUNDS rounds (1, unless given), in each of which every case has its
turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time

AT_ONCE = (1, 2, 3)
ENGINES = ("compiled", "eager")
# Where torch is loaded before bnrun, it comes too late to set the policy: OpenMP's default is kept.
PROGRAMS = {
    "bnrun's": "from bnrun.__main__ import main; main()",
    "OpenMP's default": "import torch; from bnrun.__main__ import main; main()",
}


def seconds(program: str, engine: str, count: int) -> float:
    """Start some trainings at once, and return the seconds until all have ended."""
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: text for name, text in os.environ.items() if name not in chosen}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", program, "train", "--epochs", "2", "--quiet"]
        command += ["--device", "cpu", "--set", f"training.engine={engine}", "--out", folder]
        start = time.perf_counter()
        trainings = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            for _ in range(count)
        ]
        if any(training.wait() for training in trainings):
            raise SystemExit("a training failed")
        return time.perf_counter() - start


def main() -> None:
    """Measure all cases, and print them as a Markdown table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seconds(PROGRAMS["bnrun's"], "compiled", 1)  # fetches the data and compiles the kernels
    cases = [(engine, policy, n) for engine in ENGINES for policy in PROGRAMS for n in AT_ONCE]
    taken: dict[tuple[str, str, int], list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for engine, policy, count in cases:
            taken[engine, policy, count].append(seconds(PROGRAMS[policy], engine, count))
    print("| engine | waiting threads |", *(f"{n} at once |" for n in AT_ONCE))
    print("|---|---|" + "---:|" * len(AT_ONCE))
    for engine in ENGINES:
        for policy in PROGRAMS:
            medians = [statistics.median(taken[engine, policy, n]) for n in AT_ONCE]
            print(f"| {engine} | {policy} |", *(f"{median:.1f} s |" for median in medians))
    print(f"\n{os.cpu_count()} CPUs; medians of n = {rounds}; two epochs, imports included")


if __name__ == "__main__":
    main()
