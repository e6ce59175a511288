"""The experiments of study `exact`: each measures how far an identity is off, in float64.

Each function returns the largest relative error of every part of its claim, and a remark. eps is 0
where the identity needs it: an eps above 0 is the one thing that makes a normalized layer depend on
the scale of its weights.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnrun.networks.lenet import LeNet
from bnrun.norms import NORMS
from bnrun.norms.grouped import grouped_norm
from bnrun.norms.pieces import in_pieces
from bnrun.norms.reference import batch_norm
from bnrun.norms.textbook import TextbookBatchNorm
from bnrun.studies.claim import Evidence

Norm = Callable[[int, int], nn.Module]

IMAGES = 32
"""Images of a batch: random ones do for an identity."""

RATE = 0.5
DECAY = 0.01

NORMALIZED = ("conv1", "conv2", "fc1", "fc2")
"""LeNet's layers whose outputs are normalized."""


def idle_bias(steps: int) -> Evidence:
    """Measure what a bias before a batch norm does: its gradient, and its effect on training."""
    model, images, labels = _lenet(), *_batch()
    outputs: dict[str, Tensor] = {}
    for name in NORMALIZED:
        model.get_submodule(name).register_forward_hook(functools.partial(_keep, outputs, name))
    _backward(_loss(model, images, labels))
    gradient = max(
        _ratio(model.get_parameter(f"{name}.bias").grad, _of(outputs[name].grad).abs().sum())
        for name in NORMALIZED
    )
    trained = {biased: _lenet() for biased in (True, False)}
    for biased, network in trained.items():
        if not biased:
            _remove_biases(network)
        _train(network, steps)
    weights = [
        [network.get_parameter(f"{name}.weight") for name in NORMALIZED]
        for network in trained.values()
    ]
    return Evidence({"gradient": [gradient], "training": [_largest_error(*weights)]})


def scale_free() -> Evidence:
    """Measure BN(a W x) against BN(W x), and the gradient at a W against 1/a of that at W."""
    output = gradient = 0.0
    plain = _scaled_gradients(1.0, eps=0.0)
    for scale in (0.1, 10.0):
        scaled = _scaled_gradients(scale, eps=0.0)
        output = max(output, error(scaled[0], plain[0]))
        gradient = max(gradient, error(scaled[1] * scale, plain[1]))
    tiny = error(_scaled_gradients(1e-4, eps=1e-5)[0], _scaled_gradients(1.0, eps=1e-5)[0])
    remark = f"With eps = 1e-5 and weights scaled by 1e-4, the output is off by {tiny:.0%}."
    return Evidence({"output": [output], "gradient": [gradient]}, remark)


def growing_weights(steps: int) -> Evidence:
    """Measure Pythagoras in every step: |w'|² = |w|² + rate² |g|² for each channel's weights."""
    plain = max(_pythagoras(steps, momentum=0.0))
    momentum = max(_pythagoras(steps, momentum=0.9))
    remark = f"With momentum .9, which adds old gradients to the step, it is off by {momentum:.1g}."
    return Evidence({"every channel and step": [plain]}, remark)


def decay_as_rate(steps: int) -> Evidence:
    """Measure weight decay against a learning rate that grows by (1 - rate * decay)^-2 a step."""
    images, _ = _batch(seed=1)

    def difference(layers: tuple[str, ...]) -> float:
        decayed, faster = _lenet(), _lenet()
        _train(decayed, steps, layers, decay=DECAY)
        _train(faster, steps, layers, growth=(1 - RATE * DECAY) ** -2)
        return error(decayed(images), faster(images))

    others = difference((*NORMALIZED, "fc3", "norm1", "norm2", "norm3", "norm4"))
    remark = (
        "fc3, gamma and beta are not scale-free: with these decayed, too, the outputs are off by "
        f"{others:.1g} of their size."
    )
    return Evidence({"normalized weights": [difference(NORMALIZED)]}, remark)


def folding() -> Evidence:
    """Measure whether a batch norm is affine: f(x + y) + f(0) = f(x) + f(y)."""
    x, y = _normal(8, 6, 5, 5, seed=1), _normal(8, 6, 5, 5, seed=2)
    layer = _random_state(NORMS["scratch"](6, 4).double())
    affine = {}
    for part, training in (("predicting", False), ("training", True)):
        layer.train(training)
        f = functools.partial(_without_update, layer)
        affine[part] = [error(f(x + y) + f(torch.zeros_like(x)), f(x) + f(y))]
    convolution = _random_state(nn.Conv2d(3, 6, 3).double())
    assert isinstance(convolution, nn.Conv2d)
    images = _normal(8, 3, 7, 7, seed=3)
    layer.eval()
    folded = error(_fold(convolution, layer)(images), layer(convolution(images)))
    return Evidence({"folds into a convolution": [folded], **affine})


def batch_of_one() -> Evidence:
    """Measure how far a batch of one example comes out as beta, after each kind of layer."""
    errors = {}
    for part, shape in (("linear", (1, 6)), ("convolution", (1, 6, 5, 5))):
        layer = _random_state(TextbookBatchNorm(6, len(shape)).double())
        x = _normal(*shape, seed=1)
        errors[part] = [error(layer(x), _of(layer.beta).expand_as(x))]
    remark = "PyTorch's layer and scratch refuse a single value, whose variance is 0 by itself."
    return Evidence(errors, remark)


def one_formula() -> Evidence:
    """Measure the grouped formula against PyTorch's layers and batch normalization."""
    x = _normal(8, 6, 5, 5, seed=1)
    ghost = functools.partial(grouped_norm, x, None, None, eps=1e-5)

    def batch(part: Tensor) -> Tensor:
        return functional.batch_norm(part, None, None, training=True, eps=1e-5)

    return Evidence(
        {
            "layer norm is one group": [
                error(ghost(examples=1, channels=6), functional.layer_norm(x, x.shape[1:]))
            ],
            "instance norm is a group a channel": [
                error(ghost(examples=1, channels=1), functional.instance_norm(x))
            ],
            "a ghost batch of all is batch norm": [error(ghost(examples=8, channels=1), batch(x))],
            "batch norm of one image is instance norm": [
                error(
                    torch.cat([batch(image) for image in x.chunk(len(x))]),
                    functional.instance_norm(x),
                )
            ],
        }
    )


def free_of_batch() -> Evidence:
    """Measure layer norm of a batch in pieces of two against that of the whole batch."""
    layer = _random_state(NORMS["layer"](6, 4).double())
    x = _normal(256, 6, 4, 4, seed=2)
    pieces = torch.cat([layer(piece) for piece in torch.split(x, 2)])
    return Evidence({"batches of 2 and of 256": [error(pieces, layer(x))]})


def accumulation(pieces: int = 4) -> Evidence:
    """Measure the mean gradient of small batches against that of the whole batch, by norm."""
    ghost = in_pieces(NORMS["scratch"], IMAGES // pieces)
    norms: dict[str, Norm] = {
        "no norm": NORMS["none"],
        "layer norm": NORMS["layer"],
        "group norm": NORMS["group"],
        "batch norm": NORMS["scratch"],
    }
    errors = {
        part: [error(_gradient(norm, pieces), _gradient(norm, 1))] for part, norm in norms.items()
    }
    same = error(_gradient(NORMS["scratch"], pieces), _gradient(ghost, 1))
    errors["batch norm by pieces"] = [same]
    remark = f"With batch norm, the gradient is off by {errors['batch norm'][0]:.2g} of its size."
    return Evidence(errors, remark)


def replicas(count: int = 4) -> Evidence:
    """Measure replicas that share gradients, and perhaps statistics, against one process."""
    weight = _normal(6, 5, seed=0)
    x, target = _normal(IMAGES, 5, seed=1), _normal(IMAGES, 6, seed=2)

    def gradient(normalize: Callable[[list[Tensor]], list[Tensor]], parts: int) -> Tensor:
        shared = weight.clone().requires_grad_()
        outputs = normalize([part @ shared.T for part in x.chunk(parts)])
        losses = [
            (torch.sigmoid(z) - part).square().mean()
            for z, part in zip(outputs, target.chunk(parts), strict=True)
        ]
        (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), shared)
        return gradient

    whole = gradient(_each_normalized, 1)
    return Evidence(
        {
            "plain": [error(gradient(_each_normalized, count), whole)],
            "synchronized": [error(gradient(_all_normalized, count), whole)],
        }
    )


def gains(batches: int = 400) -> Evidence:
    """Measure the mean updated with gain 1/k, and a moving average as a Kalman filter."""
    layer = NORMS["scratch"](6, 2, momentum=None).double()
    data = _normal(batches, 16, 6, seed=1)
    for batch in data:
        layer(batch)
    cumulative = error(_of(layer.running_mean), data.mean((0, 1)))
    moving = NORMS["scratch"](6, 2, momentum=0.1).double()
    estimate, variance = torch.zeros(6).double(), 1.0
    drift = 0.1**2 / (1 - 0.1)  # variance of the walk over that of a batch's mean: gain .1 at last
    off = 0.0
    for k, batch in enumerate(data):
        variance += drift
        gain = variance / (variance + 1)
        variance *= 1 - gain
        estimate = estimate + gain * (batch.mean(0) - estimate)
        moving(batch)
        if k >= batches - 20:
            off = max(off, error(_of(moving.running_mean), estimate))
    return Evidence({"gain 1/k": [cumulative], "constant gain": [off]})


def forgotten_start(batches: int = 100) -> Evidence:
    """Measure how much the first moving variance weighs after k batches, against .9^k."""
    layers = [NORMS["scratch"](6, 2).double() for _ in range(2)]
    for start, layer in enumerate(layers):
        _of(layer.running_var).fill_(float(start))
    off = 0.0
    for k, batch in enumerate(_normal(batches, 16, 6, seed=1), start=1):
        for layer in layers:
            layer(batch)
        weight = _of(layers[1].running_var) - _of(layers[0].running_var)
        off = max(off, float((weight / 0.9**k - 1).abs().max()))
    remark = "It is 1 % after 44 batches and 3e-5 after 100; with momentum .001, 1 % after 4,603."
    return Evidence({"weight of the start": [off]}, remark)


def freezing(steps: int = 10) -> Evidence:
    """Measure what 10 batches change in a batch norm whose parameters do not require gradients."""
    layer = _random_state(NORMS["scratch"](6, 2).double()).requires_grad_(False)
    probe = _normal(IMAGES, 6, seed=9)
    before, output = copy.deepcopy(layer.state_dict()), layer.eval()(probe)
    layer.train()
    for batch in 2 + _normal(steps, IMAGES, 6, seed=1):
        layer(batch)
    after = layer.state_dict()

    def change(*names: str) -> list[float]:
        return [max(error(after[name], before[name]) for name in names)]

    return Evidence(
        {
            "gamma and beta stay": change("weight", "bias"),
            "moving statistics stay": change("running_mean", "running_var"),
            "predictions stay": [error(layer.eval()(probe), output)],
        }
    )


def error(value: Tensor, expected: Tensor) -> float:
    """Return the largest difference, over the largest of the expected values."""
    with torch.no_grad():
        return float((value - expected).abs().max() / expected.abs().max())


def _ratio(value: Tensor | None, size: Tensor) -> float:
    return float(_of(value).abs().max() / size)


def _of(tensor: Tensor | nn.Module | None) -> Tensor:
    assert isinstance(tensor, Tensor)
    return tensor


def _keep(outputs: dict[str, Tensor], name: str, layer: nn.Module, x: object, y: Tensor) -> None:
    """Keep a layer's output with its gradient, as a forward hook."""
    y.retain_grad()
    outputs[name] = y


def _normal(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random images and labels."""
    return _normal(IMAGES, 1, 28, 28, seed=seed).sigmoid(), torch.arange(IMAGES) % 10


def _lenet(norm: Norm | None = None) -> LeNet:
    """Return a LeNet in float64; its batch norms have an eps of 0, unless another norm is given."""
    return LeNet(norm or functools.partial(NORMS["scratch"], eps=0.0)).double()


def _loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(model(images), labels)


def _backward(loss: Tensor) -> None:
    torch.autograd.backward(loss)


def _train(
    model: nn.Module,
    steps: int,
    layers: tuple[str, ...] = (),
    *,
    decay: float = 0.0,
    growth: float = 1.0,
) -> None:
    """Train with plain SGD; `layers` with weight decay, or with a rate that grows.

    Their rate is `RATE` times growth^(t + 1/2) in step t, counted from 0. Biases before norms are
    idle: they are neither decayed nor faster.
    """
    changed = {
        name
        for name, _ in model.named_parameters()
        if name.partition(".")[0] in layers and name not in {f"{x}.bias" for x in NORMALIZED}
    }
    for step in range(steps):
        _backward(_loss(model, *_batch(seed=step)))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.grad is None:  # of a bias that was removed
                    continue
                if name in changed:
                    rate = RATE * growth ** (step + 0.5)
                    parameter.sub_(rate * (parameter.grad + decay * parameter))
                else:
                    parameter.sub_(RATE * parameter.grad)
        model.zero_grad()


def _remove_biases(model: LeNet) -> None:
    """Set the biases before norms to 0, and keep them there."""
    for name in NORMALIZED:
        bias = model.get_parameter(f"{name}.bias")
        bias.requires_grad_(False).zero_()


def _largest_error(values: list[nn.Parameter], expected: list[nn.Parameter]) -> float:
    return max(error(a, b) for a, b in zip(values, expected, strict=True))


def _scaled_gradients(scale: float, eps: float) -> tuple[Tensor, Tensor]:
    """Return BN(a W x), and the gradient of a loss with respect to a W."""
    weight = (scale * _normal(6, 5, seed=1)).requires_grad_()
    z = _normal(IMAGES, 5, seed=2) @ weight.T
    y, _, _ = batch_norm(z, None, None, None, None, training=True, momentum=0.0, eps=eps)
    (gradient,) = torch.autograd.grad((y.sigmoid() * _normal(IMAGES, 6, seed=3)).sum(), weight)
    return y.detach(), gradient


def _pythagoras(steps: int, momentum: float) -> Iterator[float]:
    """Yield how far |w'|² is from |w|² + rate² |step|², relative to the latter, in each step."""
    model = _lenet()
    weights = [model.get_parameter(f"{name}.weight") for name in NORMALIZED]
    velocities: Mapping[nn.Parameter, Tensor] = {p: torch.zeros_like(p) for p in model.parameters()}
    for step in range(steps):
        _backward(_loss(model, *_batch(seed=step)))
        before = [_squares(weight) for weight in weights]
        with torch.no_grad():
            for parameter, velocity in velocities.items():
                velocity.mul_(momentum).add_(_of(parameter.grad))
                parameter.sub_(RATE * velocity)
            for weight, old in zip(weights, before, strict=True):
                expected = old + RATE**2 * _squares(velocities[weight])
                yield float(((_squares(weight) - expected) / expected).abs().max())
        model.zero_grad()


def _squares(weight: Tensor) -> Tensor:
    """Return the squared length of the weights of each output channel."""
    return weight.detach().flatten(1).square().sum(1)


def _random_state(layer: nn.Module) -> nn.Module:
    """Give a layer random parameters and buffers between .5 and 1.5."""
    values = list(layer.parameters()) + [b for b in layer.buffers() if b.is_floating_point()]
    with torch.no_grad():
        for seed, value in enumerate(values):
            value.copy_(0.5 + _normal(*value.shape, seed=seed).sigmoid())
    return layer


def _without_update(layer: nn.Module, x: Tensor) -> Tensor:
    """Return a layer's output, without a change to its statistics."""
    y: Tensor = copy.deepcopy(layer)(x)
    return y.detach()


def _fold(convolution: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    """Return a convolution that computes what this one and the predicting norm do."""
    mean, var = _of(norm.running_mean), _of(norm.running_var)
    scale = _of(norm.weight) / torch.sqrt(var + 1e-5)
    folded = copy.deepcopy(convolution)
    with torch.no_grad():
        folded.weight.mul_(scale.view(-1, 1, 1, 1))
        _of(folded.bias).sub_(mean).mul_(scale).add_(_of(norm.bias))
    return folded


def _gradient(norm: Norm, pieces: int) -> Tensor:
    """Return the gradient of LeNet's weights, the mean over the pieces of a batch."""
    model, (images, labels) = _lenet(norm), _batch()
    for part, of_part in zip(images.chunk(pieces), labels.chunk(pieces), strict=True):
        _backward(_loss(model, part, of_part) / pieces)
    weights = [model.get_parameter(f"{name}.weight") for name in (*NORMALIZED, "fc3")]
    return torch.cat([_of(weight.grad).flatten() for weight in weights])


def _each_normalized(replicas: list[Tensor]) -> list[Tensor]:
    """Normalize each replica's batch by itself."""
    return [_all_normalized([z])[0] for z in replicas]


def _all_normalized(replicas: list[Tensor]) -> list[Tensor]:
    """Normalize every replica's batch by the sums over all replicas, as synchronized norms do."""
    count = sum(len(z) for z in replicas)
    mean = torch.stack([z.sum(0) for z in replicas]).sum(0) / count
    var = torch.stack([(z - mean).square().sum(0) for z in replicas]).sum(0) / count
    return [(z - mean) / torch.sqrt(var + 1e-5) for z in replicas]
