"""Right layer, group, instance and RMS norms, in the styles in which people write them.

Those marked `after` rebuild a popular public implementation in our own words, from the formula of
its paper or documentation.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F


class Style(NamedTuple):
    """A class, the family it is to be recognized as, and the dialects that it speaks."""

    cls: type[nn.Module]
    family: str
    dialects: set[str]
    after: str


STYLES: list[Style] = []


def right(family: str, *dialects: str, after: str = ""):
    """Note what a class is."""

    def note(cls):
        STYLES.append(Style(cls, family, set(dialects), after))
        return cls

    return note


# ---- layer normalization


@right("layer")
class LayerNorm(nn.Module):
    """The plain one, cut where faults go: a class of faulty_layers.py overrides a method."""

    eps = 1e-5

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.make_parameters()

    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(self.dim))
        self.bias = nn.Parameter(torch.zeros(self.dim))

    def forward(self, x):
        mean, var = self.statistics(self.prepared(x))
        return self.output(self.normalized(self.prepared(x), mean, var))

    def prepared(self, x):
        return x

    def dims(self, x):
        return (-1,)

    def statistics(self, x):
        mean = self.mean(x)
        return mean, self.variance(x, mean)

    def mean(self, x):
        return x.mean(self.dims(x), keepdim=True)

    def variance(self, x, mean):
        return ((x - mean) ** 2).mean(self.dims(x), keepdim=True)

    def normalized(self, x, mean, var):
        return self.centred(x, mean) / self.denominator(var)

    def centred(self, x, mean):
        return x - mean

    def denominator(self, var):
        return torch.sqrt(var + self.eps)

    def output(self, x_hat):
        return self.weight * x_hat + self.bias


@right("layer")
class ByFunction(nn.Module):
    """torch's function, on whatever the last dimension is; recognized by what it does."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True):
        super().__init__()
        is_number = isinstance(normalized_shape, int)
        self.normalized_shape = (normalized_shape,) if is_number else normalized_shape
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(normalized_shape)) if elementwise_affine else None
        self.bias = nn.Parameter(torch.zeros(normalized_shape)) if elementwise_affine else None

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


@right("layer", "eps-value")
class OfTokens(nn.Module):
    """A tuple for the shape, names of its own, inputs of (N, L, C) alone."""

    def __init__(self, normalized_shape, epsilon=1e-6):
        super().__init__()
        assert len(normalized_shape) == 1
        self.g = nn.Parameter(torch.ones(*normalized_shape))
        self.b = nn.Parameter(torch.zeros(*normalized_shape))
        self.epsilon = epsilon

    def forward(self, x):
        batch, length, channels = x.shape
        rows = x.reshape(batch * length, channels)
        var, mean = torch.var_mean(rows, 1, keepdim=True, correction=0)
        rows = torch.addcmul(self.b, (rows - mean) * (var + self.epsilon).rsqrt(), self.g)
        return rows.view(batch, length, channels)


class _LayerNormFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        mean = x.mean(-1, keepdim=True)
        inv = ((x - mean).square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, gamma)
        ctx.eps = eps
        return gamma * (x - mean) * inv + beta

    @staticmethod
    def backward(ctx, g):
        x, gamma = ctx.saved_tensors
        centred = x - x.mean(-1, keepdim=True)
        inv = (centred.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        x_hat, h = centred * inv, g * gamma
        d_x = inv * (h - h.mean(-1, keepdim=True) - x_hat * (h * x_hat).mean(-1, keepdim=True))
        rest = tuple(range(x.dim() - 1))
        return d_x, (g * x_hat).sum(rest), g.sum(rest), None


@right("layer")
class WrittenOut(nn.Module):
    """With a backward pass written out."""

    def __init__(self, hidden_size):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(hidden_size))
        self.beta = nn.Parameter(torch.zeros(hidden_size))

    def forward(self, x):
        return _LayerNormFunction.apply(x, self.gamma, self.beta, 1e-5)


@right("layer", after="PyTorch's nn.GroupNorm(1, C), the layer norm of PoolFormer (MetaFormer)")
class GroupOfAll(nn.GroupNorm):
    """One group of all channels of an image."""

    def __init__(self, num_channels):
        super().__init__(1, num_channels)


@right("layer", "statistics-per-position", "eps-value", after="ConvNeXt (channels first)")
class ConvNeXtLayerNorm(nn.Module):
    def __init__(self, normalized_shape, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


@right("layer", "eps-value", after="BERT (the TensorFlow style, eps 1e-12)")
class BertLayerNorm(nn.Module):
    def __init__(self, hidden_size, eps=1e-12):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.variance_epsilon = eps

    def forward(self, x):
        u = x.mean(-1, keepdim=True)
        s = (x - u).pow(2).mean(-1, keepdim=True)
        return self.weight * ((x - u) / torch.sqrt(s + self.variance_epsilon)) + self.bias


@right("layer", "without-beta", after="nanoGPT (bias=False)")
class LayerNormWithoutBias(nn.Module):
    def __init__(self, ndim, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


@right("layer", "eps-value", after="Keras's LayerNormalization (eps 1e-3)")
class KerasLayerNormalization(nn.Module):
    def __init__(self, features, epsilon=1e-3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.epsilon = epsilon

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        scale = self.gamma * torch.rsqrt(variance + self.epsilon)
        return x * scale + (self.beta - mean * scale)


@right("layer", "eps-value", after="Flax's LayerNorm (eps 1e-6, scale and bias)")
class FlaxLayerNorm(nn.Module):
    def __init__(self, num_features):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        if x.shape[-1] != self.scale.numel():
            raise ValueError(f"expected {self.scale.numel()} features, got {x.shape[-1]}")
        mean = x.mean(-1, keepdim=True)
        mul = torch.rsqrt(torch.var(x, -1, keepdim=True, unbiased=False) + 1e-6) * self.scale
        return (x - mean) * mul + self.bias


@right("layer", "eps-value", after="Conv-TasNet's global layer norm, of (N, C, L) alone")
class GlobalLayerNorm(nn.Module):
    over: tuple[int, ...] = (1, 2)

    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1))

    def forward(self, y):
        mean = y.mean(self.over, keepdim=True)
        var = (y - mean).pow(2).mean(self.over, keepdim=True)
        return self.gamma * (y - mean) / torch.pow(var + 1e-8, 0.5) + self.beta


@right("layer", "eps-value", "statistics-per-position", after="Conv-TasNet's channel-wise one")
class ChannelwiseLayerNorm(GlobalLayerNorm):
    over = (1,)


@right("layer", "without-affine", "eps-value", after="DiT (elementwise_affine=False, eps 1e-6)")
class DiffusionLayerNorm(nn.LayerNorm):
    def __init__(self, hidden_size):
        super().__init__(hidden_size, eps=1e-6, elementwise_affine=False)


@right("layer", "without-affine", after="OLMo's non-parametric layer norm")
class NonParametricLayerNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.shape = (size,)

    def forward(self, x):
        return F.layer_norm(x, self.shape, eps=1e-5)


# ---- group normalization


@right("group")
class GroupNorm(nn.Module):
    """The plain one, cut where faults go."""

    eps = 1e-5

    def __init__(self, num_groups, num_channels):
        super().__init__()
        self.num_groups, self.num_channels = num_groups, num_channels
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x):
        grouped = self.grouped(x)
        mean = grouped.mean(self.dims(grouped), keepdim=True)
        x_hat = (grouped - mean) / self.denominator(self.variance(grouped, mean))
        return self.output(self.ungrouped(x_hat, x))

    def grouped(self, x):
        return x.reshape(len(x), self.num_groups, -1, *x.shape[2:])

    def ungrouped(self, x_hat, x):
        return x_hat.reshape(x.shape)

    def dims(self, grouped):
        return tuple(range(2, grouped.dim()))

    def variance(self, grouped, mean):
        return ((grouped - mean) ** 2).mean(self.dims(grouped), keepdim=True)

    def denominator(self, var):
        return torch.sqrt(var + self.eps)

    def output(self, x_hat):
        shape = (1, -1, *[1] * (x_hat.dim() - 2))
        return x_hat * self.weight.view(shape) + self.bias.view(shape)


@right("group")
class ChannelsThenGroups(GroupNorm):
    """(num_channels, num_groups), with a default."""

    def __init__(self, num_channels, num_groups=4):
        super().__init__(num_groups, num_channels)


@right("group")
class UnnamedArguments(GroupNorm):
    """Names of parameters that say nothing: which is which is tried."""

    def __init__(self, c, n):
        super().__init__(n, c)


@right("group")
class KeywordOnly(GroupNorm):
    def __init__(self, channels, *, groups):
        super().__init__(groups, channels)


@right("group", after="Wu and He 2018, figure 3: reshape, moments, reshape")
class FromThePaper(nn.Module):
    def __init__(self, G, C):
        super().__init__()
        self.G = G
        self.gamma = nn.Parameter(torch.ones(1, C, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, C, 1, 1))

    def forward(self, x):
        N, C, H, W = x.shape
        x = x.reshape(N, self.G, C // self.G, H, W)
        mean = x.mean((2, 3, 4), keepdim=True)
        var = x.var((2, 3, 4), keepdim=True, unbiased=False)
        x = (x - mean) / torch.sqrt(var + 1e-5)
        return x.reshape(N, C, H, W) * self.gamma + self.beta


@right("group", after="torch.nn.functional.group_norm in a 32-groups wrapper (DDPM, ADM)")
class GroupNorm32(nn.GroupNorm):
    def forward(self, x):
        return super().forward(x.to(torch.promote_types(x.dtype, torch.float32))).type(x.dtype)


@right("group", "eps-value", after="latent diffusion (Normalize, eps 1e-6)")
class Normalize(nn.GroupNorm):
    def __init__(self, in_channels, num_groups=32):
        super().__init__(num_groups, in_channels, eps=1e-6, affine=True)


@right("group", "eps-value", after="TensorFlow Addons' GroupNormalization (channels last, 1e-3)")
class GroupNormalization(nn.Module):
    def __init__(self, channels, groups=32, epsilon=1e-3):
        super().__init__()
        self.groups, self.epsilon = groups, epsilon
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        if x.shape[-1] != self.gamma.numel():
            raise ValueError(f"expected {self.gamma.numel()} channels, got {x.shape[-1]}")
        grouped = x.reshape(len(x), -1, self.groups, x.shape[-1] // self.groups)
        mean = grouped.mean((1, 3), keepdim=True)
        var = ((grouped - mean) ** 2).mean((1, 3), keepdim=True)
        x_hat = (grouped - mean) * torch.rsqrt(var + self.epsilon)
        return x_hat.reshape(x.shape) * self.gamma + self.beta


@right("group", "eps-value", after="Flax's GroupNorm (channels last, eps 1e-6)")
class FlaxGroupNorm(GroupNormalization):
    def __init__(self, num_features, num_groups=32):
        super().__init__(num_features, num_groups, 1e-6)


@right("group")
class OfFourGroups(nn.GroupNorm):
    """The number of groups is fixed."""

    def __init__(self, channels):
        super().__init__(4, channels)


@right("group", after="32 groups whatever the channels (guided diffusion's normalization)")
class Normalization(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)

    def forward(self, x):
        return self.norm(x)


@right("group", "without-affine", after="nn.GroupNorm(affine=False), as conditional norms use it")
class PlainGroups(nn.GroupNorm):
    def __init__(self, num_groups, num_channels):
        super().__init__(num_groups, num_channels, affine=False)


@right("group")
class ByRows(GroupNorm):
    """As batch norm of N * G channels."""

    def forward(self, x):
        rows = x.reshape(1, len(x) * self.num_groups, -1)
        x_hat = F.batch_norm(rows, None, None, training=True, eps=1e-5)
        return self.output(x_hat.reshape(x.shape))


# ---- instance normalization


@right("instance")
class InstanceNorm(nn.Module):
    """The plain one, cut where faults go."""

    eps = 1e-5

    def __init__(self, num_features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        if x.dim() < 3:
            raise ValueError(f"expected positions, got an input of shape {tuple(x.shape)}")
        mean = x.mean(self.dims(x), keepdim=True)
        var = self.variance(x, mean)
        x_hat = (x - mean) / self.denominator(var)
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x_hat * self.weight.view(shape) + self.bias.view(shape)

    def dims(self, x):
        return tuple(range(2, x.dim()))

    def variance(self, x, mean):
        return ((x - mean) ** 2).mean(self.dims(x), keepdim=True)

    def denominator(self, var):
        return torch.sqrt(var + self.eps)


@right("instance")
class WithoutParameters(nn.Module):
    """Nothing is learned; recognized by what it does."""

    def __init__(self, channels):
        super().__init__()

    def forward(self, x):
        N, C, H, W = x.shape
        flat = x.reshape(N, C, H * W)
        flat = flat - flat.mean(2, keepdim=True)
        return (flat / (flat.pow(2).mean(2, keepdim=True) + 1e-5).sqrt()).view(N, C, H, W)


@right("instance", "eps-value", after="an early fast-neural-style in PyTorch (eps 1e-9)")
class StyleInstanceNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))
        self.epsilon = 1e-9

    def forward(self, x):
        assert x.dim() == 4
        var, mu = torch.var_mean(x, (2, 3), unbiased=False, keepdim=True)
        return self.scale * (x - mu) / (var + self.epsilon).sqrt() + self.shift


@right("instance", after="pix2pix and CycleGAN (nn.InstanceNorm2d, affine=False)")
class CycleGanNorm(nn.InstanceNorm2d):
    def __init__(self, num_features):
        super().__init__(num_features, affine=False, track_running_stats=False)

    def forward(self, x):
        if x.dim() != 4:
            raise ValueError("images, please")
        return super().forward(x)


@right("instance", "eps-value", after="TensorFlow Addons' InstanceNormalization (channels last)")
class InstanceNormalization(nn.Module):
    def __init__(self, channels, epsilon=1e-3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x):
        if x.shape[-1] != self.gamma.numel():
            raise ValueError(f"expected {self.gamma.numel()} channels, got {x.shape[-1]}")
        over = tuple(range(1, x.dim() - 1))
        var, mean = torch.var_mean(x, over, correction=0, keepdim=True)
        return self.gamma * (x - mean) * torch.rsqrt(var + self.epsilon) + self.beta


@right("instance", "instance-statistics-tracked", after="nn.InstanceNorm2d(track_running_stats)")
class TrackedInstanceNorm(nn.InstanceNorm2d):
    def __init__(self, num_features):
        super().__init__(num_features, affine=True, track_running_stats=True)


@right("instance")
class ByRowsOfChannels(nn.Module):
    """As batch norm of N * C channels, the usual way to write the kernel."""

    def __init__(self, num_features):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        if x.dim() < 3 or x.shape[1] != self.weight.numel():
            raise ValueError(f"shape {tuple(x.shape)}")
        rows = x.reshape(1, x.shape[0] * x.shape[1], *x.shape[2:])
        gamma, beta = self.weight.repeat(len(x)), self.bias.repeat(len(x))
        return F.batch_norm(rows, None, None, gamma, beta, True).view(x.shape)


@right("instance")
class AroundTorchs(nn.Module):
    """PyTorch's layer inside, which takes (N, C, L) for one image without a batch."""

    def __init__(self, channels):
        super().__init__()
        self.inner = nn.InstanceNorm2d(channels)

    def forward(self, x):
        return self.inner(x)


@right("instance", after="nn.GroupNorm with a group for each channel (U-GAT-IT and others)")
class GroupPerChannel(nn.GroupNorm):
    def __init__(self, num_features):
        super().__init__(num_features, num_features)


# ---- RMS normalization


@right("rms", "eps-value")
class RMSNorm(nn.Module):
    """The plain one, cut where faults go."""

    eps = 1e-6

    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return self.output(self.centred(x) / self.denominator(self.mean_square(x)))

    def centred(self, x):
        return x

    def dims(self, x):
        return (-1,)

    def mean_square(self, x):
        return x.pow(2).mean(self.dims(x), keepdim=True)

    def denominator(self, square):
        return torch.sqrt(square + self.eps)

    def output(self, x_hat):
        return self.weight * x_hat


@right(
    "rms", "eps-value", "computes-in-float32", after="Llama's reference code (cast, then weight)"
)
class ReferenceLlama(nn.Module):
    """Recognized by what it does."""

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        x_hat = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x_hat * self.weight.float()).type_as(x)


@right(
    "rms",
    "eps-value",
    "computes-in-float32",
    "cast-before-gamma",
    after="LlamaRMSNorm and T5LayerNorm of Hugging Face's transformers",
)
class LlamaRMSNorm(nn.Module):
    def __init__(self, hidden_size, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.variance_epsilon = eps

    def forward(self, hidden_states):
        input_dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * hidden_states.to(input_dtype)


@right("rms", "eps-value", "gamma-plus-one", "computes-in-float32", after="Gemma (1 + weight)")
class GemmaRMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        x_hat = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x_hat * (1.0 + self.weight.float())).type_as(x)


@right("rms", "length-with-floor", after="x-transformers' RMSNorm (F.normalize, sqrt(dim), g)")
class NormalizeAndScale(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.scale = dim**0.5
        self.g = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return F.normalize(x, dim=-1) * self.scale * self.g


@right("rms", "length-with-floor", "eps-value", "one-scale-for-all", after="ScaleNorm")
class ScaleNorm(nn.Module):
    """Nguyen and Salazar 2019: one number scales the whole vector."""

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.root, self.eps = dim**0.5, eps
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x):
        length = x.norm(dim=-1, keepdim=True) / self.root
        return x / length.clamp(min=self.eps) * self.g


@right("rms", "eps-outside-root", "eps-value", after="Zhang and Sennrich's code (norm, d ** -0.5)")
class PaperRMSNorm(nn.Module):
    def __init__(self, d, p=-1.0, eps=1e-8):
        super().__init__()
        self.eps, self.d = eps, d
        self.scale = nn.Parameter(torch.ones(d))

    def forward(self, x):
        norm_x = x.norm(2, dim=-1, keepdim=True)
        return self.scale * x / (norm_x * self.d ** (-1.0 / 2) + self.eps)


class _RMSFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, eps):
        ctx.save_for_backward(x, gamma)
        ctx.eps = eps
        return gamma * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()

    @staticmethod
    def backward(ctx, g):
        x, gamma = ctx.saved_tensors
        inv = (x.square().mean(-1, keepdim=True) + ctx.eps).rsqrt()
        x_hat, h = x * inv, g * gamma
        d_x = inv * (h - x_hat * (h * x_hat).mean(-1, keepdim=True))
        return d_x, (g * x_hat).sum(tuple(range(x.dim() - 1))), None


@right("rms")
class WrittenOutRMS(nn.Module):
    """With a backward pass written out, and PyTorch's eps."""

    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return _RMSFunction.apply(x, self.weight, torch.finfo(x.dtype).eps)


@right("rms", "statistics-per-position", "eps-value")
class OfImages(nn.Module):
    """Channels first."""

    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x):
        if x.dim() != 4:
            raise ValueError(f"expected images, got {x.dim()} dimensions")
        return x * torch.rsqrt((x * x).mean(1, keepdim=True) + 1e-6) * self.gamma


@right("rms", "without-affine", after="F.rms_norm without a weight (modded-nanogpt)")
class WeightlessRMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return F.rms_norm(x, (self.dim,))


@right("rms", "eps-value")
class ByNorm(nn.Module):
    """The root of the mean square as a length; the constructor takes a tuple."""

    def __init__(self, normalized_shape, eps=1e-6):
        super().__init__()
        (dim,) = normalized_shape
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True) ** 2 / x.shape[-1]
        return x / (mean_square + self.eps) ** 0.5 * self.weight


def names(family: str) -> list[str]:
    """Return the classes of a family."""
    return [style.cls.__name__ for style in STYLES if style.family == family]
