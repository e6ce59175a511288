"""Right batch normalizations, in the styles in which people write them."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Right(nn.Module):
    """The plain one, cut where faults go: a class of faulty_norms.py overrides a method."""

    eps = 1e-5
    momentum = 0.1

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.make_parameters()
        self.make_statistics()

    def make_parameters(self) -> None:
        self.weight = nn.Parameter(torch.ones(self.num_features))
        self.bias = nn.Parameter(torch.zeros(self.num_features))

    def make_statistics(self) -> None:
        self.register_buffer("running_mean", torch.zeros(self.num_features))
        self.register_buffer("running_var", torch.ones(self.num_features))

    def forward(self, x: Tensor) -> Tensor:
        self.check(x)
        if self.trains():
            x = self.prepared(x)
            mean, var = self.statistics(x)
            self.update(x, mean, var)
            mean, var = self.used_in_training(mean, var)
        else:
            mean, var = self.used_when_predicting(x)
        return self.output(self.normalized(x, mean, var))

    def check(self, x: Tensor) -> None:
        if not 2 <= x.dim() <= 5:
            raise ValueError(f"expected 2 to 5 dimensions, got {x.dim()}")
        if x.shape[1] != self.num_features:
            raise ValueError(f"expected {self.num_features} channels, got {x.shape[1]}")
        if self.trains() and x.numel() == x.shape[1]:
            raise ValueError("one value per channel")

    def trains(self) -> bool:
        return self.training

    def prepared(self, x: Tensor) -> Tensor:
        return x

    def dims(self, x: Tensor) -> list[int]:
        return [dim for dim in range(x.dim()) if dim != 1]

    def shaped(self, vector: Tensor, x: Tensor) -> Tensor:
        return vector.view(1, -1, *[1] * (x.dim() - 2))

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean(self.dims(x), keepdim=True)
        return mean, self.variance(x, mean)

    def variance(self, x: Tensor, mean: Tensor) -> Tensor:
        return ((x - mean) ** 2).mean(self.dims(x), keepdim=True)

    def used_in_training(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        return mean, var

    def used_when_predicting(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.shaped(self.running_mean, x), self.shaped(self.running_var, x)

    def normalized(self, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (x - mean) / self.denominator(var)

    def denominator(self, var: Tensor) -> Tensor:
        return torch.sqrt(var + self.eps)

    def output(self, x_hat: Tensor) -> Tensor:
        return self.shaped(self.weight, x_hat) * x_hat + self.shaped(self.bias, x_hat)

    def update(self, x: Tensor, mean: Tensor, var: Tensor) -> None:
        with torch.no_grad():
            self.running_mean = self.moved(self.running_mean, self.kept_mean(mean))
            self.running_var = self.moved(self.running_var, self.kept_var(x, var))

    def kept_mean(self, mean: Tensor) -> Tensor:
        return mean.detach().flatten()

    def kept_var(self, x: Tensor, var: Tensor) -> Tensor:
        n = x.numel() / x.shape[1]
        return var.detach().flatten() * n / (n - 1)

    def moved(self, old: Tensor, new: Tensor) -> Tensor:
        return (1 - self.momentum) * old + self.momentum * new


def batch_norm(x, gamma, beta, moving_mean, moving_var, training, eps=1e-5, momentum=0.1):
    """The functional style: everything comes in, everything goes out."""
    dims = (0, *range(2, x.dim()))
    shape = (1, -1) + (1,) * (x.dim() - 2)
    if training:
        if x.numel() == x.shape[1]:
            raise ValueError("one value per channel")
        var, mean = torch.var_mean(x, dims, unbiased=False)
        n = x.numel() // x.shape[1]
        moving_mean = torch.lerp(moving_mean, mean.detach(), momentum)
        moving_var = torch.lerp(moving_var, var.detach() * n / (n - 1), momentum)
    else:
        mean, var = moving_mean, moving_var
    y = (x - mean.view(shape)) * torch.rsqrt(var + eps).view(shape)
    return torch.addcmul(beta.view(shape), gamma.view(shape), y), moving_mean, moving_var


class Functional(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_features))
        self.shift = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_variance", torch.ones(num_features))

    def forward(self, x):
        y, self.moving_mean, self.moving_variance = batch_norm(
            x, self.scale, self.shift, self.moving_mean, self.moving_variance, self.training
        )
        return y


class InPlace(nn.Module):
    """Buffers moved in place, statistics by sums, parameters of shape (1, C, 1, 1)."""

    def __init__(self, num_features, num_dims, eps=1e-5, momentum=0.1):
        super().__init__()
        shape = (1, num_features) + (1,) * (num_dims - 2)
        self.eps, self.momentum = eps, momentum
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward(self, x):
        assert x.shape[1] == self.gamma.shape[1]
        if not self.training:
            return self.gamma * (x - self.running_mean) / (self.running_var + self.eps).sqrt() + (
                self.beta
            )
        n = x.numel() // x.shape[1]
        assert n > 1, "one value per channel"
        dims = [0, *range(2, x.dim())]
        mean = x.sum(dims, keepdim=True) / n
        var = (x - mean).square().sum(dims, keepdim=True) / n
        with torch.no_grad():
            self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean)
            self.running_var.mul_(1 - self.momentum).add_(self.momentum * var * n / (n - 1))
        return self.gamma * (x - mean) / (var + self.eps).sqrt() + self.beta


class _Fused(torch.autograd.Function):
    """Forward and backward written out; it refuses to be differentiated twice."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        mean = x.mean(0)
        inv = 1 / (x.var(0, unbiased=False) + eps).sqrt()
        x_hat = (x - mean) * inv
        ctx.save_for_backward(x_hat, gamma, inv)
        return gamma * x_hat + beta

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x_hat, gamma, inv = ctx.saved_tensors
        d_beta, d_gamma = g.sum(0), (g * x_hat).sum(0)
        m = g.shape[0]
        return gamma * inv / m * (m * g - d_beta - x_hat * d_gamma), d_gamma, d_beta, None


class Fused(nn.Module):
    """A fused autograd function over rows: images are laid out as (N * H * W, C)."""

    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        rows = x.movedim(1, -1)
        flat = rows.reshape(-1, self.gamma.numel() if x.shape[1] == self.gamma.numel() else 0)
        if self.training:
            if len(flat) < 2:
                raise ValueError("one value per channel")
            self.running_mean.lerp_(flat.detach().mean(0), 0.1)
            self.running_var.lerp_(flat.detach().var(0), 0.1)
            y = _Fused.apply(flat, self.gamma, self.beta, 1e-5)
        else:
            y = (flat - self.running_mean) / (self.running_var + 1e-5).sqrt()
            y = y * self.gamma + self.beta
        return y.reshape(rows.shape).movedim(-1, 1)


class RankTwo(nn.Module):
    """For what follows a fully connected layer, and nothing else."""

    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("moving_mean", torch.zeros(num_features))
        self.register_buffer("moving_var", torch.ones(num_features))

    def forward(self, x):
        n, _ = x.shape
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            if n == 1:
                raise ValueError("a batch of one")
            self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean.detach()
            self.moving_var = 0.9 * self.moving_var + 0.1 * var.detach() * n / (n - 1)
        else:
            mean, var = self.moving_mean, self.moving_var
        return self.gamma * (x - mean) / torch.sqrt(var + 1e-5) + self.beta


class RankTwoThatRaises(RankTwo):
    """The same without a check: an input of rank 4 fails somewhere in torch."""

    def forward(self, x):
        x.mean(0) + self.gamma
        return super().forward(x)


class RankFour(nn.Module):
    """For images, and nothing else; with all that PyTorch's layer offers."""

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        super().__init__()
        self.eps, self.momentum, self.batches = eps, momentum, 0
        self.gamma = nn.Parameter(torch.ones(1, num_features, 1, 1)) if affine else None
        self.beta = nn.Parameter(torch.zeros(1, num_features, 1, 1)) if affine else None
        tracked = track_running_stats
        self.register_buffer("moving_mean", torch.zeros(num_features, 1, 1) if tracked else None)
        self.register_buffer("moving_var", torch.ones(num_features, 1, 1) if tracked else None)

    def forward(self, x):
        n, _, h, w = x.shape
        if self.training or self.moving_mean is None:
            if n * h * w == 1:
                raise ValueError("one value per channel")
            mean = x.mean((0, 2, 3), keepdim=True)
            var = x.var((0, 2, 3), keepdim=True, unbiased=False)
        else:
            mean, var = self.moving_mean, self.moving_var
        if self.training and self.moving_mean is not None:
            self.batches += 1
            weight = 1 / self.batches if self.momentum is None else self.momentum
            m = n * h * w
            with torch.no_grad():
                self.moving_mean.lerp_(mean[0], weight)
                self.moving_var.lerp_(var[0] * m / (m - 1), weight)
        x_hat = (x - mean) / torch.sqrt(var + self.eps)
        return x_hat if self.gamma is None else self.gamma * x_hat + self.beta


class TextbookSignature(nn.Module):
    """The textbook's signature and its biased variance, but registered, and keyed on the module."""

    def __init__(self, num_features, num_dims):
        super().__init__()
        shape = (1, num_features) if num_dims == 2 else (1, num_features, 1, 1)
        self.gamma = nn.Parameter(torch.ones(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.register_buffer("moving_mean", torch.zeros(shape))
        self.register_buffer("moving_var", torch.ones(shape))

    def forward(self, X):
        if self.training:
            dims = (0,) if X.dim() == 2 else (0, 2, 3)
            mean = X.mean(dims, keepdim=True)
            var = ((X - mean) ** 2).mean(dims, keepdim=True)
            with torch.no_grad():
                self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean
                self.moving_var = 0.9 * self.moving_var + 0.1 * var
        else:
            mean, var = self.moving_mean, self.moving_var
        return self.gamma * (X - mean) / torch.sqrt(var + 1e-5) + self.beta


class KerasLike(Right):
    """Keras's BatchNormalization: momentum 0.99 of the old average, eps 1e-3, biased variance."""

    eps = 1e-3
    momentum = 0.01

    def kept_var(self, x, var):
        return var.detach().flatten()


class Wrapping(nn.Module):
    """Another layer inside."""

    def __init__(self, num_features, num_dims):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features) if num_dims == 2 else nn.BatchNorm2d(num_features)

    def forward(self, x):
        return self.bn(x)


class Subclass(nn.BatchNorm2d):
    """Of PyTorch's layer, with a forward pass of its own."""

    def __init__(self, num_features):
        super().__init__(num_features)

    def forward(self, x):
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            0.1,
            self.eps,
        )


class Volumes(nn.BatchNorm3d):
    """For (N, C, D, H, W) and nothing else."""

    def __init__(self, num_features):
        super().__init__(num_features)


class Sequences(nn.Module):
    """For (N, C, L) and nothing else."""

    def __init__(self, num_features):
        super().__init__()
        self.bn = nn.BatchNorm1d(num_features)

    def forward(self, x):
        _, _, _ = x.shape
        return self.bn(x)


class StatisticsAsParameters(Right):
    """Moving statistics in parameters that are not learned."""

    def make_statistics(self):
        zeros, ones = torch.zeros(self.num_features), torch.ones(self.num_features)
        self.running_mean = nn.Parameter(zeros, requires_grad=False)
        self.running_var = nn.Parameter(ones, requires_grad=False)

    def update(self, x, mean, var):
        with torch.no_grad():
            self.running_mean.copy_(self.moved(self.running_mean, self.kept_mean(mean)))
            self.running_var.copy_(self.moved(self.running_var, self.kept_var(x, var)))


class OtherNames(Right):
    """Its moving statistics go by names that nobody knows."""

    def make_statistics(self):
        self.register_buffer("ema_mu", torch.zeros(self.num_features))
        self.register_buffer("ema_sigma2", torch.ones(self.num_features))

    def used_when_predicting(self, x):
        return self.shaped(self.ema_mu, x), self.shaped(self.ema_sigma2, x)

    def update(self, x, mean, var):
        with torch.no_grad():
            self.ema_mu = self.moved(self.ema_mu, self.kept_mean(mean))
            self.ema_sigma2 = self.moved(self.ema_sigma2, self.kept_var(x, var))


class AffineByConvolution(Right):
    """Scales by a convolution of each channel with one weight."""

    def make_parameters(self):
        self.affine = nn.Conv2d(self.num_features, self.num_features, 1, groups=self.num_features)
        nn.init.ones_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def check(self, x):
        assert x.dim() == 4
        super().check(x)

    def output(self, x_hat):
        return self.affine(x_hat)


class TwoInside(nn.Module):
    """A layer for rows and one for images, picked by the rank of the input."""

    def __init__(self, num_features):
        super().__init__()
        self.rows, self.maps = nn.BatchNorm1d(num_features), nn.BatchNorm2d(num_features)

    def forward(self, x):
        return self.rows(x) if x.dim() < 4 else self.maps(x)


class Domains(nn.Module):
    """A layer for each domain, with gamma and beta in common; the second domain is in use."""

    domain = 1

    def __init__(self, num_features):
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(num_features, affine=False) for _ in range(3))
        self.scale = nn.Parameter(torch.ones(1, num_features, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, num_features, 1, 1))

    def forward(self, x):
        return self.norms[self.domain](x) * self.scale + self.shift


class WithoutAffine(nn.BatchNorm2d):
    """Scales and shifts only where it is asked to."""

    def __init__(self, num_features, affine=False):
        super().__init__(num_features, affine=affine)


class Tied(nn.Module):
    """Two layers with the same gamma and beta."""

    def __init__(self, num_features):
        super().__init__()
        self.rows, self.maps = nn.BatchNorm1d(num_features), nn.BatchNorm2d(num_features)
        self.maps.weight, self.maps.bias = self.rows.weight, self.rows.bias

    def forward(self, x):
        return self.rows(x) if x.dim() < 4 else self.maps(x)


class Lazy(nn.LazyBatchNorm1d):
    """Its parameters come into being with the first batch."""

    def __init__(self, num_features):
        super().__init__()
        self.wanted = num_features

    def initialize_parameters(self, input):
        if input.shape[1] != self.wanted:
            raise ValueError("other channels than asked for")
        super().initialize_parameters(input)


class LazyInside(nn.Module):
    """A lazy layer inside, for images."""

    def __init__(self, num_features):
        super().__init__()
        self.norm = nn.LazyBatchNorm2d(eps=1e-5)
        self.wanted = num_features

    def forward(self, x):
        if x.shape[1] != self.wanted:
            raise ValueError("other channels than asked for")
        return self.norm(x)


class WithoutStart(Right):
    """Haiku's averages: those of the batches alone, whatever the momentum."""

    def __init__(self, num_features, momentum=0.1):
        super().__init__(num_features)
        self.momentum = momentum

    def make_statistics(self):
        super().make_statistics()
        for name in ("hidden_mean", "hidden_var"):
            self.register_buffer(name, torch.zeros(self.num_features))
        self.register_buffer("batches", torch.zeros(()))

    @torch.no_grad()
    def update(self, x, mean, var):
        self.batches += 1
        whole = 1 - (1 - self.momentum) ** int(self.batches)
        self.hidden_mean.lerp_(self.kept_mean(mean), self.momentum)
        self.hidden_var.lerp_(self.kept_var(x, var), self.momentum)
        self.running_mean.copy_(self.hidden_mean / whole)
        self.running_var.copy_(self.hidden_var / whole)


class FirstBatch(Right):
    """The first batch initializes the moving statistics; momentum weighs all others."""

    def __init__(self, num_features, momentum=0.1):
        super().__init__(num_features)
        self.momentum = momentum
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def moved(self, old, new):
        return super().moved(old, new) if self.started else new

    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.started.fill_(True)


# ---- popular public ones beside Keras's, rebuilt from what their documentation states


class Chainer(Right):
    """Chainer's BatchNormalization: eps 2e-5, and n / max(n - 1, 1) for a single value."""

    eps = 2e-5

    def check(self, x):
        if x.shape[1] != self.num_features:
            raise ValueError("channels")

    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().flatten() * n / max(n - 1, 1)


class Gluon(Chainer):
    """MXNet's BatchNorm: eps 1e-5, biased variances in the moving one."""

    eps = 1e-5

    def kept_var(self, x, var):
        return var.detach().flatten()


class Cs231n(nn.Module):
    """The one that students of CS231n write, of rows: its moving variance starts at 0."""

    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.zeros(num_features))

    def forward(self, x):
        if x.dim() != 2:
            raise ValueError(f"expected (N, D), got {x.dim()} dimensions")
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean(0), x.var(0, correction=0)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
            self.running_var = 0.9 * self.running_var + 0.1 * var.detach()
        return self.gamma * (x - mean) / (var + 1e-5).sqrt() + self.beta


class FastaiFromScratch(nn.Module):
    """The one of fast.ai's course from scratch, of images: torch's var, which is unbiased."""

    def __init__(self, nf, mom=0.1, eps=1e-5):
        super().__init__()
        self.mom, self.eps = mom, eps
        self.mults = nn.Parameter(torch.ones(nf, 1, 1))
        self.adds = nn.Parameter(torch.zeros(nf, 1, 1))
        self.register_buffer("vars", torch.ones(1, nf, 1, 1))
        self.register_buffer("means", torch.zeros(1, nf, 1, 1))

    def forward(self, x):
        if x.dim() != 4:
            raise ValueError("images, please")
        mean, var = self.means, self.vars
        if self.training:
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
            with torch.no_grad():
                self.means.lerp_(mean, self.mom)
                self.vars.lerp_(var, self.mom)
        return (x - mean) / (var + self.eps).sqrt() * self.mults + self.adds
