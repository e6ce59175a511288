// An activation, and pooling over windows of 2x2 pixels with stride 2: the mean, or the maximum.
//
// What goes in may be the output of a norm, which is applied on the way (see `Affine`). So between
// one convolution and the next, a value is read once, and a quarter as many are written.
#pragma once
#include "activation.h"
#include "groups.h"
#include "lanes.h"
#include "team.h"

// What a norm does to one channel.
struct Affine {
    float mean, scale, shift;
    Lanes operator()(Lanes x) const { return (x - mean) * scale + shift; }
};

constexpr Affine UNCHANGED = {0, 1, 0};

// z are the four values of a window, in reading order. g is the gradient of what `forward` returns,
// and d are the gradients of z.
template <typename Activation> struct AveragePool {
    static Lanes forward(const Lanes (&z)[4]) {
        Lanes upper = Activation::value(z[0]) + Activation::value(z[1]);
        Lanes lower = Activation::value(z[2]) + Activation::value(z[3]);
        return (upper + lower) * 0.25f;
    }

    // The sigmoids are computed again: storing them and reading them back is no faster.
    static void backward(const Lanes (&z)[4], Lanes g, Lanes (&d)[4]) {
        Lanes quarter = g * 0.25f;
        UNROLL for (int k = 0; k < 4; k++) d[k] = quarter * Activation::derivative(z[k]);
    }
};

// The activations increase, so the maximum of the activated values is the activated maximum: one
// value is activated in place of four. The first of equal values is the maximum, and not-a-number
// is larger than all, as in PyTorch.
template <typename Activation> struct MaxPool {
    static Lanes forward(const Lanes (&z)[4]) {
        Lanes best = z[0];
        UNROLL for (int k = 1; k < 4; k++) best = (z[k] > best) | (z[k] != z[k]) ? z[k] : best;
        return Activation::value(best);
    }

    static void backward(const Lanes (&z)[4], Lanes g, Lanes (&d)[4]) {
        Lanes best = z[0];
        IntLanes larger[4];
        UNROLL for (int k = 1; k < 4; k++) {
            larger[k] = (z[k] > best) | (z[k] != z[k]);
            best = larger[k] ? z[k] : best;
        }
        Lanes rest = g * Activation::derivative(best);  // until the position of the maximum is met
        UNROLL for (int k = 3; k > 0; k--) {
            d[k] = larger[k] ? rest : Lanes{};
            rest = larger[k] ? Lanes{} : rest;
        }
        d[0] = rest;
    }
};

// x: (SIZE, SIZE), y: (SIZE / 2, SIZE / 2), one channel of a group.
template <int SIZE, typename Pool> void pool(const float *x, Affine norm, float *y) {
    for (int i = 0; i < SIZE; i += 2)
        for (int j = 0; j < SIZE; j += 2, y += LANES) {
            const float *upper = x + (i * SIZE + j) * LANES, *lower = upper + SIZE * LANES;
            store(y, Pool::forward({norm(load(upper)), norm(load(upper + LANES)),
                                    norm(load(lower)), norm(load(lower + LANES))}));
        }
}

// g is the gradient of y; d, that of what the norm puts out, may be x. Returns the sum of d, and
// that of d * (x - mean), over the pixels.
struct GradientSums {
    Lanes d, product;
};

template <int SIZE, typename Pool>
GradientSums pool_gradient(const float *x, Affine norm, const float *g, float *d) {
    GradientSums sums = {};
    for (int i = 0; i < SIZE; i += 2)
        for (int j = 0; j < SIZE; j += 2, g += LANES) {
            const long window[4] = {i * SIZE + j, i * SIZE + j + 1, (i + 1) * SIZE + j,
                                    (i + 1) * SIZE + j + 1};
            Lanes z[4], slopes[4];
            UNROLL for (int k = 0; k < 4; k++) z[k] = norm(load(x + window[k] * LANES));
            Pool::backward(z, load(g), slopes);
            UNROLL for (int k = 0; k < 4; k++) {
                sums.d += slopes[k];
                sums.product += slopes[k] * (load(x + window[k] * LANES) - norm.mean);
                store(d + window[k] * LANES, slopes[k]);
            }
        }
    return sums;
}

// The same for PyTorch's tensors. A plane is one channel of one image, SIZE x SIZE pixels, which fits
// into the first-level cache. Two values of a window are neighbours there, so vectors are along
// rows: going through groups and back took twice as long.

template <int SIZE>
INLINE void sigmoids(const float *x, float *sigmoid) {
    for (int j = 0; j < SIZE * SIZE; j += LANES) store(sigmoid + j, Sigmoid::value(load(x + j)));
}

// x: (planes, SIZE, SIZE), y: (planes, SIZE / 2, SIZE / 2).
template <int SIZE>
void sigmoid_average_pool(const float *x, float *y, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    in_parallel(planes, threads, [=](long plane) {
        float s[SIZE * SIZE], *out = y + plane * HALF * HALF;
        sigmoids<SIZE>(x + plane * SIZE * SIZE, s);
        for (int i = 0; i < HALF; i++)
            for (int j = 0; j < HALF; j++) {
                const float *window = s + 2 * i * SIZE + 2 * j;
                out[i * HALF + j] =
                    (window[0] + window[1] + window[SIZE] + window[SIZE + 1]) * 0.25f;
            }
    });
}

// dx = g / 4 * s * (1 - s), with s the sigmoid of x and g the gradient of y.
//
// The sigmoids are computed again: storing them and reading them back is no faster.
template <int SIZE>
void sigmoid_average_pool_gradient(
    const float *x, const float *g, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    in_parallel(planes, threads, [=](long plane) {
        float s[SIZE * SIZE];
        sigmoids<SIZE>(x + plane * SIZE * SIZE, s);
        for (int i = 0; i < HALF; i++) {
            float quarter[SIZE];
            for (int j = 0; j < HALF; j++)
                quarter[2 * j] = quarter[2 * j + 1] = g[(plane * HALF + i) * HALF + j] * 0.25f;
            for (int row = 2 * i; row < 2 * i + 2; row++)
                for (int j = 0; j < SIZE; j++)
                    dx[(plane * SIZE + row) * SIZE + j] =
                        quarter[j] * s[row * SIZE + j] * (1 - s[row * SIZE + j]);
        }
    });
}

// `argmax` is the position of the maximum in its window, 0 to 3 in reading order. The first of
// equal values counts, and not-a-number counts as the largest, as in PyTorch.
template <int SIZE>
void max_pool(const float *x, float *y, int *argmax, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    in_parallel(planes * HALF, threads, [=](long row) {
        const float *upper = x + 2 * row * SIZE, *lower = upper + SIZE;
        float *__restrict out = y + row * HALF;
        int *__restrict position = argmax + row * HALF;
        for (int j = 0; j < HALF; j++) {
            float best = upper[2 * j], b = upper[2 * j + 1], c = lower[2 * j], d = lower[2 * j + 1];
            int at = 0;
            bool larger = (b > best) | (b != b);
            best = larger ? b : best, at = larger ? 1 : at;
            larger = (c > best) | (c != c);
            best = larger ? c : best, at = larger ? 2 : at;
            larger = (d > best) | (d != d);
            best = larger ? d : best, at = larger ? 3 : at;
            out[j] = best, position[j] = at;
        }
    });
}

// dx is the gradient of y at the maximum of each window, and 0 elsewhere.
template <int SIZE>
void max_pool_gradient(const float *g, const int *argmax, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    in_parallel(planes * HALF, threads, [=](long row) {
        const float *g_row = g + row * HALF;
        const int *position = argmax + row * HALF;
        float slope[SIZE];
        float *__restrict upper = dx + 2 * row * SIZE, *__restrict lower = upper + SIZE;
        int at[SIZE];
        for (int j = 0; j < HALF; j++) slope[2 * j] = slope[2 * j + 1] = g_row[j];
        for (int j = 0; j < HALF; j++) at[2 * j] = position[j], at[2 * j + 1] = position[j] - 1;
        for (int j = 0; j < SIZE; j++) upper[j] = at[j] == 0 ? slope[j] : 0;
        for (int j = 0; j < SIZE; j++) lower[j] = at[j] == 2 ? slope[j] : 0;
    });
}
