"""Parity: are two arms the same function? Their networks are trained from the same state, step by
step, and compared after every step.

Twice. Eager and in float64, two right implementations differ by rounding, some 1e-15, and a fault
in a formula makes far more. But the trials run their own engine in float32, which is other code:
so that is compared, too, in single steps. Over many, float32 tells less: where a ReLU or a maximum
falls on the other side, rounding grows into differences of the size of a fault.

All steps are plain and gentle, whatever the arms' own optimizer: a wild one makes rounding grow
even in float64.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bnrun.comparison.arms import Arm
from bnrun.comparison.parity_verdict import Agreement, Parity
from bnrun.config import Config, OptimizerConfig
from bnrun.data.dataset import Dataset
from bnrun.errors import EngineError, TrainingFailed
from bnrun.networks.lenet import LeNet
from bnrun.norms.introspection import channel_values, named_values
from bnrun.norms.population import predicting
from bnrun.training.engine import EAGER, Engine
from bnrun.training.model import wrap_model_errors
from bnrun.training.stepper import Stepper

STEPS = 30
LEARNING_RATE = 0.1
PREDICTED_IMAGES = 256
"""How many test images both arms predict after the last step."""


def measure_parity(first: Arm, arm: Arm, dataset: Dataset, device: torch.device) -> Parity:
    """Compare two arms as formulas, and as they train."""
    return Parity(
        first.name,
        arm.name,
        exact=compare_formulas(first, arm, dataset, device),
        as_trained=compare_trainings(first, arm, dataset, device),
    )


def compare_formulas(first: Arm, arm: Arm, dataset: Dataset, device: torch.device) -> Agreement:
    """Compare two arms eager and in float64, over many steps from one state.

    On the CPU where the device has no float64 (mps).
    """
    if device.type == "mps":
        device = torch.device("cpu")
    return _measure((first, arm), dataset.to(device), (EAGER, EAGER), torch.float64)


def compare_trainings(first: Arm, arm: Arm, dataset: Dataset, device: torch.device) -> Agreement:
    """Compare two arms on their own engines and in float32, in single steps from the same state.

    Their configs name the engines; an arm that leaves it to `auto` is compared eager.
    """
    engines = (_engine(first), _engine(arm))
    return _measure((first, arm), dataset.to(device), engines, torch.float32, per_step=True)


class _NotFinite(Exception):
    """A number of one of the arms is not finite; the message says which and where."""


def _engine(arm: Arm) -> Engine:
    return EAGER if arm.engine == "auto" else Engine(arm.engine)


def _measure(
    arms: tuple[Arm, Arm],
    dataset: Dataset,
    engines: tuple[Engine, Engine],
    dtype: torch.dtype,
    *,
    per_step: bool = False,
) -> Agreement:
    """Train two arms from the same state and compare them; with `per_step`, from it in each step.

    What goes wrong ends the measurement, and is part of what is returned.
    """
    differences: dict[str, list[float]] = defaultdict(list)
    error = None
    try:
        steppers = [
            Stepper(
                _gentle(arm.config, arms[0].config),
                dataset.train,
                engine=engine,
                dtype=dtype,
                name=f"arm {arm.name}",
            )
            for arm, engine in zip(arms, engines, strict=True)
        ]
        for step in _steps(*steppers, per_step=per_step):
            for kind, difference in step.items():
                differences[kind].append(difference)
        if per_step:
            _copy_state(steppers[0].model, steppers[1].model)
        differences["prediction"].append(_prediction_difference(steppers, dataset))
    except (TrainingFailed, EngineError, _NotFinite) as failure:
        error = str(failure)
    return Agreement(
        engines=(engines[0].name, engines[1].name),
        dtype=str(dtype).removeprefix("torch."),
        steps=len(differences["loss"]),
        loss=max(differences["loss"], default=None),
        weight=_weight_difference(differences["weight"], per_step),
        moving=max(differences["moving"], default=None),
        prediction=max(differences["prediction"], default=None),
        per_step=per_step,
        error=error,
        tf32=_uses_tf32(dataset.train.labels.device, dtype),
    )


def _weight_difference(differences: list[float], per_step: bool) -> float | None:
    """Return the largest difference; of single steps the median (see `Agreement.per_step`)."""
    if not differences:
        return None
    return statistics.median(differences) if per_step else max(differences)


def _uses_tf32(device: torch.device, dtype: torch.dtype) -> bool:
    if device.type != "cuda" or dtype != torch.float32:
        return False
    backends: Any = torch.backends
    return bool(backends.cudnn.allow_tf32 or backends.cuda.matmul.allow_tf32)


def _gentle(config: Config, first: Config) -> Config:
    """Return a config's network, to be trained by plain steps on the first arm's batches."""
    plain = Config(
        model=config.model, optimizer=OptimizerConfig(lr=LEARNING_RATE), training=first.training
    )
    return plain.with_training(norm_batch=config.training.norm_batch)


def _steps(first: Stepper, other: Stepper, *, per_step: bool) -> Iterator[dict[str, float]]:
    """Take each step with both, and yield their differences after it."""
    for step in range(1, STEPS + 1):
        if step == 1 or per_step:
            _copy_state(first.model, other.model)
        losses = []
        for stepper in (first, other):
            losses.append(float(stepper.step()[0]))
            if not math.isfinite(losses[-1]):
                raise _NotFinite(f"the loss of {stepper.name} became {losses[-1]} at step {step}")
        yield {"loss": abs(losses[0] - losses[1]), **_differences(first.model, other.model)}


@torch.no_grad()
def _copy_state(source: LeNet, target: LeNet) -> None:
    """Copy weights and moving statistics: a norm may have other initial values, or draw them."""
    state = dict(_tensors(source))
    for key, tensor in _tensors(target):
        if key in state and state[key].numel() == tensor.numel():
            tensor.copy_(state[key].reshape(tensor.shape))


def _prediction_difference(steppers: list[Stepper], dataset: Dataset) -> float:
    """Return the largest difference in the logits of the same test images, from the same state."""
    images = dataset.test.images[:PREDICTED_IMAGES].to(steppers[0].dtype) / 255
    logits = []
    for stepper in steppers:
        with (
            stepper.computing(),
            wrap_model_errors(f"{stepper.name}, predicting"),
            predicting(stepper.model),
        ):
            logits.append(stepper.model(images))
        if not logits[-1].isfinite().all():
            raise _NotFinite(f"what {stepper.name} predicts is not finite")
    return float((logits[0] - logits[1]).abs().max())


@torch.no_grad()
def _differences(first: LeNet, other: LeNet) -> dict[str, float]:
    """Return the largest difference in weights and in moving statistics that both have."""
    values, others = dict(_tensors(first)), dict(_tensors(other))
    largest: dict[str, float] = {}
    for key in (key for key in values if key in others):
        if values[key].numel() == others[key].numel():
            distance = float((values[key].flatten() - others[key].flatten()).abs().max())
            if not math.isfinite(distance):  # `max` would pass over NaN
                raise _NotFinite(f"{' '.join(key)} is no longer finite")
            kind = "moving" if key[1].startswith("moving") else "weight"
            largest[kind] = max(largest.get(kind, 0.0), distance)
    return largest


def _tensors(model: LeNet) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Yield every weight and moving statistic, keyed by place in the network and role.

    The role of a norm's values is gamma, beta or a moving statistic, whatever the norm names it.
    That of all other weights is their name.
    """
    for path, module in model.named_modules():
        place = path.partition(".")[0]  # a norm may wrap another: norm1.bn
        values = named_values(module)
        channels = channel_values(values) if place.startswith("norm") else None
        roles = {role: t for role, t in vars(channels).items() if t is not None} if channels else {}
        for role, tensor in roles.items():
            yield (place, role), tensor
        for name, tensor in values.items():
            if isinstance(tensor, torch.nn.Parameter) and all(
                tensor is not known for known in roles.values()
            ):
                yield (place, name), tensor
