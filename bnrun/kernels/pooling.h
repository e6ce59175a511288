// Pooling over windows of 2x2 pixels with stride 2: the largest, or the mean of the sigmoids.
//
// A plane is one channel of one image, SIZE pixels a side: small enough to stay in the cache.
#pragma once
#include "lanes.h"

// Sixteen floats: what the exponential has so many constants for goes further this way.
typedef float Wide __attribute__((vector_size(64), aligned(4), may_alias));
typedef int WideInt __attribute__((vector_size(64), may_alias));

// e^x to some 5 units in the last place, or 70 where multiply-add is not fused. By
// e^x = 2^n * e^r with |r| <= ln(2) / 2: the power of two is put together from its exponent's bits,
// and e^r is a polynomial (its coefficients: Cephes, `expf`).
INLINE Wide exponential(Wide x) {
    x = x < -87.0f ? Wide{} - 87.0f : x;
    x = x > 88.0f ? Wide{} + 88.0f : x;
    // Rounded, by cutting off what is above 0.
    WideInt power = __builtin_convertvector(x * 1.44269504f + 128.5f, WideInt) - 128;
    Wide r = x - __builtin_convertvector(power, Wide) * 0.693147181f;
    const float coefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    Wide series = {};
    UNROLL for (float coefficient : coefficients) series = series * r + coefficient;
    return (series * r * r + r + 1.0f) * (Wide)((power + 127) << 23);
}

// The sigmoids 1 / (1 + e^-x) of a plane. Not-a-number stays so.
template <int SIZE>
INLINE void sigmoids(const float *x, float *sigmoid) {
    for (int j = 0; j < SIZE * SIZE; j += 16)
        *(Wide *)(sigmoid + j) = 1.0f / (1.0f + exponential(-*(const Wide *)(x + j)));
}

template <int SIZE>
void sigmoid_average_pool(const float *x, float *y, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long plane = 0; plane < planes; plane++) {
        float s[SIZE * SIZE], *out = y + plane * HALF * HALF;
        sigmoids<SIZE>(x + plane * SIZE * SIZE, s);
        for (int i = 0; i < HALF; i++)
            for (int j = 0; j < HALF; j++) {
                const float *window = s + 2 * i * SIZE + 2 * j;
                out[i * HALF + j] = (window[0] + window[1] + window[SIZE] + window[SIZE + 1]) * 0.25f;
            }
    }
}

// The sigmoids are computed anew: to keep them, and read them back, takes no less time.
template <int SIZE>
void sigmoid_average_pool_gradient(
    const float *x, const float *g, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long plane = 0; plane < planes; plane++) {
        float s[SIZE * SIZE];
        sigmoids<SIZE>(x + plane * SIZE * SIZE, s);
        for (int i = 0; i < HALF; i++) {
            float slope[SIZE];
            for (int j = 0; j < HALF; j++)
                slope[2 * j] = slope[2 * j + 1] = g[(plane * HALF + i) * HALF + j] * 0.25f;
            for (int row = 2 * i; row < 2 * i + 2; row++)
                for (int j = 0; j < SIZE; j++)
                    dx[(plane * SIZE + row) * SIZE + j] =
                        slope[j] * s[row * SIZE + j] * (1 - s[row * SIZE + j]);
        }
    }
}

// The first of equals wins; not-a-number counts as largest. `winner` tells which of the four it
// was, in reading order.
template <int SIZE>
void max_pool(const float *x, float *y, int *winner, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long row = 0; row < planes * HALF; row++) {
        const float *upper = x + 2 * row * SIZE, *lower = upper + SIZE;
        float *__restrict out = y + row * HALF;
        int *__restrict won = winner + row * HALF;
        for (int j = 0; j < HALF; j++) {
            float best = upper[2 * j], b = upper[2 * j + 1], c = lower[2 * j], d = lower[2 * j + 1];
            int at = 0;
            bool wins = (b > best) | (b != b);
            best = wins ? b : best, at = wins ? 1 : at;
            wins = (c > best) | (c != c);
            best = wins ? c : best, at = wins ? 2 : at;
            wins = (d > best) | (d != d);
            best = wins ? d : best, at = wins ? 3 : at;
            out[j] = best, won[j] = at;
        }
    }
}

template <int SIZE>
void max_pool_gradient(const float *g, const int *winner, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long row = 0; row < planes * HALF; row++) {
        const float *from = g + row * HALF;
        const int *won = winner + row * HALF;
        float slope[SIZE], *__restrict upper = dx + 2 * row * SIZE, *__restrict lower = upper + SIZE;
        int at[SIZE];
        for (int j = 0; j < HALF; j++) slope[2 * j] = slope[2 * j + 1] = from[j];
        for (int j = 0; j < HALF; j++) at[2 * j] = won[j], at[2 * j + 1] = won[j] - 1;
        for (int j = 0; j < SIZE; j++) upper[j] = at[j] == 0 ? slope[j] : 0;
        for (int j = 0; j < SIZE; j++) lower[j] = at[j] == 2 ? slope[j] : 0;
    }
}
