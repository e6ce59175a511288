"""Parity: are two arms the same function? Their networks are trained from the same state, compared
after every step, and then let to predict.

In float64, where two right implementations differ by rounding, some 1e-15, and a fault makes far
more. By plain and gentle steps, whatever the arms' own optimizer: a wild one makes rounding grow
into any difference.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bnrun.comparison.outcome import Arm, Parity
from bnrun.config import Config, OptimizerConfig
from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.networks.lenet import LeNet
from bnrun.norms.introspection import channel_values, named_values
from bnrun.norms.population import predicting
from bnrun.training.model import wrap_model_errors
from bnrun.training.stepper import Stepper

STEPS = 30
LEARNING_RATE = 0.1
PREDICTED = 256  # test images


def measure_parity(first: Arm, arm: Arm, dataset: Dataset, device: torch.device) -> Parity:
    """Train two arms for a few dozen steps, in step; then let both predict the same images.

    On the device, or on the CPU where the device has no float64 (mps).
    """
    if device.type == "mps":
        device = torch.device("cpu")
    dataset = dataset.to(device)
    largest: dict[str, float] = {}
    steps, error = 0, None
    try:
        ours, theirs = (
            Stepper(
                _gentle(one.config, first.config),
                dataset.train,
                dtype=torch.float64,
                name=f"arm {one.name}",
            )
            for one in (first, arm)
        )
        _give_state(ours.model, theirs.model)
        for differences in _in_step(ours, theirs):
            steps += 1
            for kind, difference in differences.items():
                largest[kind] = max(largest.get(kind, 0.0), difference)
        largest["prediction"] = _prediction_difference(ours, theirs, dataset)
    except (TrainingFailed, _NotFinite) as failed:
        error = str(failed)
    return Parity(
        first=first.name,
        arm=arm.name,
        dtype="float64",
        steps=steps,
        max_loss_difference=largest.get("loss"),
        max_weight_difference=largest.get("weight"),
        max_moving_difference=largest.get("moving"),
        max_prediction_difference=largest.get("prediction"),
        error=error,
    )


def _gentle(config: Config, first: Config) -> Config:
    """Return a config's network, to be trained by plain steps on the first arm's batches."""
    return Config(
        model=config.model, optimizer=OptimizerConfig(lr=LEARNING_RATE), training=first.training
    )


@torch.no_grad()
def _give_state(ours: LeNet, theirs: LeNet) -> None:
    """Start both from our state: a norm may have other initial values, or draw them."""
    state = dict(_tensors(ours))
    for key, tensor in _tensors(theirs):
        if key in state and state[key].numel() == tensor.numel():
            tensor.copy_(state[key].reshape(tensor.shape))


class _NotFinite(Exception):
    """A number of one of the arms is not finite; the message says which and where."""


def _in_step(ours: Stepper, theirs: Stepper) -> Iterator[dict[str, float]]:
    """Take each step with both, and yield their differences after it."""
    for step in range(1, STEPS + 1):
        losses = []
        for stepper in (ours, theirs):
            losses.append(float(stepper.step()[0]))
            if not math.isfinite(losses[-1]):
                raise _NotFinite(f"the loss of {stepper.name} became {losses[-1]} at step {step}")
        yield {"loss": abs(losses[0] - losses[1]), **_differences(ours.model, theirs.model)}


def _prediction_difference(ours: Stepper, theirs: Stepper, dataset: Dataset) -> float:
    """Return the largest difference in the logits of the same test images."""
    images = dataset.test.images[:PREDICTED].to(torch.float64) / 255
    logits = []
    for stepper in (ours, theirs):
        with wrap_model_errors(f"{stepper.name}, predicting"), predicting(stepper.model):
            logits.append(stepper.model(images))
        if not logits[-1].isfinite().all():
            raise _NotFinite(f"what {stepper.name} predicts is not finite")
    return float((logits[0] - logits[1]).abs().max())


@torch.no_grad()
def _differences(ours: LeNet, theirs: LeNet) -> dict[str, float]:
    """Return the largest difference in weights and in moving statistics, where both have them."""
    mine, other = dict(_tensors(ours)), dict(_tensors(theirs))
    largest: dict[str, float] = {}
    for key in (key for key in mine if key in other):
        if mine[key].numel() == other[key].numel():
            distance = float((mine[key].flatten() - other[key].flatten()).abs().max())
            if not math.isfinite(distance):  # which `max` would pass over
                raise _NotFinite(f"{' '.join(key)} is not finite any more")
            kind = "moving" if key[1].startswith("moving") else "weight"
            largest[kind] = max(largest.get(kind, 0.0), distance)
    return largest


def _tensors(model: LeNet) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Yield every weight and moving statistic, keyed by place in the network and role.

    gamma goes by its role, whatever a norm calls it; so does beta, and so does every bias.
    """
    for path, module in model.named_modules():
        place = path.partition(".")[0]  # a norm may wrap another: norm1.bn
        values = named_values(module)
        found = channel_values(values)
        roles = {role: t for role, t in vars(found).items() if t is not None} if found else {}
        for role, tensor in roles.items():
            yield (place, role), tensor
        for name, tensor in values.items():
            if isinstance(tensor, torch.nn.Parameter) and all(
                tensor is not known for known in roles.values()
            ):
                yield (place, name), tensor
