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
    static IntLanes is_larger(Lanes z, Lanes best) { return (z > best) | (z != z); }

    static Lanes forward(const Lanes (&z)[4]) {
        Lanes best = z[0];
        UNROLL for (int k = 1; k < 4; k++) best = is_larger(z[k], best) ? z[k] : best;
        return Activation::value(best);
    }

    static void backward(const Lanes (&z)[4], Lanes g, Lanes (&d)[4]) {
        Lanes best = z[0];
        IntLanes larger[4];
        UNROLL for (int k = 1; k < 4; k++) {
            larger[k] = is_larger(z[k], best);
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

// The same for PyTorch's tensors: x: (planes, SIZE, SIZE), y: (planes, SIZE / 2, SIZE / 2). A plane
// is one channel of one image. A vector holds windows that are next to one another. (Going through
// groups and back took twice as long.)
template <int SIZE> struct Plane {
    static constexpr int PIXELS = SIZE * SIZE, WINDOWS = PIXELS / 4;
    float upper[PIXELS / 2], lower[PIXELS / 2];  // the rows of all windows, one after the other

    explicit Plane(const float *x) {
        for (int i = 0; i < SIZE / 2; i++, x += 2 * SIZE)
            for (int j = 0; j < SIZE; j++) {
                upper[i * SIZE + j] = x[j];
                lower[i * SIZE + j] = x[SIZE + j];
            }
    }

    void store_to(float *x) const {
        for (int i = 0; i < SIZE / 2; i++, x += 2 * SIZE)
            for (int j = 0; j < SIZE; j++) {
                x[j] = upper[i * SIZE + j];
                x[SIZE + j] = lower[i * SIZE + j];
            }
    }

    void load_windows(int first, Lanes (&z)[4]) const {
        const float *rows[2] = {upper + 2 * first, lower + 2 * first};
        UNROLL for (int k = 0; k < 2; k++) {
            Lanes a = load(rows[k]), b = load(rows[k] + LANES);
            z[2 * k] = every_second<0>(a, b, EVERY_LANE);
            z[2 * k + 1] = every_second<1>(a, b, EVERY_LANE);
        }
    }

    void store_windows(int first, const Lanes (&z)[4]) {
        float *rows[2] = {upper + 2 * first, lower + 2 * first};
        UNROLL for (int k = 0; k < 2; k++) {
            store(rows[k], in_turns<false>(z[2 * k], z[2 * k + 1], EVERY_LANE));
            store(rows[k] + LANES, in_turns<true>(z[2 * k], z[2 * k + 1], EVERY_LANE));
        }
    }
};

template <int SIZE, typename Pool>
void pool_planes(const float *x, float *y, long planes, int threads) {
    using P = Plane<SIZE>;
    static_assert(P::WINDOWS % LANES == 0);
    in_parallel(planes, threads, [=](long plane) {
        P values(x + plane * P::PIXELS);
        for (int first = 0; first < P::WINDOWS; first += LANES) {
            Lanes z[4];
            values.load_windows(first, z);
            store(y + plane * P::WINDOWS + first, Pool::forward(z));
        }
    });
}

template <int SIZE, typename Pool>
void pool_planes_gradient(const float *x, const float *g, float *dx, long planes, int threads) {
    using P = Plane<SIZE>;
    in_parallel(planes, threads, [=](long plane) {
        P values(x + plane * P::PIXELS);
        for (int first = 0; first < P::WINDOWS; first += LANES) {
            Lanes z[4], d[4];
            values.load_windows(first, z);
            Pool::backward(z, load(g + plane * P::WINDOWS + first), d);
            values.store_windows(first, d);
        }
        values.store_to(dx + plane * P::PIXELS);
    });
}
