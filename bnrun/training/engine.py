"""The engine: how training steps are executed, and which way is the fastest for a run.

`eager` computes each operation by itself, as PyTorch has it. `compiled` compiles for the device:
on a CPU, LeNet's layers and norm `scratch` are `bnrun.kernels`; on a CUDA GPU, a whole step is
captured as one graph. What is computed is the same, up to rounding. `auto` times both and takes
the faster, where the run is long enough for that to pay.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from bnrun import kernels
from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.errors import EngineError
from bnrun.norms.introspection import MovingStatistics
from bnrun.training.device import synchronize
from bnrun.training.failures import told
from bnrun.training.optimizer import SGD
from bnrun.training.step import build_model, build_optimizer
from bnrun.training.steps import CapturedSteps, PlainSteps, Steps

WARM_UP_STEPS = 2
TIMED_STEPS = 5
FEWEST_STEPS = 200  # of a run: what is shorter ends before a measurement would have paid
COMPILE_SECONDS = 3.0  # twice what compiling takes; and what it saves is about
SAVED = 0.4  # of the time of a step, or more
LOSS_TOLERANCE, SIZE_TOLERANCE = 1e-3, 0.2  # relative


@dataclass(frozen=True)
class Engine:
    """The engine of a run: `eager` or `compiled`, and in a sentence why, where it was chosen."""

    name: str
    why: str = ""


EAGER, COMPILED = Engine("eager"), Engine("compiled")


@contextlib.contextmanager
def running(engine: Engine, device: torch.device) -> Iterator[None]:
    """Let an engine execute what is trained and evaluated here.

    Raises:
        EngineError: `compiled` is not to be had on this machine.
    """
    compiled = engine.name == "compiled" and device.type == "cpu"
    with kernels.enabled() if compiled else kernels.disabled():
        yield


def make_steps(
    engine: Engine, model: nn.Module, optimizer: SGD, train: Split, batch_size: int
) -> Steps:
    """Return what takes the steps of an epoch, of images that lie on the device."""
    if engine.name == "compiled" and train.labels.device.type == "cuda":
        return CapturedSteps(model, optimizer, train, batch_size)
    return PlainSteps(model, optimizer, train, batch_size)


def choose(config: Config, dataset: Dataset, device: torch.device, epochs: int) -> Engine:
    """Return the engine that `training.engine` asks for; for `auto`, the faster one.

    Args:
        config, dataset, device: of the run; the dataset lies on the device.
        epochs: how many are to be trained.

    Raises:
        EngineError: `compiled` is asked for, and is not to be had here.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)  # whose streams steps are captured and timed on
    wanted = config.training.engine
    if wanted == "eager":
        return EAGER
    if wanted == "compiled":
        _check(device)
        if device.type == "cuda":
            _check_capture(config, dataset, device)
        return COMPILED
    if config.training.deterministic:
        return Engine("eager", "training.deterministic, where a measurement might choose otherwise")
    steps = epochs * -(-len(dataset.train) // config.training.batch_size)
    if steps < FEWEST_STEPS:
        return EAGER
    return _faster(config, dataset, device, steps)


def _faster(config: Config, dataset: Dataset, device: torch.device, steps: int) -> Engine:
    """Time both engines and return the faster, if the run is long enough to pay for it.

    In turns, and each by its fastest step: on a shared machine one step may take as long as three.
    """
    try:
        compiled = device.type != "cpu" or kernels.is_compiled()
        eager = _time(EAGER, config, dataset, device)
        if not compiled and steps * eager.seconds * SAVED < COMPILE_SECONDS:
            return Engine("eager", "compiling would take longer than it saves in this run")
    except EngineError as error:
        return Engine("eager", str(error).removeprefix("training.engine: "))
    except (Exception, SystemExit):
        return EAGER  # it is the model's: training will come to it, and tell where
    try:
        _check(device)
        fast, again, fast_again = (
            _time(engine, config, dataset, device) for engine in (COMPILED, EAGER, COMPILED)
        )
    except EngineError as error:
        return Engine("eager", str(error).removeprefix("training.engine: "))
    except (Exception, SystemExit) as error:
        return Engine("eager", f"compiled steps of this model raise {type(error).__name__}")
    if not _same(eager, fast):
        return Engine("eager", "compiled steps of this model do not come to the same")
    ours, theirs = min(fast.seconds, fast_again.seconds), min(eager.seconds, again.seconds)
    said = f"a step takes {1000 * ours:.2g} ms compiled, {1000 * theirs:.2g} ms eager"
    return Engine("compiled" if ours < theirs else "eager", said)


def _check(device: torch.device) -> None:
    """Check that `compiled` is to be had on a device; compile, where that has to be done.

    Raises:
        EngineError: it is not.
    """
    if device.type == "mps":
        raise EngineError(
            "training.engine: compiled is for the CPU and for CUDA; on mps there is eager."
        )
    with running(COMPILED, device):
        pass


def _check_capture(config: Config, dataset: Dataset, device: torch.device) -> None:
    """Check that captured steps of this model do what its plain ones do.

    Raises:
        EngineError: they do not.
    """
    norm = f"norm '{config.model.norm}'"
    with told("steps taken on trial"):
        eager = _time(EAGER, config, dataset, device)
    try:
        captured = _time(COMPILED, config, dataset, device)
    except Exception as error:
        raise EngineError(
            f"training.engine: a step with {norm} can't be captured: {error}. The engine eager has "
            "no such limit."
        ) from error
    if not _same(eager, captured):
        raise EngineError(
            f"training.engine: captured steps with {norm} do not come to what plain ones do: it "
            "keeps its state where a CUDA graph does not see it change. The engine eager has no "
            "such limit."
        )


@dataclass(frozen=True)
class _Timed:
    """A few steps: the seconds of the fastest, and what they came to.

    `losses` are those of the first two: the second follows from the first one's gradients. After
    that, rounding may grow: a maximum taken elsewhere, a ReLU on the other side of 0. `sizes` are
    those of the moving statistics after the last, which may go wrong without the loss.
    """

    seconds: float
    losses: list[float]
    sizes: list[float]


def _time(engine: Engine, config: Config, dataset: Dataset, device: torch.device) -> _Timed:
    """Take a few steps, with a model and random numbers of their own."""
    size = config.training.batch_size
    count = WARM_UP_STEPS + TIMED_STEPS
    train = Split(dataset.train.images[: count * size], dataset.train.labels[: count * size])
    with torch.random.fork_rng([device] if device.type == "cuda" else []), running(engine, device):
        torch.manual_seed(config.training.seed)
        model = build_model(config).to(device).train()
        optimizer = build_optimizer(config, model)
        steps = make_steps(engine, model, optimizer, train, size)
        seconds: list[float] = []
        losses: list[float] = []
        while len(losses) < count:
            steps.begin(torch.arange(len(train), device=device))
            for step in range(len(train) // size or 1):
                began = time.perf_counter()
                steps.fetch(step)
                steps.take(step)
                synchronize(device)
                seconds.append(time.perf_counter() - began)
                losses.append(float(steps.losses[step]))
    held = [tensor for moving in MovingStatistics.find(model).values() for tensor in moving.held()]
    sizes = [float(tensor.norm()) for tensor in held]
    return _Timed(min(seconds[WARM_UP_STEPS:count]), losses[:2], sizes)


def _same(ours: _Timed, theirs: _Timed) -> bool:
    """Tell whether the same steps came to the same, as far as rounding lets them."""
    return _close(ours.losses, theirs.losses, LOSS_TOLERANCE) and _close(
        ours.sizes, theirs.sizes, SIZE_TOLERANCE
    )


def _close(ours: list[float], theirs: list[float], tolerance: float) -> bool:
    return all(
        math.isclose(a, b, rel_tol=tolerance) or not (math.isfinite(a) or math.isfinite(b))
        for a, b in zip(ours, theirs, strict=True)
    )
