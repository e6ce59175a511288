"""How much faster is a training step in one call than by the same kernels, layer by layer?

    python .readme/one_call.py       # let nothing else run; some ten seconds

Both train norm scratch in this process, in turns. A hook that does nothing makes the second one
call its layers.
"""

import statistics
import time

import bnrun  # noqa: F401  (before torch: it sets how OpenMP's threads wait)
from bnrun.config import Config
from bnrun.data.load import load
from bnrun.events import drain
from bnrun.training.allocator import keep_freed_memory
from bnrun.training.engine import COMPILED
from bnrun.training.stepper import Stepper

ROUNDS, STEPS = 16, 30


def seconds(stepper: Stepper) -> float:
    """Take a block of steps; return the seconds of one."""
    with stepper.computing():
        start = time.perf_counter()
        for _ in range(STEPS):
            stepper.step()
        return (time.perf_counter() - start) / STEPS


def main() -> None:
    """Measure, and print medians and the middle half of the ratios."""
    keep_freed_memory()
    config = Config()
    train = drain(load(config.data)).train
    whole, layers = (Stepper(config, train, engine=COMPILED) for _ in range(2))
    layers.model.norm1.register_forward_hook(lambda *_: None)
    turns = [(whole, layers), (layers, whole)]
    taken: dict[Stepper, list[float]] = {whole: [], layers: []}
    seconds(whole), seconds(layers)  # warm-up
    for number in range(ROUNDS):
        for stepper in turns[number % 2]:
            taken[stepper].append(seconds(stepper))
    ratios = sorted(b / a for a, b in zip(taken[whole], taken[layers], strict=True))
    for name, stepper in (("in one call", whole), ("layer by layer", layers)):
        print(f"{name}: {1000 * statistics.median(taken[stepper]):.2f} ms a step")
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"ratio {middle:.2f}, middle half {low:.2f} to {high:.2f}; {ROUNDS} rounds")


if __name__ == "__main__":
    main()
