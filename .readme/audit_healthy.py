"""No false alarm: torchvision's networks, trained a little on real images, are audited as healthy.

    python .readme/audit_healthy.py FOLDER [NAME ...]     # some 20 CPU minutes the first time

Trains each on Fashion-MNIST, enlarged and in three channels, and writes its weights into FOLDER,
where they are found the next time. Prints a line for each, then its findings. Exits with 1 where
there is a warning or an error.
"""

import itertools
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
RATE = 1e-3
"""AdamW's, at the start of each phase; it falls to 0, so that the moving statistics arrive."""
LARGE = 299
"""The least side, in pixels, of images for Inception's second output."""


@dataclass(frozen=True)
class Phase:
    """A part of a training: `steps` batches of `size` images of `side` pixels."""

    side: int = 32
    steps: int = 120
    size: int = 32


RECIPES: dict[str, tuple[Phase, ...]] = {
    "resnet18": (Phase(),),
    "mobilenet_v2": (Phase(),),
    "efficientnet_b0": (Phase(side=48),),  # of 32 pixels its last maps are 1x1, and hardly vary
    "densenet121": (Phase(side=48),),
    "googlenet": (Phase(),),
    # Its second output, in training, needs images of LARGE pixels: 16 times the work of small ones.
    "inception_v3": (
        Phase(side=75, steps=70),
        Phase(side=LARGE, steps=32, size=4),
        Phase(side=LARGE, steps=60, size=12),
    ),
    "convnext_tiny": (Phase(size=16),),
}


def build(name: str) -> nn.Module:
    """Return a network with random weights and 10 classes."""
    torch.manual_seed(0)
    options = {"aux_logits": True, "init_weights": True} if name[:2] in ("go", "in") else {}
    model: nn.Module = getattr(torchvision.models, name)(num_classes=10, **options)
    return model


def batches(split: Split, phase: Phase, count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalized batches of enlarged images in three channels."""
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(split), generator=random)[: count * phase.size]
    for images, labels in itertools.islice(split.batches(phase.size, order), count):
        x = interpolate((images - MEAN) / DEVIATION, phase.side, mode="bilinear")
        yield x.expand(-1, 3, -1, -1), labels


def train(model: nn.Module, split: Split, phase: Phase, seed: int) -> None:
    """Train one phase; small images leave out Inception's second output.

    Moving statistics start anew: those of other images say nothing about these, and all norms
    count the same batches.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, phase.steps)
    is_inception = isinstance(model, torchvision.models.Inception3)
    second = model.AuxLogits if is_inception and phase.side < LARGE else None
    if second is not None:
        model.AuxLogits = None
    if is_inception:
        model.to(memory_format=torch.channels_last)  # bfloat16 convolutions are faster so
    model.train()
    for x, y in batches(split, phase, phase.steps, seed):
        with torch.autocast("cpu", torch.bfloat16, enabled=is_inception):
            output = model(x)
            outputs = (output,) if isinstance(output, Tensor) else tuple(output)
            loss = sum(cross_entropy(one, y) for one in outputs if one is not None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    if second is not None:
        model.AuxLogits = second


def main() -> int:
    """Train what is not trained yet, and audit each network."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    dataset = bnrun.load_data()
    alarms = 0
    for name in sys.argv[2:] or RECIPES:
        phases, file = RECIPES[name], folder / f"{name}.pt"
        model = build(name)
        if file.exists():
            model.load_state_dict(torch.load(file, weights_only=True))
        else:
            start = time.perf_counter()
            for seed, phase in enumerate(phases):
                train(model, dataset.train, phase, seed)
            torch.save(model.state_dict(), file)
            print(f"{name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
        audit = bnrun.audit(model, list(batches(dataset.test, phases[-1], AUDITED, seed=1)))
        accuracies = ", ".join(f"{k} {v:.3f}" for k, v in audit.evidence.outputs.accuracies.items())
        print(f"{name}: {audit.verdict}, {len(audit.evidence.norms)} norms, {audit.seconds:.1f} s")
        print(f"    accuracy: {accuracies}")
        for one in audit.findings:
            alarms += one.severity != "note"
            print(f"    {one.severity}: {one.id}: {one.evidence}", flush=True)
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main())
