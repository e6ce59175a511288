"""Layer, group, instance and RMS norms with one deliberate fault each, and what it is called.

Most override one method of a right one, so that two of them, inherited together, have both faults.
"""

import torch
from right_layers import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from torch import nn
from torch.nn import functional as F

FAULTS: dict[str, tuple[str, str]] = {}  # by class: its family, and the fault to be named


def named(family: str, fault: str):
    """Say what the fault of a class is called."""

    def note(cls):
        FAULTS[cls.__name__] = (family, fault)
        return cls

    return note


# ---- layer normalization: over what


@named("layer", "statistics-over-positions")
class LayerNormOfSequence(LayerNorm):
    def dims(self, x):
        return tuple(range(1, x.dim()))


@named("layer", "statistics-over-batch")
class LayerNormOverBatch(LayerNorm):
    def dims(self, x):
        return tuple(range(x.dim() - 1))


@named("layer", "statistics-over-everything")
class LayerNormOfEverything(LayerNorm):
    def dims(self, x):
        return tuple(range(x.dim()))


@named("layer", "statistics-over-batch-and-channels")
class LayerNormWrongAxes(LayerNorm):
    def dims(self, x):
        return (0, -1)


@named("layer", "statistics-per-channel")
class LayerNormAlongSequence(LayerNorm):
    def dims(self, x):
        return tuple(range(1, x.dim() - 1)) or (-1,)


# ---- which variance


@named("layer", "unbiased-variance-normalizes")
class LayerNormUnbiased(LayerNorm):
    def variance(self, x, mean):
        return x.var(self.dims(x), keepdim=True)


@named("layer", "variance-not-divided")
class LayerNormSum(LayerNorm):
    def variance(self, x, mean):
        return ((x - mean) ** 2).sum(self.dims(x), keepdim=True)


@named("layer", "variance-not-centred")
class LayerNormSquares(LayerNorm):
    def variance(self, x, mean):
        return (x**2).mean(self.dims(x), keepdim=True)


@named("layer", "deviation-as-variance")
class LayerNormDeviation(LayerNorm):
    def variance(self, x, mean):
        return x.std(self.dims(x), keepdim=True, unbiased=False)


@named("layer", "absolute-deviation-as-variance")
class LayerNormAbsolute(LayerNorm):
    def variance(self, x, mean):
        return (x - mean).abs().mean(self.dims(x), keepdim=True)


@named("layer", "range-as-variance")
class LayerNormRange(LayerNorm):
    def variance(self, x, mean):
        return (x.amax(-1, keepdim=True) - x.amin(-1, keepdim=True)) ** 2


@named("layer", "variance-cancels")
class LayerNormCancels(LayerNorm):
    def variance(self, x, mean):
        return (x * x).mean(self.dims(x), keepdim=True) - mean * mean


# ---- what is done with the statistics


@named("layer", "mean-not-subtracted")
class LayerNormKeepsMean(LayerNorm):
    def centred(self, x, mean):
        return x


@named("layer", "mean-added")
class LayerNormAddsMean(LayerNorm):
    def centred(self, x, mean):
        return x + mean


@named("layer", "mean-subtracted-twice")
class LayerNormTwice(LayerNorm):
    def centred(self, x, mean):
        return x - mean - mean


@named("layer", "mean-nowhere-subtracted")
class LayerNormIsRMS(LayerNorm):
    def mean(self, x):
        return torch.zeros_like(x[..., :1])


@named("layer", "eps-outside-root")
class LayerNormEpsOutside(LayerNorm):
    def denominator(self, var):
        return torch.sqrt(var) + self.eps


@named("layer", "eps-missing")
class LayerNormNoEps(LayerNorm):
    def denominator(self, var):
        return torch.sqrt(var)


@named("layer", "eps-squared")
class LayerNormEpsSquared(LayerNorm):
    def denominator(self, var):
        return torch.sqrt(var + self.eps**2)


@named("layer", "eps-as-floor")
class LayerNormFloor(LayerNorm):
    def denominator(self, var):
        return torch.sqrt(var.clamp(min=self.eps))


@named("layer", "eps-too-large")
class LayerNormLargeEps(LayerNorm):
    eps = 0.1


@named("layer", "root-missing")
class LayerNormNoRoot(LayerNorm):
    def denominator(self, var):
        return var + self.eps


@named("layer", "multiplies-by-root")
class LayerNormMultiplies(LayerNorm):
    def denominator(self, var):
        return torch.rsqrt(var + self.eps)


@named("layer", "not-divided")
class LayerNormCentresOnly(LayerNorm):
    def denominator(self, var):
        return torch.ones_like(var)


# ---- gamma and beta


@named("layer", "affine-before-normalization")
class LayerNormAffineFirst(LayerNorm):
    def prepared(self, x):
        return self.weight * x + self.bias

    def output(self, x_hat):
        return x_hat


@named("layer", "gamma-unused")
class LayerNormGammaUnused(LayerNorm):
    def output(self, x_hat):
        return x_hat + self.bias


@named("layer", "beta-unused")
class LayerNormBetaUnused(LayerNorm):
    def output(self, x_hat):
        return self.weight * x_hat


@named("layer", "affine-unused")
class LayerNormAffineUnused(LayerNorm):
    def output(self, x_hat):
        return x_hat


@named("layer", "beta-scaled")
class LayerNormBetaScaled(LayerNorm):
    def output(self, x_hat):
        return self.weight * (x_hat + self.bias)


@named("layer", "beta-subtracted")
class LayerNormBetaSubtracted(LayerNorm):
    def output(self, x_hat):
        return self.weight * x_hat - self.bias


@named("layer", "gamma-beta-swapped")
class LayerNormSwapped(LayerNorm):
    def output(self, x_hat):
        return self.bias * x_hat + self.weight


@named("layer", "divides-by-gamma")
class LayerNormDividesByGamma(LayerNorm):
    def output(self, x_hat):
        return x_hat / self.weight + self.bias


@named("layer", "gamma-exponentiated")
class LayerNormExponent(LayerNorm):
    def output(self, x_hat):
        return self.weight.exp() * x_hat + self.bias


@named("layer", "gamma-absolute")
class LayerNormAbsoluteGamma(LayerNorm):
    def output(self, x_hat):
        return self.weight.abs() * x_hat + self.bias


@named("layer", "affine-twice")
class LayerNormAffineTwice(LayerNorm):
    def output(self, x_hat):
        return self.weight * (self.weight * x_hat + self.bias) + self.bias


@named("layer", "output-clipped")
class LayerNormClips(LayerNorm):
    def output(self, x_hat):
        return super().output(x_hat.clamp(-1, 1))


@named("layer", "gamma-shared")
class LayerNormOneGamma(LayerNorm):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(self.dim))


@named("layer", "no-gamma-and-beta")
class LayerNormWithoutParameters(LayerNorm):
    def __init__(self, dim, elementwise_affine=True):
        super().__init__(dim)

    def make_parameters(self):
        pass

    def output(self, x_hat):
        return x_hat


@named("layer", "gamma-not-a-parameter")
class LayerNormPlainGamma(LayerNorm):
    def make_parameters(self):
        self.register_buffer("weight", torch.ones(self.dim))
        self.bias = nn.Parameter(torch.zeros(self.dim))


@named("layer", "gamma-starts-wrong")
class LayerNormStartsAtZero(LayerNorm):
    def make_parameters(self):
        super().make_parameters()
        self.weight = nn.Parameter(torch.zeros(self.dim))


# ---- gradients


@named("layer", "gradient-takes-statistics-as-constants")
class LayerNormDetached(LayerNorm):
    def statistics(self, x):
        mean, var = super().statistics(x)
        return mean.detach(), var.detach()


@named("layer", "gradient-takes-variance-as-constant")
class LayerNormVarianceDetached(LayerNorm):
    def denominator(self, var):
        return super().denominator(var).detach()


@named("layer", "gradient-takes-mean-as-constant")
class LayerNormMeanDetached(LayerNorm):
    def centred(self, x, mean):
        return x - mean.detach()


@named("layer", "no-gradient-of-x")
class LayerNormDetachesInput(LayerNorm):
    def prepared(self, x):
        return x.detach()


@named("layer", "no-gradient-of-gamma")
class LayerNormGammaData(LayerNorm):
    def output(self, x_hat):
        return self.weight.data * x_hat + self.bias


@named("layer", "no-gradient-of-beta")
class LayerNormBetaData(LayerNorm):
    def output(self, x_hat):
        return self.weight * x_hat + self.bias.data


class _Function(torch.autograd.Function):
    """Written out; `backward` calls the layer's own, for d_x, d_gamma and d_beta."""

    @staticmethod
    def forward(ctx, x, gamma, beta, layer):
        ctx.save_for_backward(x, gamma)
        ctx.layer = layer
        return F.layer_norm(x, gamma.shape, gamma, beta)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, gamma = ctx.saved_tensors
        centred = x - x.mean(-1, keepdim=True)
        inv = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return (*ctx.layer.gradients(g, x, gamma, centred, inv), None)


class _ByHand(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        return _Function.apply(x, self.weight, self.bias, self)

    def gradients(self, g, x, gamma, centred, inv):
        rest = tuple(range(g.dim() - 1))
        return self.d_x(g, gamma, centred * inv, inv), (g * centred * inv).sum(rest), g.sum(rest)

    def d_x(self, g, gamma, x_hat, inv):
        h = g * gamma
        return inv * (h - h.mean(-1, keepdim=True) - x_hat * (h * x_hat).mean(-1, keepdim=True))


@named("layer", "gradient-scaled-after-means")
class LayerNormScaledLast(_ByHand):
    def d_x(self, g, gamma, x_hat, inv):
        return gamma * super().d_x(g, torch.ones_like(gamma), x_hat, inv)


@named("layer", "gradient-terms-wrong")
class LayerNormWrongTerm(_ByHand):
    def d_x(self, g, gamma, x_hat, inv):
        h = g * gamma
        inner = 2 * x_hat * (h * x_hat).mean(-1, keepdim=True)
        return inv * (h - h.mean(-1, keepdim=True) - inner)


@named("layer", "gradient-of-x-misses-gamma")
class LayerNormMissesGamma(_ByHand):
    def d_x(self, g, gamma, x_hat, inv):
        return super().d_x(g, torch.ones_like(gamma), x_hat, inv)


@named("layer", "gradient-of-x-misses-root")
class LayerNormMissesRoot(_ByHand):
    def d_x(self, g, gamma, x_hat, inv):
        return super().d_x(g, gamma, x_hat, torch.ones_like(inv))


@named("layer", "gradient-of-x-misses-normalization")
class LayerNormPassesOn(_ByHand):
    def d_x(self, g, gamma, x_hat, inv):
        return g * gamma


@named("layer", "gradient-of-gamma-not-normalized")
class LayerNormGammaNotNormalized(_ByHand):
    def gradients(self, g, x, gamma, centred, inv):
        d_x, _, d_beta = super().gradients(g, x, gamma, centred, inv)
        return d_x, (g * centred).sum(tuple(range(g.dim() - 1))), d_beta


@named("layer", "gradient-of-gamma-from-input")
class LayerNormGammaFromInput(_ByHand):
    def gradients(self, g, x, gamma, centred, inv):
        d_x, _, d_beta = super().gradients(g, x, gamma, centred, inv)
        return d_x, (g * x).sum(tuple(range(g.dim() - 1))), d_beta


@named("layer", "gradient-of-gamma-averaged")
class LayerNormGammaAveraged(_ByHand):
    def gradients(self, g, x, gamma, centred, inv):
        d_x, d_gamma, d_beta = super().gradients(g, x, gamma, centred, inv)
        return d_x, d_gamma / len(x), d_beta


@named("layer", "gradient-of-gamma-is-betas")
class LayerNormGammaIsBetas(_ByHand):
    def gradients(self, g, x, gamma, centred, inv):
        d_x, _, d_beta = super().gradients(g, x, gamma, centred, inv)
        return d_x, d_beta, d_beta


@named("layer", "gradient-of-beta-averaged")
class LayerNormBetaAveraged(_ByHand):
    def gradients(self, g, x, gamma, centred, inv):
        d_x, d_gamma, d_beta = super().gradients(g, x, gamma, centred, inv)
        return d_x, d_gamma, d_beta / len(x)


# ---- precision, inputs, state


@named("layer", "float64-narrowed")
class LayerNormNarrows(LayerNorm):
    def statistics(self, x):
        mean, var = super().statistics(x)
        half = x.dtype == torch.bfloat16
        return (mean, var) if half else (mean.float().to(x.dtype), var.float().to(x.dtype))


@named("layer", "float64-narrowed-to-half")
class LayerNormNarrowsToHalf(LayerNorm):
    def statistics(self, x):
        return tuple(value.half().to(x.dtype) for value in super().statistics(x))


@named("layer", "writes-into-input")
class LayerNormWritesIntoInput(LayerNorm):
    def forward(self, x):
        y = super().forward(x.clone())
        x.detach().mul_(2)
        return y


class _WithMoving(LayerNorm):
    def __init__(self, dim):
        super().__init__(dim)
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.running_mean.lerp_(x.detach().flatten(0, -2).mean(0), 0.1)
                self.running_var.lerp_(x.detach().flatten(0, -2).var(0), 0.1)
        return super().forward(x)


@named("layer", "predicts-with-moving")
class LayerNormPredictsWithMoving(_WithMoving):
    def statistics(self, x):
        return super().statistics(x) if self.training else (self.running_mean, self.running_var)


@named("layer", "trains-with-moving-statistics")
class LayerNormTrainsWithMoving(_WithMoving):
    def forward(self, x):
        return LayerNorm.forward(self, x)

    def statistics(self, x):
        return (self.running_mean, self.running_var) if self.training else super().statistics(x)


@named("layer", "moving-statistics-unused")
class LayerNormKeepsMoving(_WithMoving):
    pass


@named("layer", "eps-ignored")
class LayerNormIgnoresEps(LayerNorm):
    def __init__(self, dim, eps=1e-5):
        super().__init__(dim)


@named("layer", "normalized-shape-ignored")
class LayerNormOfLastOnly(nn.Module):
    def __init__(self, normalized_shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))

    def forward(self, x):
        var, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(var + 1e-5) * self.weight + self.bias


@named("layer", "depends-on-other-examples")
class LayerNormSeesBatch(LayerNorm):
    def output(self, x_hat):
        return super().output(x_hat + x_hat.mean(0, keepdim=True))


@named("layer", "depends-on-other-positions")
class LayerNormSeesSequence(LayerNorm):
    def output(self, x_hat):
        if x_hat.dim() > 2:
            x_hat = x_hat + x_hat.sum(tuple(range(1, x_hat.dim() - 1)), keepdim=True)
        return super().output(x_hat)


@named("layer", "single-value-not-finite")
class LayerNormOfOneIsNan(LayerNorm):
    def output(self, x_hat):
        return super().output(x_hat) * (x_hat.shape[-1] - 1) / (x_hat.shape[-1] - 1)


# ---- group normalization


@named("group", "groups-striped")
class GroupNormStriped(GroupNorm):
    def grouped(self, x):
        n, c, *positions = x.shape
        return x.reshape(n, c // self.num_groups, self.num_groups, *positions).transpose(1, 2)

    def ungrouped(self, x_hat, x):
        return x_hat.transpose(1, 2).reshape(x.shape)


@named("group", "groups-counted-as-sizes")
class GroupNormOfSize(GroupNorm):
    def grouped(self, x):
        return x.reshape(len(x), -1, self.num_groups, *x.shape[2:])


@named("group", "groups-ignored")
class GroupNormOfAll(GroupNorm):
    def grouped(self, x):
        return x.reshape(len(x), 1, *x.shape[1:])


@named("group", "statistics-per-channel")
class GroupNormOfEach(GroupNorm):
    def grouped(self, x):
        return x.reshape(len(x), x.shape[1], 1, *x.shape[2:])


@named("group", "statistics-per-position")
class GroupNormPerPosition(GroupNorm):
    def dims(self, grouped):
        return (2,)


@named("group", "statistics-miss-a-position")
class GroupNormMissesWidth(GroupNorm):
    def dims(self, grouped):
        return tuple(range(2, grouped.dim() - 1)) or (2,)


@named("group", "groups-over-batch")
class GroupNormOverBatch(GroupNorm):
    def dims(self, grouped):
        return (0, *super().dims(grouped))


@named("group", "groups-of-positions")
class GroupNormOfMemory(GroupNorm):
    """Channels last."""

    def forward(self, x):
        if x.shape[-1] != self.num_channels:
            raise ValueError(f"expected {self.num_channels} channels, got {x.shape[-1]}")
        rows = x.reshape(len(x), self.num_groups, -1)
        var, mean = torch.var_mean(rows, -1, correction=0, keepdim=True)
        x_hat = (rows - mean) * torch.rsqrt(var + self.eps)
        return x_hat.reshape(x.shape) * self.weight + self.bias


@named("group", "statistics-over-batch")
class GroupNormAsBatchNorm(GroupNorm):
    def forward(self, x):
        return self.output(F.batch_norm(x, None, None, training=True))


@named("group", "unbiased-variance-normalizes")
class GroupNormUnbiased(GroupNorm):
    def variance(self, grouped, mean):
        return grouped.var(self.dims(grouped), keepdim=True)


@named("group", "eps-outside-root")
class GroupNormEpsOutside(GroupNorm):
    def denominator(self, var):
        return torch.sqrt(var) + self.eps


# ---- instance normalization


@named("instance", "statistics-over-channels")
class InstanceNormAsLayerNorm(InstanceNorm):
    def dims(self, x):
        return tuple(range(1, x.dim()))


@named("instance", "statistics-over-batch")
class InstanceNormAsBatchNorm(InstanceNorm):
    def dims(self, x):
        return (0, *range(2, x.dim()))


@named("instance", "statistics-miss-a-position")
class InstanceNormOfRows(InstanceNorm):
    def dims(self, x):
        return (-1,)


@named("instance", "unbiased-variance-normalizes")
class InstanceNormUnbiased(InstanceNorm):
    def variance(self, x, mean):
        return x.var(self.dims(x), keepdim=True)


# ---- RMS normalization


@named("rms", "mean-subtracted")
class RMSNormSubtractsMean(RMSNorm):
    def centred(self, x):
        return x - x.mean(-1, keepdim=True)

    def mean_square(self, x):
        return self.centred(x).pow(2).mean(-1, keepdim=True)


@named("rms", "mean-square-not-divided")
class RMSNormSum(RMSNorm):
    def mean_square(self, x):
        return x.pow(2).sum(-1, keepdim=True)


@named("rms", "mean-square-divided-by-one-less")
class RMSNormOneLess(RMSNorm):
    def mean_square(self, x):
        return x.pow(2).sum(-1, keepdim=True) / (x.shape[-1] - 1)


@named("rms", "unbiased-variance-for-mean-square")
class RMSNormStd(RMSNorm):
    def mean_square(self, x):
        return x.std(-1, keepdim=True) ** 2


@named("rms", "mean-of-root-squares")
class RMSNormRootTwice(RMSNorm):
    def mean_square(self, x):
        return x.pow(2).mean(-1, keepdim=True).sqrt()


@named("rms", "mean-of-absolute-values")
class RMSNormAbsolute(RMSNorm):
    def mean_square(self, x):
        return x.abs().mean(-1, keepdim=True) ** 2


@named("rms", "square-of-mean")
class RMSNormSquareOfMean(RMSNorm):
    def mean_square(self, x):
        return x.mean(-1, keepdim=True) ** 2


@named("rms", "statistics-over-positions")
class RMSNormOfSequence(RMSNorm):
    def dims(self, x):
        return tuple(range(1, x.dim()))


@named("rms", "statistics-over-batch")
class RMSNormOverBatch(RMSNorm):
    def dims(self, x):
        return (0,)


@named("rms", "root-missing")
class RMSNormNoRoot(RMSNorm):
    def denominator(self, square):
        return square + self.eps


@named("rms", "gamma-unused")
class RMSNormGammaUnused(RMSNorm):
    def output(self, x_hat):
        return x_hat


@named("rms", "no-gamma-and-beta")
class RMSNormWithoutParameters(RMSNorm):
    def __init__(self, dim, affine=True):
        nn.Module.__init__(self)

    def output(self, x_hat):
        return x_hat


@named("rms", "gradient-takes-mean-square-as-constant")
class RMSNormDetached(RMSNorm):
    def denominator(self, square):
        return super().denominator(square).detach()


class _RMSFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, layer):
        ctx.save_for_backward(x, gamma)
        ctx.layer = layer
        return gamma * x * (x.square().mean(-1, keepdim=True) + layer.eps).rsqrt()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        x, gamma = ctx.saved_tensors
        inv = (x.square().mean(-1, keepdim=True) + ctx.layer.eps).rsqrt()
        d_x = ctx.layer.d_x(g, gamma, x * inv, inv)
        return d_x, (g * x * inv).sum(tuple(range(g.dim() - 1))), None


class _RMSByHand(RMSNorm):
    def forward(self, x):
        return _RMSFunction.apply(x, self.weight, self)


@named("rms", "gradient-of-x-as-layer-norm")
class RMSNormGradientOfLayerNorm(_RMSByHand):
    def d_x(self, g, gamma, x_hat, inv):
        h = g * gamma
        return inv * (h - h.mean(-1, keepdim=True) - x_hat * (h * x_hat).mean(-1, keepdim=True))


@named("rms", "gradient-scaled-after-means")
class RMSNormScaledLast(_RMSByHand):
    def d_x(self, g, gamma, x_hat, inv):
        return gamma * inv * (g - x_hat * (g * x_hat).mean(-1, keepdim=True))


PAIRS = [
    ("LayerNormUnbiased", "LayerNormEpsOutside"),  # the much-copied tutorial
    ("LayerNormUnbiased", "LayerNormDetached"),
    ("LayerNormOfSequence", "LayerNormEpsSquared"),
    ("LayerNormSum", "LayerNormBetaSubtracted"),
    ("LayerNormKeepsMean", "LayerNormNoRoot"),
    ("LayerNormOverBatch", "LayerNormSwapped"),
    ("LayerNormTwice", "LayerNormGammaData"),
    ("LayerNormNoEps", "LayerNormBetaScaled"),
    ("LayerNormSquares", "LayerNormVarianceDetached"),
    ("LayerNormEpsOutside", "LayerNormPlainGamma"),
    ("LayerNormWritesIntoInput", "LayerNormUnbiased"),
    ("LayerNormPredictsWithMoving", "LayerNormGammaUnused"),
    ("GroupNormStriped", "GroupNormUnbiased"),
    ("GroupNormOfAll", "GroupNormEpsOutside"),
    ("GroupNormOfSize", "GroupNormUnbiased"),
    ("InstanceNormAsLayerNorm", "InstanceNormUnbiased"),
    ("RMSNormSum", "RMSNormGammaUnused"),
    ("RMSNormOfSequence", "RMSNormNoRoot"),
    ("RMSNormAbsolute", "RMSNormDetached"),
]
"""Classes that override different methods, so that one can inherit from both."""
