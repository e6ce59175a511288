// Convolution with a 5x5 kernel, stride 1 and no padding: forward, and its gradients.
//
//   y[o, i, j]            = b[o] + sum over c, ki, kj of  w[o, c, ki, kj] * x[c, i + ki, j + kj]
//   dw[o, c, ki, kj]      = sum over images, i, j of      g[o, i, j] * x[c, i + ki, j + kj]
//   db[o]                 = sum over images, i, j of      g[o, i, j]
//   dx[c, i + ki, j + kj] = sum over o, ki, kj of         g[o, i, j] * w[o, c, ki, kj]
//
// g is the gradient of y. The sizes are template arguments, so the compiler unrolls the inner loops
// and keeps a block of sums in registers: one load then serves many multiplications. That is the
// only difference from the plain loops over these formulas.
#pragma once
#include "lanes.h"

constexpr int K = 5;

// x: (images, IN, SIZE, SIZE), w: (OUT, IN, K, K), b: (OUT), y: (images, OUT, WIDTH, WIDTH).
// A block of sums is ROWS rows of BLOCK output channels.
template <int IN, int OUT, int SIZE, int BLOCK, int ROWS>
void convolve(const float *x, const float *w, const float *b, float *y, long images, int threads) {
    constexpr int WIDTH = SIZE - K + 1, COLUMNS = WIDTH / LANES;
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++)
        for (int o = 0; o < OUT; o += BLOCK)
            for (int i = 0; i < WIDTH; i += ROWS) {
                Lanes sums[BLOCK][ROWS][COLUMNS];
                UNROLL for (int p = 0; p < BLOCK; p++)
                    UNROLL for (int r = 0; r < ROWS; r++)
                        UNROLL for (int v = 0; v < COLUMNS; v++)
                            sums[p][r][v] = broadcast(b[o + p]);
                for (int c = 0; c < IN; c++)
                    for (int ki = 0; ki < K; ki++)
                        UNROLL for (int kj = 0; kj < K; kj++) {
                            Lanes pixels[ROWS][COLUMNS];
                            UNROLL for (int r = 0; r < ROWS; r++)
                                UNROLL for (int v = 0; v < COLUMNS; v++)
                                    pixels[r][v] = load(
                                        x + ((n * IN + c) * SIZE + i + r + ki) * SIZE + kj
                                        + LANES * v);
                            UNROLL for (int p = 0; p < BLOCK; p++) {
                                Lanes weight = broadcast(w[(((o + p) * IN + c) * K + ki) * K + kj]);
                                UNROLL for (int r = 0; r < ROWS; r++)
                                    UNROLL for (int v = 0; v < COLUMNS; v++)
                                        sums[p][r][v] += weight * pixels[r][v];
                            }
                        }
                UNROLL for (int p = 0; p < BLOCK; p++)
                    UNROLL for (int r = 0; r < ROWS; r++)
                        UNROLL for (int v = 0; v < COLUMNS; v++)
                            store(y + ((n * OUT + o + p) * WIDTH + i + r) * WIDTH + LANES * v,
                                  sums[p][r][v]);
            }
}

// dw: (PARTS, OUT, IN, K, K) and db: (PARTS, OUT); the caller adds them up over the parts.
// A block of sums is one row of the kernel, K weights, for BLOCK output channels. All blocks visit
// the same few images, which stay in the first-level cache, before the next images are loaded.
template <int IN, int OUT, int SIZE, int BLOCK>
void convolve_weight_gradient(
    const float *x, const float *g, float *dw, float *db, long images, int threads) {
    constexpr int WIDTH = SIZE - K + 1, WEIGHTS = OUT * IN * K * K, CACHED_IMAGES = 8;
    IN_PARALLEL(threads)
    for (int part = 0; part < PARTS; part++) {
        Lanes w_sums[WEIGHTS] = {}, b_sums[OUT] = {};
        Part range(part, images);
        for (long first = range.first; first < range.last; first += CACHED_IMAGES) {
            long end = first + CACHED_IMAGES < range.last ? first + CACHED_IMAGES : range.last;
            for (long n = first; n < end; n++)
                for (int o = 0; o < OUT; o++)
                    for (int j = 0; j < WIDTH * WIDTH; j += LANES)
                        b_sums[o] += load(g + (n * OUT + o) * WIDTH * WIDTH + j);
            for (int o = 0; o < OUT; o += BLOCK)
                for (int c = 0; c < IN; c++)
                    for (int ki = 0; ki < K; ki++) {
                        Lanes sums[BLOCK][K] = {};
                        for (long n = first; n < end; n++)
                            for (int i = 0; i < WIDTH; i++)
                                UNROLL for (int j = 0; j < WIDTH; j += LANES) {
                                    const float *row =
                                        x + ((n * IN + c) * SIZE + i + ki) * SIZE + j;
                                    Lanes pixels[K];
                                    UNROLL for (int kj = 0; kj < K; kj++)
                                        pixels[kj] = load(row + kj);
                                    UNROLL for (int p = 0; p < BLOCK; p++) {
                                        Lanes slope =
                                            load(g + ((n * OUT + o + p) * WIDTH + i) * WIDTH + j);
                                        UNROLL for (int kj = 0; kj < K; kj++)
                                            sums[p][kj] += slope * pixels[kj];
                                    }
                                }
                        UNROLL for (int p = 0; p < BLOCK; p++)
                            UNROLL for (int kj = 0; kj < K; kj++)
                                w_sums[(((o + p) * IN + c) * K + ki) * K + kj] += sums[p][kj];
                    }
        }
        for (int t = 0; t < WEIGHTS; t++) dw[part * WEIGHTS + t] = sum(w_sums[t]);
        for (int o = 0; o < OUT; o++) db[part * OUT + o] = sum(b_sums[o]);
    }
}

// Eight images at a time, one in each lane. Lanes along a row would not do: a row of dx is not a
// multiple of LANES long.
template <int IN, int OUT, int SIZE>
void convolve_input_gradient(
    const float *g, const float *w, float *dx, long images, int threads) {
    constexpr int WIDTH = SIZE - K + 1;
    IN_PARALLEL(threads)
    for (long first = 0; first < images; first += LANES) {
        int count = images - first < LANES ? images - first : LANES;
        Lanes slopes[OUT * WIDTH * WIDTH] = {};
        for (int lane = 0; lane < count; lane++)
            for (int j = 0; j < OUT * WIDTH * WIDTH; j++)
                ((float *)slopes)[j * LANES + lane] = g[(first + lane) * OUT * WIDTH * WIDTH + j];
        for (int c = 0; c < IN; c++)
            for (int row = 0; row < SIZE; row++) {
                Lanes sums[SIZE] = {};
                for (int ki = row < WIDTH ? 0 : row - WIDTH + 1; ki < K && ki <= row; ki++)
                    for (int o = 0; o < OUT; o++) {
                        const float *weights = w + ((o * IN + c) * K + ki) * K;
                        UNROLL for (int j = 0; j < WIDTH; j++)
                            UNROLL for (int kj = 0; kj < K; kj++)
                                sums[j + kj] +=
                                    slopes[(o * WIDTH + row - ki) * WIDTH + j] * weights[kj];
                    }
                Lanes row_sums[SIZE];
                UNROLL for (int j = 0; j < SIZE; j++) row_sums[j] = sums[j];
                for (int lane = 0; lane < count; lane++)
                    for (int j = 0; j < SIZE; j++)
                        dx[(((first + lane) * IN + c) * SIZE + row) * SIZE + j] =
                            ((float *)row_sums)[j * LANES + lane];
            }
    }
}
