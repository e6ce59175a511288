"""Golden losses: 20 steps of the textbook's recipe on synthetic data. A refactor may not move them.

The three batch norms are the same function in training, so they share one trajectory. The
sixteenth batch is a smaller one. Float64 stays within 3e-6 of these.
"""

import pytest

from bnrun.config import Assignment, resolve
from bnrun.data.dataset import image_order
from bnrun.data.synthetic import synthetic
from bnrun.training.step import build_model, build_optimizer, train_step

BATCH_NORM = [
    2.54271, 2.08991, 1.78902, 1.62952, 1.56958, 1.45282, 1.06821, 1.05763, 0.99157, 0.86841,
    0.79112, 0.65793, 0.62082, 0.59250, 0.60108, 0.56235, 0.60372, 0.48470, 0.49039, 0.43788,
]  # fmt: skip
NO_NORM = [
    2.51088, 2.63021, 2.70903, 2.69007, 2.80321, 2.71132, 2.37650, 2.34775, 2.34549, 2.32175,
    2.32835, 2.31347, 2.31848, 2.31293, 2.32255, 2.30612, 2.35475, 2.30998, 2.30451, 2.32316,
]  # fmt: skip


@pytest.mark.parametrize(
    ("norm", "golden"),
    [("scratch", BATCH_NORM), ("builtin", BATCH_NORM), ("textbook", BATCH_NORM), ("none", NO_NORM)],
)
def test_twenty_steps_end_where_they_always_did(norm: str, golden: list[float]) -> None:
    config = resolve(None, [Assignment("model.norm", norm, "test")]).config
    images = synthetic().train
    model = build_model(config)
    optimizer = build_optimizer(config, model)
    losses = []
    for epoch in (1, 2):
        for batch in images.batches(256, image_order(0, epoch, len(images))):
            if len(losses) < 20:
                losses.append(float(train_step(model, optimizer, *batch)[0]))
    assert losses == pytest.approx(golden, abs=2e-4)
