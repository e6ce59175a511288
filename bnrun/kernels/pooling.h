// Pooling over windows of 2x2 pixels with stride 2: the maximum, or the mean of the sigmoids.
//
// A plane is one channel of one image, SIZE x SIZE pixels, which fits into the first-level cache.
#pragma once
#include "exponential.h"
#include "lanes.h"

// sigmoid = 1 / (1 + e^-x) of every pixel of a plane; not-a-number stays not-a-number.
template <int SIZE>
INLINE void sigmoids(const float *x, float *sigmoid) {
    for (int j = 0; j < SIZE * SIZE; j += WIDE_LANES)
        *(Wide *)(sigmoid + j) = 1.0f / (1.0f + exponential(-*(const Wide *)(x + j)));
}

// x: (planes, SIZE, SIZE), y: (planes, SIZE / 2, SIZE / 2).
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
                out[i * HALF + j] =
                    (window[0] + window[1] + window[SIZE] + window[SIZE + 1]) * 0.25f;
            }
    }
}

// dx = g / 4 * s * (1 - s), with s the sigmoid of x and g the gradient of y.
//
// The sigmoids are computed again: storing them and reading them back is no faster.
template <int SIZE>
void sigmoid_average_pool_gradient(
    const float *x, const float *g, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long plane = 0; plane < planes; plane++) {
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
    }
}

// `argmax` is the position of the maximum in its window, 0 to 3 in reading order. The first of
// equal values counts, and not-a-number counts as the largest, as in PyTorch.
template <int SIZE>
void max_pool(const float *x, float *y, int *argmax, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long row = 0; row < planes * HALF; row++) {
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
    }
}

// dx is the gradient of y at the maximum of each window, and 0 elsewhere.
template <int SIZE>
void max_pool_gradient(const float *g, const int *argmax, float *dx, long planes, int threads) {
    constexpr int HALF = SIZE / 2;
    IN_PARALLEL(threads)
    for (long row = 0; row < planes * HALF; row++) {
        const float *g_row = g + row * HALF;
        const int *position = argmax + row * HALF;
        float slope[SIZE];
        float *__restrict upper = dx + 2 * row * SIZE, *__restrict lower = upper + SIZE;
        int at[SIZE];
        for (int j = 0; j < HALF; j++) slope[2 * j] = slope[2 * j + 1] = g_row[j];
        for (int j = 0; j < HALF; j++) at[2 * j] = position[j], at[2 * j + 1] = position[j] - 1;
        for (int j = 0; j < SIZE; j++) upper[j] = at[j] == 0 ? slope[j] : 0;
        for (int j = 0; j < SIZE; j++) lower[j] = at[j] == 2 ? slope[j] : 0;
    }
}
