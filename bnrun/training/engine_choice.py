"""Choice of the engine that runs a training: the one that the config names, or the faster one."""

import contextlib
import math
import statistics
import time

import torch

from bnrun import kernels
from bnrun.config import Config
from bnrun.data.dataset import Dataset, Split
from bnrun.errors import EngineError
from bnrun.norms.introspection import MovingStatistics
from bnrun.processes import ALONE, Processes
from bnrun.training.device import synchronize
from bnrun.training.engine import COMPILED, EAGER, Engine, running, uses_graphs
from bnrun.training.stepper import Stepper

WARM_UP_STEPS = 2
"""Steps at the start of a measurement whose time does not count."""
TIMED_STEPS = 3
"""Timed steps of an engine before the engines alternate."""
CLEAR_LEAD = 1.5
"""Times as fast that `compiled` must be for the first steps to decide: noise is rarely as large."""
ROUNDS = 3
"""How often the engines alternate where they do not decide."""
ROUND_STEPS = 2
"""Timed steps of each engine in a round."""
MIN_STEPS_OF_ROUND = 80
"""Steps of a run that a round needs; it then takes 5 % of the run or less."""
MIN_RUN_STEPS = 50
"""Shortest run for which `auto` times the engines, in five steps of each.

Where compiled takes half the time of eager, 15 steps pay for that; where the engines are equal,
nothing does, and it costs a fifth of so short a run: a tenth of a second.
"""
COMPILE_SECONDS = 4.0
"""Cautious estimate of compile time: g++ 12 takes 2.9 s of a server's core, clang 14 takes 3.7."""
MIN_SAVING = 0.3
"""Least share of a step that compiling is assumed to save.

Measured by `bnrun bench --auto`: .6 or more for norm `scratch`, .45 for `builtin`, .3 for `layer`.
"""
LOSS_TOLERANCE = 1e-3
"""Relative difference up to which the losses of two engines count as equal."""
STATISTICS_TOLERANCE = 0.2
"""Relative difference up to which the norms of two engines' moving statistics count as equal."""

KEY = "training.engine"
_DETERMINISTIC = "training.deterministic, and a measurement might choose otherwise"


def describe_choice(config: Config, device: torch.device) -> str:
    """Return what takes time in `choose`, in a few words."""
    may_compile = config.training.engine != "eager" and not config.training.deterministic
    with contextlib.suppress(EngineError):
        if device.type == "cpu" and may_compile and not kernels.is_compiled():
            return "compiling the kernels"
    return "choosing the engine"


def choose(
    config: Config,
    dataset: Dataset,
    device: torch.device,
    epochs: int,
    processes: Processes = ALONE,
) -> Engine:
    """Return the engine that `training.engine` names; for `auto`, the faster one on this machine.

    Args:
        config, dataset, device: of the run; the dataset lies on the device.
        epochs: how many epochs are still to be trained.
        processes: which train together. They measure together and choose the same engine: the
            slowest one counts.

    Raises:
        EngineError: `compiled` is named and not available for this model on this machine.
        NormError: `compiled` is named on a CUDA device, and the norm cannot be loaded or built.
        TrainingFailed: likewise, and the model raised in a trial step.
    """
    wanted = config.training.engine
    if wanted == "eager":
        return EAGER
    if processes.is_distributed:
        return _choose_together(config, dataset.train, device, epochs, processes)
    if wanted == "compiled":
        _require_compiled(device)
        if uses_graphs(COMPILED, device):
            _require_graphs(config, dataset.train)
        return COMPILED
    if config.training.deterministic:
        return Engine("eager", _DETERMINISTIC)
    return _measured(config, dataset.train, device, epochs, processes)


def _choose_together(
    config: Config, train: Split, device: torch.device, epochs: int, processes: Processes
) -> Engine:
    """Return the engine of several processes; `compiled` needs kernels on every machine.

    Raises:
        EngineError: `compiled` is named and not available.
    """
    problem = ""
    if device.type != "cpu":
        problem = "several processes sum their gradients, which a CUDA graph of a step does not"
    else:
        try:
            _require_compiled(device)
        except EngineError as error:
            problem = error.reason
    is_missing = processes.highest(bool(problem)) > 0
    problem = problem or "the kernels are not available on another machine"
    if config.training.engine == "compiled":
        if is_missing:
            raise EngineError(problem, KEY)
        return COMPILED
    if is_missing or config.training.deterministic:
        return Engine("eager", problem if is_missing else _DETERMINISTIC)
    return _measured(config, train, device, epochs, processes)


def _measured(
    config: Config, train: Split, device: torch.device, epochs: int, processes: Processes
) -> Engine:
    """Return the faster engine, where the run is long enough to find out."""
    steps = epochs * -(-len(train) // config.training.batch_size)
    if steps < MIN_RUN_STEPS:
        return EAGER
    try:
        return _faster(config, train, device, steps, processes)
    except EngineError as error:
        return Engine("eager", error.reason)


def _faster(
    config: Config,
    train: Split,
    device: torch.device,
    steps: int,
    processes: Processes,
) -> Engine:
    """Time both engines and return the faster; on a tie, `compiled`.

    Where a few steps of each are no clear lead of `compiled`, the engines alternate, so that both
    meet the same load: on a shared machine one step may take as long as three. `eager` is faster
    where half of its steps are faster than every compiled one. A smaller lead may be noise, and
    without load `compiled` is rarely the slower one.

    Raises:
        EngineError: `compiled` is not available, is not worth compiling for so few steps, or does
            not compute what `eager` does.
    """
    compiled_before = device.type != "cpu" or kernels.is_compiled()
    try:
        eager = _Measurement(EAGER, config, train, processes)
    except Exception:
        return EAGER  # training will raise the same, and say where
    if not compiled_before and steps * eager.fastest * MIN_SAVING < COMPILE_SECONDS:
        raise EngineError("compiling would take longer than it saves in this run")
    _require_compiled(device)
    try:
        compiled = _Measurement(COMPILED, config, train, processes)
        is_equal = _are_equal(eager, compiled)
        is_clear = compiled.fastest * CLEAR_LEAD < eager.fastest
        rounds = min(ROUNDS, steps // MIN_STEPS_OF_ROUND)
        for _ in range(0 if is_clear or not is_equal else rounds):
            eager.take(ROUND_STEPS)
            compiled.take(ROUND_STEPS)
    except Exception as error:
        name = type(error.__cause__ or error).__name__
        raise EngineError(f"compiled steps of this model raise {name}") from error
    if not is_equal:
        raise EngineError("compiled steps of this model compute something else")
    times = f"{_milliseconds(compiled.fastest)} compiled, {_milliseconds(eager.fastest)} eager"
    why = f"a step takes {times}"
    if statistics.median(eager.seconds) < compiled.fastest:
        return Engine("eager", why)
    is_tie = eager.fastest <= compiled.fastest
    return Engine("compiled", f"{why}, the same within the noise" if is_tie else why)


def _milliseconds(seconds: float) -> str:
    """Write a time with two digits, and never in scientific notation: "5.3 ms", "250 ms"."""
    rounded = float(f"{1000 * seconds:.2g}")
    decimals = 0 if rounded >= 10 else 1 if rounded >= 1 else 2
    return f"{rounded:,.{decimals}f} ms"


def _require_compiled(device: torch.device) -> None:
    """Check that `compiled` is available on a device; compile the kernels where it needs them.

    Raises:
        EngineError: it is not available.
    """
    if device.type == "mps":
        raise EngineError("compiled runs on the CPU and on CUDA; on mps, take eager.", KEY)
    with running(COMPILED, device):
        pass


def _require_graphs(config: Config, train: Split) -> None:
    """Check that steps of this model, recorded as CUDA graphs, compute what eager steps do.

    Raises:
        EngineError: they do not.
        NormError, TrainingFailed: the model cannot be built, or its eager steps raise.
    """
    norm = f"norm '{config.model.norm_call}'"
    eager = _Measurement(EAGER, config, train)
    try:
        compiled = _Measurement(COMPILED, config, train)
    except Exception as error:
        raise EngineError(
            f"a step with {norm} can't be recorded as a CUDA graph: {error.__cause__ or error}. "
            "The engine eager has no such limit.",
            KEY,
        ) from error
    if not _are_equal(eager, compiled):
        raise EngineError(
            f"recorded steps with {norm} compute something else than eager ones: it keeps state "
            "where a CUDA graph does not see it change. The engine eager has no such limit.",
            KEY,
        )


class _Measurement:
    """A few steps of an engine on a model built for this alone: how long each took, and its loss.

    The steps have full batches.

    Attributes:
        seconds: of each timed step.
        losses: of each step.
        moving_norms: the Euclidean norms of the moving statistics after the first steps, which may
            be wrong while the losses are right.
    """

    def __init__(
        self, engine: Engine, config: Config, train: Split, processes: Processes = ALONE
    ) -> None:
        size = config.training.batch_size
        count = WARM_UP_STEPS + TIMED_STEPS
        images = size * min(count, max(len(train) // size, 1))
        self._device, self._processes = train.labels.device, processes
        self._stepper = Stepper(
            config,
            Split(train.images[:images], train.labels[:images]),
            engine=engine,
            name=f"trial steps of the engine {engine.name}",
            processes=processes,
        )
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.take(count)
        del self.seconds[:WARM_UP_STEPS]
        found = MovingStatistics.find(self._stepper.model).values()
        self.moving_norms = [
            float(tensor.norm()) for moving in found for tensor in moving.tensors()
        ]

    @property
    def fastest(self) -> float:
        """Return the seconds of the fastest timed step."""
        return min(self.seconds)

    def take(self, steps: int) -> None:
        """Take some more steps."""
        with self._stepper.computing():
            for _ in range(steps):
                start = time.perf_counter()
                loss, _ = self._stepper.step()
                synchronize(self._device)
                self.seconds.append(self._processes.highest(time.perf_counter() - start))
                self.losses.append(float(loss))


def _are_equal(a: _Measurement, b: _Measurement) -> bool:
    """Return whether two engines computed the same, within the tolerances above.

    The losses are those of two steps: the second depends on the first one's gradients. After that,
    rounding may grow: a maximum at another pixel, a ReLU on the other side of 0.
    """
    return _are_close(a.losses[:2], b.losses[:2], LOSS_TOLERANCE) and _are_close(
        a.moving_norms, b.moving_norms, STATISTICS_TOLERANCE
    )


def _are_close(a: list[float], b: list[float], tolerance: float) -> bool:
    """Return whether two lists agree; values that are not finite agree with each other."""
    return all(
        math.isclose(x, y, rel_tol=tolerance) or not (math.isfinite(x) or math.isfinite(y))
        for x, y in zip(a, b, strict=True)
    )
