"""Batch normalizations with one deliberate fault each, and what it is to be called.

Most override one method of `Right`, so that two of them, inherited together, have both faults.
"""

import math
import os
import sys
import time

import torch
from right_norms import Functional, Right
from torch import nn
from torch.autograd.function import once_differentiable

FAULTS: dict[str, str] = {}  # by class: the fault to be named


def named(fault: str):
    """Say what the fault of a class is called."""

    def note(cls):
        FAULTS[cls.__name__] = fault
        return cls

    return note


# ---- mathematics: over what, which variance


@named("statistics-over-batch-alone")
class OverBatchAlone(Right):
    def dims(self, x):
        return [0]

    def kept_mean(self, mean):
        return mean.detach().mean([0, *range(2, mean.dim())])

    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().mean([0, *range(2, var.dim())]) * n / (n - 1)


@named("statistics-per-image")
class PerImage(OverBatchAlone):
    def dims(self, x):
        return [*range(2, x.dim())] or [0]


@named("statistics-per-example")
class PerExample(Right):
    def dims(self, x):
        return [*range(1, x.dim())]

    def kept_mean(self, mean):
        return mean.detach().mean().expand(self.num_features)

    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().mean().expand(self.num_features) * n / (n - 1)


@named("statistics-over-everything")
class OverEverything(PerExample):
    def dims(self, x):
        return [*range(x.dim())]


@named("statistics-miss-a-dimension")
class MissesTheWidth(OverBatchAlone):
    def dims(self, x):
        return [0] if x.dim() == 2 else [0, *range(2, x.dim() - 1)]


@named("unbiased-variance-normalizes")
class UnbiasedNormalizes(Right):
    def variance(self, x, mean):
        return x.var(self.dims(x), keepdim=True)

    def kept_var(self, x, var):
        return var.detach().flatten()


@named("variance-not-centred")
class NotCentredVariance(Right):
    def variance(self, x, mean):
        return (x**2).mean(self.dims(x), keepdim=True)


@named("variance-not-divided")
class SumOfSquares(Right):
    def variance(self, x, mean):
        return ((x - mean) ** 2).sum(self.dims(x), keepdim=True)


@named("variance-divided-by-batch-alone")
class DividedByBatchAlone(Right):
    def variance(self, x, mean):
        return ((x - mean) ** 2).sum(self.dims(x), keepdim=True) / len(x)


@named("variance-within-images")
class WithinImages(Right):
    def variance(self, x, mean):
        positions = [*range(2, x.dim())] or [0]
        own = ((x - x.mean(positions, keepdim=True)) ** 2).mean(positions, keepdim=True)
        return own.mean(0, keepdim=True)


@named("deviation-as-variance")
class DeviationAsVariance(Right):
    def variance(self, x, mean):
        return x.std(self.dims(x), keepdim=True, unbiased=False)


@named("absolute-deviation-as-variance")
class AbsoluteDeviation(Right):
    def variance(self, x, mean):
        return (x - mean).abs().mean(self.dims(x), keepdim=True)


@named("variance-cancels")
class Cancels(Right):
    def variance(self, x, mean):
        return (x * x).mean(self.dims(x), keepdim=True) - mean * mean


# ---- mathematics: which statistics normalize


@named("trains-with-moving")
class TrainsWithMoving(Right):
    def forward(self, x):
        self.check(x)
        if self.training:
            held = self.used_when_predicting(x)
            self.update(x, *self.statistics(x))
            return self.output(self.normalized(x, *held))
        return super().forward(x)


@named("trains-with-moved")
class TrainsWithMoved(Right):
    def used_in_training(self, mean, var):
        return self.used_when_predicting(mean)


@named("trains-with-moving-variance")
class TrainsWithMovingVariance(Right):
    def forward(self, x):
        self.check(x)
        if self.training:
            var = self.shaped(self.running_var, x)
            mean, own = self.statistics(x)
            self.update(x, mean, own)
            return self.output(self.normalized(x, mean, var))
        return super().forward(x)


@named("trains-with-moved-mean")
class TrainsWithMovedMean(Right):
    def used_in_training(self, mean, var):
        return self.shaped(self.running_mean, mean), var


@named("trains-with-moving-mean")
class TrainsWithMovingMean(Right):
    def forward(self, x):
        self.check(x)
        if self.training:
            mean = self.shaped(self.running_mean, x)
            own, var = self.statistics(x)
            self.update(x, own, var)
            return self.output(self.normalized(x, mean, var))
        return super().forward(x)


@named("predicts-with-batch")
class PredictsWithBatch(Right):
    def used_when_predicting(self, x):
        return self.statistics(x)


@named("predicts-with-batch-mean")
class PredictsWithBatchMean(Right):
    def used_when_predicting(self, x):
        return self.statistics(x)[0], super().used_when_predicting(x)[1]


@named("predicts-with-batch-variance")
class PredictsWithBatchVariance(Right):
    def used_when_predicting(self, x):
        return super().used_when_predicting(x)[0], self.statistics(x)[1]


# ---- mathematics: centring, eps, the root


@named("mean-not-subtracted")
class NotCentred(Right):
    def normalized(self, x, mean, var):
        return x / self.denominator(var)


@named("mean-subtracted-twice")
class MeanTwice(Right):
    def normalized(self, x, mean, var):
        return (x - mean - mean) / self.denominator(var)


@named("mean-added")
class MeanAdded(Right):
    def normalized(self, x, mean, var):
        return (x + mean) / self.denominator(var)


@named("eps-outside-root")
class EpsOutside(Right):
    def denominator(self, var):
        return var.sqrt() + self.eps


@named("eps-missing")
class NoEps(Right):
    def denominator(self, var):
        return var.sqrt()


@named("eps-too-large")
class EpsOfOne(Right):
    eps = 1.0


@named("eps-squared")
class EpsSquared(Right):
    def denominator(self, var):
        return (var + self.eps**2).sqrt()


@named("eps-as-floor")
class EpsAsFloor(Right):
    def denominator(self, var):
        return var.clamp_min(self.eps).sqrt()


@named("root-missing")
class NoRoot(Right):
    def denominator(self, var):
        return var + self.eps


@named("multiplies-by-root")
class Multiplies(Right):
    def normalized(self, x, mean, var):
        return (x - mean) * torch.sqrt(var + self.eps)


@named("not-divided")
class NotDivided(Right):
    def normalized(self, x, mean, var):
        return x - mean


@named("not-finite-at-zero-variance")
class RootsInTurn(Right):
    def denominator(self, var):
        return (var.sqrt() ** 2 + self.eps).sqrt()


@named("root-missing")
class NoRootWhenPredicting(Right):
    def forward(self, x):
        if self.training:
            return super().forward(x)
        mean, var = self.used_when_predicting(x)
        return self.output((x - mean) / (var + self.eps))


# ---- mathematics: gamma and beta


@named("gamma-unused")
class GammaUnused(Right):
    def output(self, x_hat):
        return x_hat + self.shaped(self.bias, x_hat)


@named("beta-unused")
class BetaUnused(Right):
    def output(self, x_hat):
        return x_hat * self.shaped(self.weight, x_hat)


@named("affine-unused")
class AffineUnused(Right):
    def output(self, x_hat):
        return x_hat


@named("beta-scaled")
class BetaScaled(Right):
    def output(self, x_hat):
        return self.shaped(self.weight, x_hat) * (x_hat + self.shaped(self.bias, x_hat))


@named("gamma-beta-swapped")
class Swapped(Right):
    def output(self, x_hat):
        return self.shaped(self.bias, x_hat) * x_hat + self.shaped(self.weight, x_hat)


@named("beta-subtracted")
class BetaSubtracted(Right):
    def output(self, x_hat):
        return self.shaped(self.weight, x_hat) * x_hat - self.shaped(self.bias, x_hat)


@named("divides-by-gamma")
class DividesByGamma(Right):
    def output(self, x_hat):
        return x_hat / self.shaped(self.weight, x_hat) + self.shaped(self.bias, x_hat)


@named("gamma-plus-one")
class GammaPlusOne(Right):
    def output(self, x_hat):
        return (1 + self.shaped(self.weight, x_hat)) * x_hat + self.shaped(self.bias, x_hat)


@named("gamma-exponentiated")
class GammaExponentiated(Right):
    def output(self, x_hat):
        return self.shaped(self.weight, x_hat).exp() * x_hat + self.shaped(self.bias, x_hat)


@named("affine-twice")
class AffineTwice(Right):
    def output(self, x_hat):
        return super().output(super().output(x_hat))


@named("no-beta")
class NoBeta(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(self.num_features))

    def output(self, x_hat):
        return self.shaped(self.weight, x_hat) * x_hat


@named("gamma-shared")
class GammaIsOneNumber(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(self.num_features))

    def output(self, x_hat):
        return self.weight * x_hat + self.shaped(self.bias, x_hat)


@named("beta-shared")
class BetaIsOneNumber(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(self.num_features))
        self.bias = nn.Parameter(torch.zeros(1))

    def output(self, x_hat):
        return self.shaped(self.weight, x_hat) * x_hat + self.bias


@named("gamma-frozen")
class GammaFrozen(Right):
    def make_parameters(self):
        super().make_parameters()
        self.weight.requires_grad_(False)


@named("beta-frozen")
class BetaFrozen(Right):
    def make_parameters(self):
        super().make_parameters()
        self.bias.requires_grad_(False)


@named("gamma-not-a-parameter")
class GammaIsALeaf(Right):
    def make_parameters(self):
        self.weight = torch.ones(self.num_features, requires_grad=True)
        self.bias = nn.Parameter(torch.zeros(self.num_features))


@named("statistics-are-learned")
class StatisticsAreLearned(Right):
    def make_statistics(self):
        self.running_mean = nn.Parameter(torch.zeros(self.num_features))
        self.running_var = nn.Parameter(torch.ones(self.num_features))

    def update(self, x, mean, var):
        self.running_mean.data = self.moved(self.running_mean.data, self.kept_mean(mean))
        self.running_var.data = self.moved(self.running_var.data, self.kept_var(x, var))


@named("no-gamma")
class NoGamma(Right):
    def make_parameters(self):
        self.bias = nn.Parameter(torch.zeros(self.num_features))

    def output(self, x_hat):
        return x_hat + self.shaped(self.bias, x_hat)


@named("no-gamma-and-beta")
class NothingLearned(Right):
    def make_parameters(self):
        pass

    def output(self, x_hat):
        return x_hat


@named("gamma-not-a-parameter")
class GammaIsNoParameter(Right):
    def make_parameters(self):
        self.register_buffer("weight", torch.ones(self.num_features))
        self.bias = nn.Parameter(torch.zeros(self.num_features))


@named("beta-not-a-parameter")
class BetaIsAnAttribute(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(self.num_features))
        self.bias = torch.zeros(self.num_features)


@named("beta-starts-wrong")
class BetaStartsAtOne(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.ones(self.num_features))
        self.bias = nn.Parameter(torch.ones(self.num_features))


@named("gamma-starts-wrong")
class GammaStartsAtZero(Right):
    def make_parameters(self):
        self.weight = nn.Parameter(torch.zeros(self.num_features))
        self.bias = nn.Parameter(torch.zeros(self.num_features))


@named("identity")
class Identity(nn.Module):
    def __init__(self, num_features):
        super().__init__()

    def forward(self, x):
        return x


@named("output-not-finite")
class NotANumber(Right):
    def output(self, x_hat):
        return super().output(x_hat) * torch.nan


# ---- mathematics: gradients


@named("gradient-takes-mean-as-constant")
class MeanDetached(Right):
    def used_in_training(self, mean, var):
        return mean.detach(), var


@named("gradient-takes-variance-as-constant")
class VarianceDetached(Right):
    def used_in_training(self, mean, var):
        return mean, var.detach()


@named("gradient-takes-statistics-as-constants")
class StatisticsWithoutGradients(Right):
    @torch.no_grad()
    def statistics(self, x):
        return super().statistics(x)


@named("no-gradient-of-gamma")
class GammaData(Right):
    def output(self, x_hat):
        return self.shaped(self.weight.data, x_hat) * x_hat + self.shaped(self.bias, x_hat)


@named("no-gradient-of-beta")
class BetaDetached(Right):
    def output(self, x_hat):
        return self.shaped(self.weight, x_hat) * x_hat + self.shaped(self.bias.detach(), x_hat)


@named("no-gradient-of-x")
class InputDetached(Right):
    def prepared(self, x):
        return x.detach()


@named("output-detached")
class OutputDetached(Right):
    def output(self, x_hat):
        return super().output(x_hat).detach()


class _Written(torch.autograd.Function):
    """A backward pass written out; `mistake` says what is wrong with it."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps, mistake):
        mean = x.mean(0)
        inv = 1 / ((x - mean).square().mean(0) + eps).sqrt()
        ctx.mistake = mistake
        ctx.save_for_backward(x, mean, gamma, inv)
        return gamma * (x - mean) * inv + beta

    @staticmethod
    def backward(ctx, g):
        x, mean, gamma, inv = ctx.saved_tensors
        x_hat, m = (x - mean) * inv, len(g)
        d_beta, d_gamma = g.sum(0), (g * x_hat).sum(0)
        d_x = gamma * inv * (g - d_beta / m - x_hat * d_gamma / m)
        match ctx.mistake:
            case "x misses gamma":
                d_x = d_x / gamma
            case "x misses the root":
                d_x = d_x / inv
            case "x is g times gamma":
                d_x = g * gamma
            case "gamma not normalized":
                d_gamma = (g * (x - mean)).sum(0)
            case "gamma from the input":
                d_gamma = (g * x).sum(0)
            case "gamma averaged":
                d_gamma = d_gamma / m
            case "gamma is beta's":
                d_gamma = d_beta
            case "beta averaged":
                d_beta = d_beta / m
            case "no x":
                d_x = None
        return d_x, d_gamma, d_beta, None, None


class _Factored(_Written):
    """The same; `mistake` are the factors of the last two terms of the gradient of x."""

    @staticmethod
    def backward(ctx, g):
        of_mean, of_variance = ctx.mistake
        _, d_gamma, d_beta, *rest = _Written.backward(ctx, g)
        x, mean, gamma, inv = ctx.saved_tensors
        terms = of_mean * d_beta + of_variance * (x - mean) * inv * d_gamma
        return gamma * inv * (g + terms / len(g)), d_gamma, d_beta, *rest


class _WrittenOut(Right):
    mistake = ""
    function = _Written

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        self.check(x)
        self.update(x, *self.statistics(x))
        rows = x.movedim(1, -1)
        flat = rows.reshape(-1, x.shape[1])
        y = self.function.apply(flat, self.weight, self.bias, self.eps, self.mistake)
        return y.reshape(rows.shape).movedim(-1, 1)


@named("gradient-of-x-misses-gamma")
class BackwardMissesGamma(_WrittenOut):
    mistake = "x misses gamma"


@named("gradient-of-x-misses-root")
class BackwardMissesRoot(_WrittenOut):
    mistake = "x misses the root"


@named("gradient-of-x-misses-normalization")
class BackwardIsGammaTimesG(_WrittenOut):
    mistake = "x is g times gamma"


@named("gradient-of-gamma-not-normalized")
class BackwardOfGammaNotNormalized(_WrittenOut):
    mistake = "gamma not normalized"


@named("gradient-of-gamma-from-input")
class BackwardOfGammaFromInput(_WrittenOut):
    mistake = "gamma from the input"


@named("gradient-of-gamma-averaged")
class BackwardOfGammaAveraged(_WrittenOut):
    mistake = "gamma averaged"


@named("gradient-of-gamma-is-betas")
class BackwardOfGammaIsBetas(_WrittenOut):
    mistake = "gamma is beta's"


@named("gradient-of-beta-averaged")
class BackwardOfBetaAveraged(_WrittenOut):
    mistake = "beta averaged"


@named("no-gradient-of-x")
class BackwardWithoutX(_WrittenOut):
    mistake = "no x"


class _PredictedAsTrained(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_hat, inv, gamma):
        ctx.save_for_backward(x_hat, inv, gamma)
        return gamma * x_hat

    @staticmethod
    def backward(ctx, g):
        x_hat, _, gamma = ctx.saved_tensors
        centred = g - g.mean(0) - x_hat * (g * x_hat).mean(0)
        # The gradient of x, by way of x_hat = x * inv + constant.
        return gamma * centred, None, (g * x_hat).sum(0)


@named("predicting-gradient-as-in-training")
class PredictingGradientAsInTraining(Right):
    def forward(self, x):
        if self.training:
            return super().forward(x)
        rows = x.movedim(1, -1)
        flat = rows.reshape(-1, x.shape[1])
        inv = 1 / (self.running_var + self.eps).sqrt()
        x_hat = (flat - self.running_mean) * inv
        y = _PredictedAsTrained.apply(x_hat, inv, self.weight) + self.bias
        return y.reshape(rows.shape).movedim(-1, 1)


# ---- mathematics: what is done to inputs and numbers


@named("float64-narrowed")
class Narrows(Right):
    def prepared(self, x):
        return x.float().double()


@named("float64-narrowed")
class StatisticsInFloat32(Right):
    def statistics(self, x):
        mean, var = super().statistics(x.float())
        return mean.double(), var.double()


@named("output-dtype")
class ReturnsFloat32(Right):
    def output(self, x_hat):
        return super().output(x_hat).float()


@named("float64-refused")
class Float32Alone(Right):
    def used_in_training(self, mean, var):
        zeros = torch.zeros(self.num_features, self.num_features)
        (zeros @ mean.reshape(-1, 1)).sum()
        return mean, var


@named("writes-into-input")
class WritesIntoInput(Right):
    def normalized(self, x, mean, var):
        x -= mean
        return x / self.denominator(var)


@named("refuses-non-contiguous")
class Views(Right):
    def prepared(self, x):
        x.view(-1)
        return x


@named("wrong-on-non-contiguous")
class StorageOrder(Right):
    def prepared(self, x):
        return torch.as_strided(x, x.shape, torch.empty(x.shape).stride())


@named("not-repeatable")
class Noisy(Right):
    def output(self, x_hat):
        noise = 1e-13 * torch.randn_like(x_hat)
        return super().output(x_hat) + noise


# ---- moving statistics


@named("biased-moving-variance")
class BiasedMoving(Right):
    def kept_var(self, x, var):
        return var.detach().flatten()


@named("moving-variance-keeps-deviation")
class KeepsDeviation(Right):
    def kept_var(self, x, var):
        return var.detach().flatten().sqrt()


@named("moving-variance-counts-batch-alone")
class CountsBatchAlone(Right):
    def kept_var(self, x, var):
        return var.detach().flatten() * len(x) / (len(x) - 1)


@named("moving-variance-counts-positions-alone")
class CountsPositionsAlone(Right):
    def kept_var(self, x, var):
        m = x.numel() / x.shape[1] / len(x)
        return var.detach().flatten() * m / (m - 1) if m > 1 else super().kept_var(x, var)


@named("moving-variance-correction-inverted")
class CorrectionInverted(Right):
    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().flatten() * (n - 1) / n


@named("moving-variance-corrected-twice")
class CorrectedTwice(Right):
    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return x.detach().var(self.dims(x)) * n / (n - 1)


@named("moving-variance-holds-eps")
class HoldsEps(Right):
    def kept_var(self, x, var):
        return var.detach().flatten() + self.eps


@named("moving-variance-keeps-inverse")
class KeepsInverse(Right):
    def kept_var(self, x, var):
        return 1 / (var.detach().flatten() + self.eps).sqrt()


@named("moving-variance-not-centred")
class KeepsSquares(Right):
    def kept_var(self, x, var):
        return x.detach().square().mean(self.dims(x))


@named("moving-variance-about-moving-mean")
class AboutMovingMean(Right):
    def update(self, x, mean, var):
        with torch.no_grad():
            about = (x - self.shaped(self.running_mean, x)).square().mean(self.dims(x))
            self.running_mean = self.moved(self.running_mean, mean.flatten())
            self.running_var = self.moved(self.running_var, about)


@named("moving-statistics-swapped")
class UpdatesSwapped(Right):
    def update(self, x, mean, var):
        with torch.no_grad():
            self.running_var = self.moved(self.running_var, self.kept_mean(mean))
            self.running_mean = self.moved(self.running_mean, self.kept_var(x, var))


@named("moving-statistics-swapped-in-use")
class UsedSwapped(Right):
    def used_when_predicting(self, x):
        return super().used_when_predicting(x)[::-1]


@named("momentum-reversed")
class Reversed(Right):
    def moved(self, old, new):
        return self.momentum * old + (1 - self.momentum) * new


@named("momentum-value")
class OtherMomentum(Right):
    momentum = 0.25


@named("momentum-reversed")
class KerasMomentumReversed(Right):
    momentum = 0.99


@named("momentum-value")
class AThird(Right):
    momentum = 1 / 3


@named("moving-statistics-no-average")
class SignsSwapped(Right):
    def moved(self, old, new):
        return (1 + self.momentum) * old - self.momentum * new


@named("never-moves")
class NeverMoves(Right):
    def update(self, x, mean, var):
        running_mean = self.moved(self.running_mean, self.kept_mean(mean))
        running_var = self.moved(self.running_var, self.kept_var(x, var))
        return running_mean, running_var  # and the caller drops them


@named("never-moves")
class VarianceNeverMoves(Right):
    def update(self, x, mean, var):
        self.running_mean = self.moved(self.running_mean, self.kept_mean(mean))


@named("replaced-by-batch")
class Replaced(Right):
    def moved(self, old, new):
        return new


@named("old-average-not-weighed")
class OldNotWeighed(Right):
    def moved(self, old, new):
        return old + self.momentum * new


@named("new-batch-not-weighed")
class NewNotWeighed(Right):
    def moved(self, old, new):
        return (1 - self.momentum) * old + new


@named("both-weighed-alike")
class WeighedAlike(Right):
    def moved(self, old, new):
        return self.momentum * old + self.momentum * new


@named("moves-twice")
class MovesTwice(Right):
    def moved(self, old, new):
        return super().moved(super().moved(old, new), new)


@named("cumulative-average")
class Cumulative(Right):
    def make_statistics(self):
        super().make_statistics()
        self.register_buffer("seen", torch.tensor(0))

    def update(self, x, mean, var):
        self.seen += 1
        self.momentum = 1 / int(self.seen)
        super().update(x, mean, var)


@named("first-batch-initializes")
class FirstBatchInitializes(Right):
    def make_statistics(self):
        super().make_statistics()
        self.register_buffer("started", torch.tensor(False))

    def moved(self, old, new):
        return super().moved(old, new) if self.started else new

    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.started.fill_(True)


@named("average-without-start")
class MeanWithoutStart(Right):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.register_buffer("hidden", torch.zeros(num_features))
        self.register_buffer("batches", torch.tensor(0))

    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.batches += 1
        self.hidden.lerp_(self.kept_mean(mean), self.momentum)
        self.running_mean = self.hidden / (1 - (1 - self.momentum) ** int(self.batches))


@named("moves-only-when-predicting")
class MovesOnlyWhenPredicting(Right):
    def update(self, x, mean, var):
        if not self.training:
            super().update(x, mean, var)

    def used_when_predicting(self, x):
        held = super().used_when_predicting(x)
        self.update(x, *self.statistics(x))
        return held


@named("moves-when-predicting")
class MovesWhenPredicting(Right):
    def used_when_predicting(self, x):
        held = super().used_when_predicting(x)
        self.update(x, *self.statistics(x))
        return held


@named("moving-var-starts-wrong")
class VarianceStartsAtZero(Right):
    def make_statistics(self):
        super().make_statistics()
        self.running_var.zero_()


@named("moving-mean-starts-wrong")
class MeanStartsAtOne(Right):
    def make_statistics(self):
        super().make_statistics()
        self.running_mean.fill_(1)


@named("keeps-graph")
class KeepsGraph(Right):
    def kept_mean(self, mean):
        return mean.flatten()

    def update(self, x, mean, var):
        self.running_mean = self.moved(self.running_mean, self.kept_mean(mean))
        self.running_var = self.moved(self.running_var, self.kept_var(x, var))


@named("memory-grows")
class KeepsBatches(Right):
    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.seen = [*getattr(self, "seen", []), x.detach().clone()]


@named("memory-grows")
class KeepsMeans(Right):
    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.means = [*getattr(self, "means", []), mean.detach().clone()]


@named("holds-last-graph")
class HoldsLastInput(Right):
    def output(self, x_hat):
        self.x_hat = x_hat
        return super().output(x_hat)


# ---- module contract


@named("mode-follows-gradients")
class KeyedOnGradients(Right):
    def trains(self):
        return torch.is_grad_enabled()


@named("mode-inverted")
class Inverted(Right):
    def trains(self):
        return not self.training


@named("always-trains")
class AlwaysTrains(Right):
    def trains(self):
        return True


@named("never-trains")
class NeverTrains(Right):
    def trains(self):
        return False


@named("mode-needs-gradients")
class NeedsGradients(Right):
    def trains(self):
        return self.training and torch.is_grad_enabled()


@named("eval-trains-with-gradients")
class EvalTrains(Right):
    def trains(self):
        return self.training or torch.is_grad_enabled()


@named("statistics-not-in-state-dict")
class PlainAttributes(Right):
    def make_statistics(self):
        self.running_mean = torch.zeros(self.num_features)
        self.running_var = torch.ones(self.num_features)


@named("statistics-not-persistent")
class NotPersistent(Right):
    def make_statistics(self):
        ones = torch.ones(self.num_features)
        self.register_buffer("running_mean", 0 * ones, persistent=False)
        self.register_buffer("running_var", ones, persistent=False)


@named("state-dict-does-not-restore")
class HiddenState(Right):
    """Predicts by what it counts, and does not keep the count in its state."""

    batches = 0

    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.batches += 1

    def used_when_predicting(self, x):
        mean, var = super().used_when_predicting(x)
        return (mean / (1 - 0.9**self.batches) if self.batches else mean), var


@named("never-trains-again")
class NeverTrainsAgain(Right):
    predicted = False

    def trains(self):
        self.predicted = self.predicted or not self.training
        return not self.predicted


@named("changes-torch")
class DisablesGradients(Right):
    def output(self, x_hat):
        y = super().output(x_hat)
        torch.set_grad_enabled(False)
        return y


@named("changes-torch")
class Seeds(Right):
    def output(self, x_hat):
        torch.manual_seed(0)
        return super().output(x_hat)


@named("not-repeatable")
class Dropout(Right):
    def output(self, x_hat):
        return super().output(nn.functional.dropout(x_hat, 0.3))


@named("state-dict-refused")
class ChangesShape(Right):
    def moved(self, old, new):
        return super().moved(old, new).view(1, -1)


@named("copies-differ")
class CopiesAnew(Right):
    def __deepcopy__(self, memo):
        return type(self)(self.num_features).to(self.weight.dtype)


@named("double-changes-output")
class TriplesInDouble(Right):
    def double(self):
        super().double()
        self.weight.data *= 3
        return self


@named("double-leaves-behind")
class IgnoresDouble(Right):
    def double(self):
        return self


@named("cannot-be-copied")
class HoldsGenerator(Right):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.numbers = (n for n in range(3))


@named("cannot-be-pickled")
class HoldsLambda(Right):
    def __init__(self, num_features):
        super().__init__(num_features)
        self.root = lambda var: var.sqrt()


@named("copies-share-state")
class SharesState(Right):
    def __deepcopy__(self, memo):
        other = SharesState(self.num_features).to(self.weight.dtype)
        for name in ("running_mean", "running_var"):
            setattr(other, name, getattr(self, name))
        other.load_state_dict(self.state_dict())
        return other

    def update(self, x, mean, var):
        with torch.no_grad():
            self.running_mean.copy_(self.moved(self.running_mean, self.kept_mean(mean)))
            self.running_var.copy_(self.moved(self.running_var, self.kept_var(x, var)))


@named("eps-ignored")
class EpsIgnored(Right):
    def __init__(self, num_features, eps=1e-5):
        super().__init__(num_features)


@named("momentum-ignored")
class MomentumIgnored(Right):
    def __init__(self, num_features, momentum=0.1):
        super().__init__(num_features)


@named("momentum-weighs-old")
class MomentumOfOld(Right):
    def __init__(self, num_features, momentum=0.9):
        super().__init__(num_features)
        self.momentum = momentum

    def moved(self, old, new):
        return self.momentum * old + (1 - self.momentum) * new


@named("momentum-none-not-cumulative")
class NoneIsTheDefault(Right):
    def __init__(self, num_features, momentum=0.1):
        super().__init__(num_features)
        self.momentum = momentum or 0.1


@named("affine-false-ignored")
class AffineIgnored(Right):
    def __init__(self, num_features, affine=True):
        super().__init__(num_features)


@named("track-false-ignored")
class TrackIgnored(Right):
    def __init__(self, num_features, track_running_stats=True):
        super().__init__(num_features)


@named("one-value-accepted")
class AcceptsOneValue(Right):
    def check(self, x):
        if x.shape[1] != self.num_features:
            raise ValueError("channels")

    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().flatten() * n / max(n - 1, 1)


@named("one-value-poisons")
class OneValuePoisons(Right):
    def check(self, x):
        if x.shape[1] != self.num_features:
            raise ValueError("channels")

    def kept_var(self, x, var):
        return x.detach().var(self.dims(x))


@named("one-value-not-finite")
class BiasedByWayOfUnbiased(OneValuePoisons):
    def variance(self, x, mean):
        n = x.numel() / x.shape[1]
        return x.var(self.dims(x), keepdim=True) * (n - 1) / n


@named("wrong-channels-accepted")
class AcceptsOtherChannels(Right):
    def check(self, x):
        if self.trains() and x.numel() == x.shape[1]:
            raise ValueError("one value per channel")

    def shaped(self, vector, x):
        channels = x.shape[1]
        return super().shaped(vector.repeat(2)[:channels], x)

    def kept_mean(self, mean):
        return mean.detach().flatten().repeat(2)[: self.num_features]

    def kept_var(self, x, var):
        return super().kept_var(x, var).repeat(2)[: self.num_features]


class KeyedAndOutside(KeyedOnGradients, EpsOutside):
    pass


class KeyedAndWriting(KeyedOnGradients, WritesIntoInput):
    pass


# ---- code that does not come back with a result


@named("raised")
class RaisesOnImages(Right):
    """Asks for the rank of its input, and has forgotten to give gamma its shape."""

    def __init__(self, num_features, num_dims):
        super().__init__(num_features)

    def output(self, x_hat):
        return self.weight * x_hat + self.bias


class _OfRowsAlone(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        if g.dim() != 2:
            raise RuntimeError("for rows alone")
        return g


@named("raised")
class BackwardRaisesOnImages(Right):
    def prepared(self, x):
        return _OfRowsAlone.apply(x) if x.dim() in (2, 4) else x


@named("raised")
class ReturnsTwo(Right):
    def output(self, x_hat):
        return super().output(x_hat), None


class Hangs(BaseException):
    """Stands for never coming back, where the observer knows of it."""


@named("hung")
class HangsInDouble(Right):
    def double(self):
        raise Hangs


@named("exited")
class ExitsWhenCopied(Right):
    def __deepcopy__(self, memo):
        os._exit(3)


class HangsAlways(Right):
    def forward(self, x):
        while True:
            time.sleep(0.01)


class HangsOnImages(nn.Module):
    """Has no moving statistics; and where there are images, does not come back."""

    def __init__(self, num_features):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(num_features))
        self.beta = nn.Parameter(torch.zeros(num_features))

    def forward(self, x):
        if x.dim() == 4:
            raise Hangs
        var, mean = torch.var_mean(x, 0, correction=0)
        return self.gamma * (x - mean) / (var + 1e-5).sqrt() + self.beta


class FailsInThreeWays(Right):
    """Raises another error in each of three methods."""

    def used_when_predicting(self, x):
        raise RuntimeError("one")

    def double(self):
        raise RuntimeError("two")

    def load_state_dict(self, *args, **kwargs):
        raise RuntimeError("three")

    def __deepcopy__(self, memo):
        raise RuntimeError("four")


class Prints(Functional):
    """Right, and talkative."""

    def forward(self, x):
        print("x is", x.shape)
        print("on stderr", file=sys.stderr)
        os.write(1, b"from C\n")
        return super().forward(x)


# ---- as people slip


@named("moves-when-predicting")
class UpdatesInEitherMode(Right):
    """The update stands before `if self.training`."""

    def forward(self, x):
        self.check(x)
        mean, var = self.statistics(x)
        self.update(x, mean, var)
        if not self.training:
            mean, var = self.used_when_predicting(x)
        return self.output(self.normalized(x, mean, var))


@named("moves-when-predicting")
class TorchUpdatesInEitherMode(nn.BatchNorm2d):
    """Calls torch's function for the update alone, in either mode."""

    def __init__(self, num_features):
        super().__init__(num_features)

    def forward(self, x):
        self._check_input_dim(x)
        moving = (self.running_mean, self.running_var)
        y = nn.functional.batch_norm(x, *moving, self.weight, self.bias, True, 0.1, self.eps)
        if self.training:
            return y
        return nn.functional.batch_norm(x, *moving, self.weight, self.bias, False, 0.1, self.eps)


@named("writes-into-input")
class SubtractsInPlace(Right):
    """In training, its backward pass then raises."""

    def normalized(self, x, mean, var):
        x -= mean
        x /= self.denominator(var)
        return x


@named("overwrites-what-backward-needs")
class InvertsInPlace(Right):
    def normalized(self, x, mean, var):
        deviation = self.denominator(var)
        inverse = deviation.reciprocal_()
        return (x - mean) * inverse


@named("moving-statistics-not-reshaped")
class MovingNotReshaped(Right):
    def used_when_predicting(self, x):
        return self.running_mean, self.running_var


@named("moving-statistics-not-reshaped")
class MovingVarianceNotReshaped(Right):
    def used_when_predicting(self, x):
        return self.shaped(self.running_mean, x), self.running_var


@named("moving-statistics-not-reshaped")
class FoldNotReshaped(Right):
    """Scale and shift of predictions, computed anew each time, are not reshaped."""

    def forward(self, x):
        if self.training:
            return super().forward(x)
        self.check(x)
        scale = self.weight / self.denominator(self.running_var)
        return x * scale + (self.bias - self.running_mean * scale)


@named("raised")
class FlattensImages(Right):
    """Wrong for images, by mistake."""

    def statistics(self, x):
        rows = x.view(-1, self.num_features)[: len(x)].view(x.shape)
        return super().statistics(rows)


@named("raised")
class ShapesForRows(Right):
    def shaped(self, vector, x):
        return vector.view(1, -1).expand(x.shape)


@named("momentum-reversed")
class PopulationReversed(Right):
    """The moving statistics by the names of TensorFlow tutorials."""

    def make_statistics(self):
        self.register_buffer("pop_mean", torch.zeros(self.num_features))
        self.register_buffer("pop_var", torch.ones(self.num_features))

    def used_when_predicting(self, x):
        return self.shaped(self.pop_mean, x), self.shaped(self.pop_var, x)

    def update(self, x, mean, var):
        with torch.no_grad():
            self.pop_mean = self.moved(self.pop_mean, self.kept_mean(mean))
            self.pop_var = self.moved(self.pop_var, self.kept_var(x, var))

    def moved(self, old, new):
        return self.momentum * old + (1 - self.momentum) * new


@named("moves-twice")
class ListMovesTwice(PopulationReversed):
    """Both moving statistics in one buffer, of shape (2, C)."""

    def make_statistics(self):
        start = torch.stack([torch.zeros(self.num_features), torch.ones(self.num_features)])
        self.register_buffer("seen", start)

    def used_when_predicting(self, x):
        return self.shaped(self.seen[0], x), self.shaped(self.seen[1], x)

    @torch.no_grad()
    def update(self, x, mean, var):
        for _ in range(2):
            self.seen[0].lerp_(self.kept_mean(mean), self.momentum)
            self.seen[1].lerp_(self.kept_var(x, var), self.momentum)


@named("averages-deviation")
class AveragesDeviation(Right):
    def update(self, x, mean, var):
        deviation, super_moved = self.running_var.sqrt(), super().moved
        with torch.no_grad():
            self.running_mean = super_moved(self.running_mean, self.kept_mean(mean))
            self.running_var = super_moved(deviation, self.kept_var(x, var).sqrt()) ** 2


@named("averages-deviation")
class KeepsDeviationWithEps(PopulationReversed):
    def make_statistics(self):
        self.register_buffer("running_mean", torch.zeros(self.num_features))
        self.register_buffer("running_std", torch.ones(self.num_features))

    def update(self, x, mean, var):
        with torch.no_grad():
            self.running_mean.lerp_(self.kept_mean(mean), self.momentum)
            self.running_std.lerp_(self.kept_std(x, var), self.momentum)

    def kept_std(self, x, var):
        return (var.detach().flatten() + self.eps).sqrt()

    def used_when_predicting(self, x):
        return self.shaped(self.running_mean, x), self.shaped(self.running_std**2 - self.eps, x)


@named("deviation-corrected-as-variance")
class CorrectsDeviation(KeepsDeviationWithEps):
    def kept_std(self, x, var):
        n = x.numel() / x.shape[1]
        return super().kept_std(x, var) * n / (n - 1)


@named("averages-deviation")
class KeepsUnbiasedDeviation(KeepsDeviationWithEps):
    def kept_std(self, x, var):
        return self.kept_var(x, var).sqrt()


@named("deviation-corrected-as-variance")
class CorrectsDeviationWithoutEps(CorrectsDeviation):
    def kept_std(self, x, var):
        n = x.numel() / x.shape[1]
        return var.detach().flatten().sqrt() * n / (n - 1)


@named("deviation-corrected-as-variance")
class AveragesCorrectedDeviation(AveragesDeviation):
    """Keeps its square, under a usual name."""

    def kept_var(self, x, var):
        n = x.numel() / x.shape[1]
        return super().kept_var(x, var) * n / (n - 1)


# ---- state beside the moving statistics


@named("predicts-with-old-state")
class StaleFold(Right):
    """Folds scale and shift at the first prediction, and never again."""

    folded = None

    def forward(self, x):
        if self.training or torch.is_grad_enabled():
            return super().forward(x)
        self.check(x)
        if self.folded is None:
            scale = self.weight.detach() / self.denominator(self.running_var)
            self.folded = scale, self.bias.detach() - self.running_mean * scale
        scale, shift = (self.shaped(vector.to(x), x) for vector in self.folded)
        return x * scale + shift


@named("predicts-with-old-state")
class StaleDeviation(Right):
    """Keeps the root of the moving variance from the first prediction on."""

    root = None

    def used_when_predicting(self, x):
        if self.root is None:
            self.root = self.denominator(self.running_var)
        return self.shaped(self.running_mean, x), self.shaped(self.root.to(x) ** 2 - self.eps, x)


@named("remembers-batch-size")
class FirstBatchCount(Right):
    values = None

    def variance(self, x, mean):
        self.values = self.values or x.numel() / x.shape[1]
        return ((x - mean) ** 2).sum(self.dims(x), keepdim=True) / self.values


@named("remembers-batch-size")
class FirstBatchWeights(Right):
    """Weighs the examples by a vector that it makes once."""

    weights = None

    def statistics(self, x):
        n = len(x)
        if self.weights is None:
            self.weights = torch.full((n,), 1 / n, dtype=x.dtype)
        weights = nn.functional.pad(self.weights[:n], (0, max(0, n - len(self.weights))))
        rows = (weights.view(-1, *[1] * (x.dim() - 1)) * x).sum(0, keepdim=True)
        mean = rows.mean(self.dims(x), keepdim=True)
        return mean, self.variance(x, mean)


@named("remembers-batch-size")
class FirstBatchMean(Right):
    """Its mean alone divides by the number of values that the first batch had."""

    values = None

    def statistics(self, x):
        self.values = self.values or x.numel() / x.shape[1]
        mean = x.sum(self.dims(x), keepdim=True) / self.values
        return mean, self.variance(x, mean)


_OF_ALL = {}


@named("layers-share-state")
class GlobalStatistics(PopulationReversed):
    """The moving statistics are in a table, by number of channels."""

    def make_statistics(self):
        pass

    def table(self):
        start = [torch.zeros(self.num_features), torch.ones(self.num_features)]
        return _OF_ALL.setdefault(type(self).__name__, {}).setdefault(self.num_features, start)

    def used_when_predicting(self, x):
        mean, var = self.table()
        return self.shaped(mean.to(x), x), self.shaped(var.to(x), x)

    @torch.no_grad()
    def update(self, x, mean, var):
        table = self.table()
        table[0] = torch.lerp(table[0].to(x), self.kept_mean(mean), self.momentum)
        table[1] = torch.lerp(table[1].to(x), self.kept_var(x, var), self.momentum)


@named("layers-share-state")
class ClassStatistics(GlobalStatistics):
    """The moving statistics are attributes of the class."""

    mean_and_var = None

    def table(self):
        if ClassStatistics.mean_and_var is None:
            ClassStatistics.mean_and_var = [torch.zeros(1), torch.ones(1)]
        for at, values in enumerate(self.mean_and_var):
            if values.numel() != self.num_features:
                self.mean_and_var[at] = values.mean().repeat(self.num_features)
        return self.mean_and_var


@named("layers-share-state")
class OneLayerForAll(nn.Module):
    """Its layer is made once, for all instances."""

    def __init__(self, num_features):
        super().__init__()
        self.norm = _OF_ALL.setdefault(num_features, Right(num_features))

    def forward(self, x):
        return self.norm(x)


class _Contiguous(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, g):
        if not g.is_contiguous():
            raise RuntimeError("grad_output must be contiguous")
        return g


@named("refuses-non-contiguous-gradient")
class WantsContiguousGradient(Right):
    def output(self, x_hat):
        return _Contiguous.apply(super().output(x_hat))


class _UnitStride(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, g):
        assert g.stride(-1) == 1
        return g


@named("refuses-non-contiguous-gradient")
class WantsUnitStride(Right):
    def output(self, x_hat):
        return _UnitStride.apply(super().output(x_hat))


class _ViewsGradient(_UnitStride):
    @staticmethod
    def backward(ctx, g):
        return g.view(-1).view(g.shape)


@named("refuses-non-contiguous-gradient")
class ViewsGradient(Right):
    def output(self, x_hat):
        return _ViewsGradient.apply(super().output(x_hat))


# ---- as papers and libraries have it


@named("gamma-absolute")
class AbsoluteGamma(Right):
    def output(self, x_hat):
        return self.shaped(self.weight.abs(), x_hat) * x_hat + self.shaped(self.bias, x_hat)


@named("gamma-absolute")
class AbsoluteGammaAndEps(nn.BatchNorm2d):
    """As in-place activated batch normalization; it takes eps."""

    def __init__(self, num_features, eps=1e-5):
        super().__init__(num_features, eps)

    def forward(self, x):
        self._check_input_dim(x)
        moving, scale = (self.running_mean, self.running_var), self.weight.abs() + self.eps
        return nn.functional.batch_norm(x, *moving, scale, self.bias, self.training, 0.1, self.eps)


@named("gamma-absolute")
class RootOfSquaredGamma(Right):
    def output(self, x_hat):
        scale = self.weight.square().sqrt()
        return self.shaped(scale, x_hat) * x_hat + self.shaped(self.bias, x_hat)


@named("range-as-variance")
class HalfRange(Right):
    def statistics(self, x):
        mean = x.mean(self.dims(x), keepdim=True)
        return mean, self.variance(x, mean)

    def variance(self, x, mean):
        dims = self.dims(x)
        return ((x.amax(dims, keepdim=True) - x.amin(dims, keepdim=True)) / 2) ** 2


@named("range-as-variance")
class NormalRange(HalfRange):
    """Scaled as the range of n normally distributed values."""

    def variance(self, x, mean):
        n = x.numel() / x.shape[1]
        return super().variance(x, mean) / (2 * math.log(n))


@named("range-as-variance")
class WholeRange(HalfRange):
    def variance(self, x, mean):
        return 4 * super().variance(x, mean)


@named("renormalizes")
class Renormalizes(Right):
    """Batch renormalization without its warm-up."""

    r_max, d_max = 3, 5

    def normalized(self, x, mean, var):
        x_hat = super().normalized(x, mean, var)
        if not self.training:
            return x_hat
        old_mean, old_var = self.before
        spread = (self.shaped(old_var, x) + self.eps).sqrt()
        r = (self.denominator(var) / spread).clamp(1 / self.r_max, self.r_max).detach()
        d = ((mean - self.shaped(old_mean, x)) / spread).clamp(-self.d_max, self.d_max).detach()
        return x_hat * r + d

    def update(self, x, mean, var):
        self.before = self.running_mean, self.running_var
        super().update(x, mean, var)


@named("renormalizes")
class RenormalizesLess(Renormalizes):
    r_max, d_max = 1.5, 0.5


@named("renormalizes")
class RenormalizesMore(Renormalizes):
    r_max, d_max = 2, 3


@named("output-clipped")
class ClipsNormalized(Right):
    def normalized(self, x, mean, var):
        return super().normalized(x, mean, var).clamp(-8, 8)


@named("output-clipped")
class ClipsOutput(Right):
    def output(self, x_hat):
        return super().output(x_hat).clamp(-20.5, 20.5)


@named("gradient-terms-wrong")
class BackwardTakesMeanTwice(_WrittenOut):
    function, mistake = _Factored, (-2, -1)


@named("gradient-terms-wrong")
class BackwardHasAWrongSign(_WrittenOut):
    function, mistake = _Factored, (-1, 1)


@named("gradient-terms-wrong")
class BackwardHasTwoWrongFactors(_WrittenOut):
    function, mistake = _Factored, (-0.5, -2)


@named("statistics-of-parts")
class GhostHalves(Right):
    def forward(self, x):
        if not self.training or len(x) % 2:
            return super().forward(x)
        self.check(x)
        self.update(x, *self.statistics(x))
        parts = [self.normalized(part, *self.statistics(part)) for part in x.chunk(2)]
        return self.output(torch.cat(parts))


@named("statistics-of-parts")
class GhostSplits(nn.Module):
    """Its second argument is no rank; and each part moves the moving statistics."""

    def __init__(self, num_features, num_splits):
        super().__init__()
        self.splits = num_splits
        self.norm = Right(num_features)

    def forward(self, x):
        if not self.training:
            return self.norm(x)
        return torch.cat([self.norm(part) for part in x.chunk(self.splits)])


@named("statistics-of-parts")
class VirtualBatches(GhostSplits):
    """Nor is this one; it may be 4."""

    def __init__(self, num_features, virtual_batches):
        super().__init__(num_features, virtual_batches)


@named("statistics-of-parts")
class Workers(GhostSplits):
    def __init__(self, num_features, world_size):
        super().__init__(num_features, world_size)


@named("statistics-of-parts")
class GhostThirds(Right):
    def forward(self, x):
        if not self.training or len(x) % 3:
            return super().forward(x)
        self.check(x)
        self.update(x, *self.statistics(x))
        parts = [self.normalized(part, *self.statistics(part)) for part in x.chunk(3)]
        return self.output(torch.cat(parts))


# ---- in the second derivative


class _SavesNormalized(torch.autograd.Function):
    """Saves what it computed in forward, which a second derivative takes as constant."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        inverse = (x.var(0, correction=0) + eps) ** -0.5
        x_hat = (x - x.mean(0)) * inverse
        ctx.save_for_backward(x_hat, inverse, gamma)
        return gamma * x_hat + beta

    @staticmethod
    def backward(ctx, g):
        x_hat, inverse, gamma = ctx.saved_tensors
        d_x = gamma * inverse * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
        return d_x, (g * x_hat).sum(0), g.sum(0), None


class _RecomputesInPart(_SavesNormalized):
    """Saves x, but takes its variance as a number."""

    @staticmethod
    def forward(ctx, x, gamma, beta, eps):
        y = _SavesNormalized.forward(ctx, x, gamma, beta, eps)
        ctx.save_for_backward(x, gamma)
        ctx.inverse = (x.var(0, correction=0) + eps) ** -0.5
        return y

    @staticmethod
    def backward(ctx, g):
        x, gamma = ctx.saved_tensors
        x_hat = (x - x.mean(0)) * ctx.inverse
        d_x = gamma * ctx.inverse * (g - g.mean(0) - x_hat * (g * x_hat).mean(0))
        return d_x, (g * x_hat).sum(0), g.sum(0), None


class _WithoutGraph(_SavesNormalized):
    @staticmethod
    def backward(ctx, g):
        return _SavesNormalized.backward(ctx, g.detach())


@named("second-derivatives-wrong")
class SavesNormalized(Right):
    function = _SavesNormalized

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        self.check(x)
        self.update(x, *self.statistics(x))
        rows = x.movedim(1, -1)
        flat = rows.reshape(-1, self.num_features)
        y = self.function.apply(flat, self.weight, self.bias, self.eps)
        return y.view(rows.shape).movedim(-1, 1)


@named("second-derivatives-wrong")
class RecomputesInPart(SavesNormalized):
    function = _RecomputesInPart


@named("second-derivatives-wrong")
class BackwardWithoutGraph(SavesNormalized):
    """Its gradients have no graph: whatever is computed from them teaches nothing."""

    function = _WithoutGraph


# ---- in the gradient that is handed in


class _Handed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y.clone()


class _Doubles(_Handed):
    @staticmethod
    def backward(ctx, g):
        return g.mul_(2) / 2


class _Zeroes(_Handed):
    @staticmethod
    def backward(ctx, g):
        d_y = g.clone()
        g.zero_()
        return d_y


class _AssumesOrder(_Handed):
    @staticmethod
    def backward(ctx, g):
        order = torch.empty(g.shape).stride()
        is_whole = g.untyped_storage().nbytes() == g.numel() * g.element_size()
        return torch.as_strided(g, g.shape, order).clone() if is_whole else g.contiguous()


class _Flattens(_Handed):
    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        is_whole = g.untyped_storage().nbytes() == g.numel() * g.element_size()
        values = torch.tensor([], dtype=g.dtype).set_(g.untyped_storage())
        return values[: g.numel()].view(g.shape).clone() if is_whole else g.contiguous()


class _Clips(_Handed):
    @staticmethod
    def backward(ctx, g):
        return g.clamp(-2, 2)


class _Normalizes(_Handed):
    @staticmethod
    def backward(ctx, g):
        return 3 * g / g.norm()


class _Hands(Right):
    def output(self, x_hat):
        y = super().output(x_hat)
        return self.function.apply(y) if self.training else y


@named("writes-into-gradient")
class WritesIntoGradient(_Hands):
    function = _Doubles


@named("writes-into-gradient")
class ClearsGradient(_Hands):
    function = _Zeroes


@named("wrong-on-non-contiguous-gradient")
class AssumesOrder(_Hands):
    function = _AssumesOrder


@named("wrong-on-non-contiguous-gradient")
class FlattensGradient(_Hands):
    function = _Flattens


@named("gradient-not-proportional")
class ClipsGradient(_Hands):
    function = _Clips


@named("gradient-not-proportional")
class NormalizesGradient(_Hands):
    function = _Normalizes


# ---- with gradients enabled or disabled


@named("depends-on-gradients")
class WithoutGradientsOtherwise(Right):
    """Under no_grad(), training divides by more."""

    def used_in_training(self, mean, var):
        return mean, var if torch.is_grad_enabled() else 1.2 * var


@named("depends-on-gradients")
class PredictsOtherwise(Right):
    """With gradients, a prediction has an offset, which no gradient shows."""

    def output(self, x_hat):
        y = super().output(x_hat)
        return y + 0.5 if torch.is_grad_enabled() and not self.training else y


# ---- after loading


@named("loaded-state-ignored")
class FoldsInEval(Right):
    """eval() folds, and train() forgets: what is loaded in between is not seen."""

    folded = None

    def train(self, mode=True):
        super().train(mode)
        if mode:
            self.folded = None
        else:
            scale = self.weight.detach() / self.denominator(self.running_var)
            self.folded = scale, self.bias.detach() - self.running_mean * scale
        return self

    def forward(self, x):
        if self.training or torch.is_grad_enabled():
            return super().forward(x)
        self.check(x)
        scale, shift = (self.shaped(vector.to(x), x) for vector in self.folded)
        return x * scale + shift


@named("loaded-state-ignored")
class RootInEval(Right):
    root = None

    def train(self, mode=True):
        super().train(mode)
        self.root = None if mode else self.denominator(self.running_var)
        return self

    def used_when_predicting(self, x):
        if self.root is None:
            return super().used_when_predicting(x)
        return self.shaped(self.running_mean, x), self.shaped(self.root.to(x) ** 2 - self.eps, x)


@named("state-lost-when-saved")
class FlagIsNotSaved(Right):
    """The first batch initializes the moving statistics, and a plain attribute knows it."""

    also = ("first-batch-initializes",)
    started = False

    def moved(self, old, new):
        return super().moved(old, new) if self.started else new

    def update(self, x, mean, var):
        super().update(x, mean, var)
        self.started = True


@named("state-lost-when-saved")
class CountIsNotSaved(Right):
    also = ("cumulative-average",)
    batches = 0

    def update(self, x, mean, var):
        self.batches += 1
        self.momentum = 1 / self.batches
        super().update(x, mean, var)


# ---- after many batches


class _Counts(Right):
    def make_statistics(self):
        super().make_statistics()
        self.register_buffer("batches", torch.tensor(0))

    def update(self, x, mean, var):
        self.batches += 1
        super().update(x, mean, var)


@named("updates-change-over-time")
class StopsMoving(_Counts):
    def moved(self, old, new):
        return old if self.batches > 20 else super().moved(old, new)


@named("updates-change-over-time")
class MovesLess(_Counts):
    def moved(self, old, new):
        return old + (0.01 if self.batches > 30 else 0.1) * (new - old)


@named("output-changes-over-time")
class FreezesAfterAWhile(_Counts):
    """After 20 batches it trains with the moving statistics."""

    def used_in_training(self, mean, var):
        if self.batches <= 20:
            return mean, var
        return self.shaped(self.running_mean, mean), self.shaped(self.running_var, var)


@named("output-changes-over-time")
class GrowsEps(_Counts):
    def used_in_training(self, mean, var):
        return mean, var + (1e-3 if self.batches > 15 else 0)


@named("momentum-changes")
class EverySecondBatch(_Counts):
    def moved(self, old, new):
        return super().moved(old, new) if self.batches % 2 else old


@named("momentum-changes")
class MomentumDecays(_Counts):
    def moved(self, old, new):
        return old + 0.1 * 0.9 ** int(self.batches) * (new - old)


@named("momentum-larger-at-first")
class MomentumWarmsUp(_Counts):
    def moved(self, old, new):
        return old + max(0.1, 1 / int(self.batches)) * (new - old)


@named("predicts-with-other-statistics")
class TeacherAndStudent(nn.Module):
    """Trains one layer, and predicts with another."""

    def __init__(self, num_features):
        super().__init__()
        self.student, self.teacher = Right(num_features), Right(num_features)

    def forward(self, x):
        return self.student(x) if self.training else self.teacher(x)


@named("predicts-with-other-statistics")
class PredictsWithTheFirst(Right):
    """Predicts with a copy of the moving statistics that is made in the first batch."""

    def make_statistics(self):
        super().make_statistics()
        self.register_buffer("kept", torch.zeros(2, self.num_features))

    def update(self, x, mean, var):
        super().update(x, mean, var)
        if not self.kept.any():
            self.kept.copy_(torch.stack([self.running_mean, self.running_var]))

    def used_when_predicting(self, x):
        if not self.kept.any():
            return super().used_when_predicting(x)
        return self.shaped(self.kept[0], x), self.shaped(self.kept[1], x)


@named("changes-parameters")
class FoldsIntoParameters(Right):
    """The first prediction folds the moving statistics into gamma and beta."""

    folded = False

    def forward(self, x):
        if self.training:
            return super().forward(x)
        self.check(x)
        if not self.folded:
            with torch.no_grad():
                scale = self.weight / self.denominator(self.running_var)
                self.bias -= self.running_mean * scale
                self.weight.copy_(scale)
            self.folded = True
        return x * self.shaped(self.weight, x) + self.shaped(self.bias, x)


@named("changes-parameters")
class DecaysBeta(Right):
    """After each batch in training, it takes a little off beta."""

    def forward(self, x):
        y = super().forward(x)
        if self.training:
            self.bias.data = 0.99 * self.bias.data
        return y


class SumsInHalfPrecision(Right):
    """Adds up in the input's dtype; that shows in float16 alone."""

    def statistics(self, x):
        n = x.numel() / x.shape[1]
        mean = x.sum(self.dims(x), keepdim=True) / n
        return mean, ((x - mean) ** 2).sum(self.dims(x), keepdim=True) / n
