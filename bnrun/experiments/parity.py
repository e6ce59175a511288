"""Parity: are two arms the same function? Both are trained from the same state and compared.

In float64, where what two right implementations differ by is rounding, some 1e-15, and what a
fault makes is far above it.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bnrun.data.dataset import Dataset
from bnrun.errors import TrainingFailed
from bnrun.experiments.comparison import Arm, Parity
from bnrun.experiments.stepper import Stepper
from bnrun.lenet import LeNet
from bnrun.norms.parts import parts, values_of

STEPS = 30


def measure_parity(first: Arm, arm: Arm, dataset: Dataset, device: torch.device) -> Parity:
    """Train two arms for a few dozen steps, in step, and return their largest differences.

    On the device, or on the CPU where the device has no float64 (mps).
    """
    if device.type == "mps":
        device = torch.device("cpu")
    dataset = dataset.to(device)
    largest = dict.fromkeys(("loss", "weight", "moving"), 0.0)
    compared, steps, error = {"loss"}, 0, None
    try:
        ours, theirs = (
            Stepper(one.name, one.config, dataset, device, torch.float64) for one in (first, arm)
        )
        while steps < STEPS:
            losses = [float(stepper.step()[0]) for stepper in (ours, theirs)]
            if not all(map(math.isfinite, losses)):
                error = f"the loss became {losses[0]} and {losses[1]} at step {steps + 1}"
                break
            steps += 1
            differences = {"loss": abs(losses[0] - losses[1])}
            differences |= _differences(ours.model, theirs.model)
            compared |= set(differences)
            for kind, difference in differences.items():
                largest[kind] = max(largest[kind], difference)
    except TrainingFailed as failed:
        error = str(failed)
    found = {kind: largest[kind] if steps and kind in compared else None for kind in largest}
    return Parity(
        first.name,
        arm.name,
        "float64",
        steps,
        found["loss"],
        found["weight"],
        found["moving"],
        error,
    )


@torch.no_grad()
def _differences(ours: LeNet, theirs: LeNet) -> dict[str, float]:
    """Return the largest difference in weights and in moving statistics, where both have them."""
    mine, other = dict(_tensors(ours)), dict(_tensors(theirs))
    largest: dict[str, float] = {}
    for key in mine.keys() & other.keys():
        if mine[key].numel() == other[key].numel():
            distance = (mine[key].flatten() - other[key].flatten()).abs().max()
            kind = "moving" if key[1].startswith("moving") else "weight"
            largest[kind] = max(largest.get(kind, 0.0), float(distance))
    return largest


def _tensors(model: LeNet) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Yield every weight and moving statistic, keyed by place in the network and role.

    gamma goes by its role, whatever a norm calls it; so does beta, and so does every bias.
    """
    for path, module in model.named_modules():
        place = path.partition(".")[0]  # a norm may wrap another: norm1.bn
        values = values_of(module)
        found = parts(values)
        roles = {role: t for role, t in vars(found).items() if t is not None} if found else {}
        for role, tensor in roles.items():
            yield (place, role), tensor
        for name, tensor in values.items():
            if isinstance(tensor, torch.nn.Parameter) and all(
                tensor is not known for known in roles.values()
            ):
                yield (place, name), tensor
