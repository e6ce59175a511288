"""No false alarm: torchvision's networks, trained a little on real images, are audited as healthy.

    python .readme/audit_healthy.py FOLDER [NAME ...]     # some 15 minutes the first time

Trains each on Fashion-MNIST, enlarged and in three channels, and writes its weights into FOLDER,
where they are found the next time. Prints a line for each, then its findings. Exits with 1 where
there is a warning or an error.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

import bnrun
from bnrun.data.dataset import Split

MEAN, DEVIATION = 0.286, 0.353
"""Of Fashion-MNIST's training images, in 0..1."""
AUDITED = 8
"""Batches of test images that a network is audited with."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: images of `side` pixels, `steps` batches of `size`."""

    side: int = 48
    steps: int = 60
    size: int = 32
    rate: float = 0.05


RECIPES = {
    "resnet18": Recipe(side=64, steps=120),
    "mobilenet_v2": Recipe(),
    "efficientnet_b0": Recipe(),
    "densenet121": Recipe(),
    "googlenet": Recipe(),
    "inception_v3": Recipe(side=299, steps=25, size=4),  # its second output needs large images
    "convnext_tiny": Recipe(rate=1e-3),
}


def build(name: str) -> nn.Module:
    """Return a network with random weights and 10 classes."""
    torch.manual_seed(0)
    options = {"aux_logits": True, "init_weights": True} if name[:2] in ("go", "in") else {}
    model: nn.Module = getattr(torchvision.models, name)(num_classes=10, **options)
    return model


def batches(split: Split, recipe: Recipe, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalized batches of enlarged images in three channels."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(split), generator=random)[: count * recipe.size]
    for images, labels in split.batches(recipe.size, order):
        x = interpolate((images - MEAN) / DEVIATION, recipe.side, mode="bilinear")
        yield x.expand(-1, 3, -1, -1), labels


def train(model: nn.Module, split: Split, recipe: Recipe) -> None:
    """Train with a rate that falls to 0, so that the moving statistics arrive."""
    if recipe.rate < 0.01:
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), recipe.rate)
    else:
        optimizer = torch.optim.SGD(model.parameters(), recipe.rate, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    model.train()
    for x, y in batches(split, recipe, recipe.steps, seed=0):
        output = model(x)
        outputs = (output,) if isinstance(output, Tensor) else tuple(output)
        loss = sum(cross_entropy(one, y) for one in outputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> int:
    """Train what is not trained yet, and audit each network."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    dataset = bnrun.load_data()
    alarms = 0
    for name in sys.argv[2:] or RECIPES:
        recipe, file = RECIPES[name], folder / f"{name}.pt"
        model = build(name)
        if file.exists():
            model.load_state_dict(torch.load(file, weights_only=True))
        else:
            start = time.perf_counter()
            train(model, dataset.train, recipe)
            torch.save(model.state_dict(), file)
            print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
        audit = bnrun.audit(model, list(batches(dataset.test, recipe, AUDITED, seed=1)))
        accuracies = ", ".join(f"{k} {v:.3f}" for k, v in audit.evidence.outputs.accuracies.items())
        print(f"{name}: {audit.verdict}, {len(audit.evidence.norms)} norms, {audit.seconds:.1f} s")
        print(f"    accuracy: {accuracies}")
        for one in audit.findings:
            alarms += one.severity != "note"
            print(f"    {one.severity}: {one.id}: {one.evidence}", flush=True)
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
