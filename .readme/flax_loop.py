"""The same training in Flax: a jitted step, data in memory. For the README's comparison.

    pip install flax optax
    python .readme/flax_loop.py FOLDER      # with Fashion-MNIST's four files; see `bnrun data`

Prints, for each epoch: examples/s with evaluation, loss, test accuracy. The first one compiles.
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

BATCH_SIZE, EPOCHS = 256, 6


def read(name: str) -> np.ndarray:
    """Read an IDX file."""
    content = Path(sys.argv[1], name).read_bytes()
    header = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4]) for at in range(4, header, 4)]
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


class LeNet(nn.Module):
    """The textbook's LeNet with batch norms."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return the logits."""

        def norm(x: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)(x)

        for features in (6, 16):
            x = nn.sigmoid(norm(nn.Conv(features, (5, 5), padding="VALID")(x)))
            x = nn.avg_pool(x, (2, 2), (2, 2))
        x = x.reshape(len(x), -1)
        for features in (120, 84):
            x = nn.sigmoid(norm(nn.Dense(features)(x)))
        return nn.Dense(10)(x)


X, TX = (jnp.asarray(read(f"{name}-images-idx3-ubyte"))[..., None] for name in ("train", "t10k"))
Y, TY = (
    jnp.asarray(read(f"{name}-labels-idx1-ubyte").astype(np.int32)) for name in ("train", "t10k")
)
model, optimizer = LeNet(), optax.sgd(1.0)


@jax.jit
def step(state, index):
    """Take one step on the images at an index."""
    params, stats, momenta = state
    x, y = jnp.take(X, index, axis=0).astype(jnp.float32) / 255, jnp.take(Y, index)

    def loss_of(params):
        variables = {"params": params, "batch_stats": stats}
        logits, new = model.apply(variables, x, True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

    (loss, new), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
    updates, momenta = optimizer.update(gradients, momenta, params)
    return (optax.apply_updates(params, updates), new["batch_stats"], momenta), loss


@jax.jit
def correct(state, x, y):
    """Count the right answers."""
    variables = {"params": state[0], "batch_stats": state[1]}
    return (model.apply(variables, x.astype(jnp.float32) / 255, False).argmax(1) == y).sum()


variables = model.init(jax.random.PRNGKey(0), jnp.zeros((2, 28, 28, 1)), True)
state = (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))
order = np.random.default_rng(0)
for _ in range(EPOCHS):
    began, losses = time.perf_counter(), []
    shuffled = order.permutation(len(X))
    for start in range(0, len(X), BATCH_SIZE):
        state, loss = step(state, jnp.asarray(shuffled[start : start + BATCH_SIZE]))
        losses.append(loss)
    right = sum(correct(state, TX[i : i + 1000], TY[i : i + 1000]) for i in range(0, 10_000, 1000))
    accuracy, mean = int(right) / len(TX), float(jnp.stack(losses).mean())
    rate = len(X) / (time.perf_counter() - began)
    print(f"{rate:,.0f} examples/s with evaluation, loss {mean:.3f}, test acc {accuracy:.3f}")
