// Convolution with a 5x5 kernel, stride 1, no padding: forward, and its two gradients.
//
//   y[o, i, j]  = b[o] + sum over c, ki, kj of  w[o, c, ki, kj] * x[c, i + ki, j + kj]
//   dw[o, c, ki, kj]   = sum over images, i, j of  g[o, i, j] * x[c, i + ki, j + kj]
//   dx[c, i + ki, j + kj] accumulates            g[o, i, j] * w[o, c, ki, kj]
//
// The sizes are template arguments: the compiler unrolls the inner loops, and keeps the block of
// sums that they work on in registers. What is loaded once then serves many multiplications; that
// is all the difference to the loops as one would first write them.
#pragma once
#include "lanes.h"

constexpr int K = 5;

// x: (images, IN, SIZE, SIZE), w: (OUT, IN, K, K), b: (OUT), y: (images, OUT, WIDE, WIDE).
// A block is ROWS rows of BLOCK output channels.
template <int IN, int OUT, int SIZE, int BLOCK, int ROWS>
void convolve(const float *x, const float *w, const float *b, float *y, long images, int threads) {
    constexpr int WIDE = SIZE - K + 1, COLUMNS = WIDE / LANES;
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++)
        for (int o = 0; o < OUT; o += BLOCK)
            for (int i = 0; i < WIDE; i += ROWS) {
                Lanes sums[BLOCK][ROWS][COLUMNS];
                UNROLL for (int p = 0; p < BLOCK; p++)
                    UNROLL for (int r = 0; r < ROWS; r++)
                        UNROLL for (int v = 0; v < COLUMNS; v++) sums[p][r][v] = all(b[o + p]);
                for (int c = 0; c < IN; c++)
                    for (int ki = 0; ki < K; ki++)
                        UNROLL for (int kj = 0; kj < K; kj++) {
                            Lanes pixels[ROWS][COLUMNS];
                            UNROLL for (int r = 0; r < ROWS; r++)
                                UNROLL for (int v = 0; v < COLUMNS; v++)
                                    pixels[r][v] = load(
                                        x + ((n * IN + c) * SIZE + i + r + ki) * SIZE + kj + LANES * v);
                            UNROLL for (int p = 0; p < BLOCK; p++) {
                                Lanes weight = all(w[(((o + p) * IN + c) * K + ki) * K + kj]);
                                UNROLL for (int r = 0; r < ROWS; r++)
                                    UNROLL for (int v = 0; v < COLUMNS; v++)
                                        sums[p][r][v] += weight * pixels[r][v];
                            }
                        }
                UNROLL for (int p = 0; p < BLOCK; p++)
                    UNROLL for (int r = 0; r < ROWS; r++)
                        UNROLL for (int v = 0; v < COLUMNS; v++)
                            store(y + ((n * OUT + o + p) * WIDE + i + r) * WIDE + LANES * v,
                                  sums[p][r][v]);
            }
}

// dw: (PARTS, OUT, IN, K, K) and db: (PARTS, OUT), to be added up over the parts.
// A block is the K taps of a row of the kernel, for BLOCK output channels. Each goes over the same
// few images before the next does: so many as stay in the nearest cache.
template <int IN, int OUT, int SIZE, int BLOCK>
void convolve_weight_gradient(
    const float *x, const float *g, float *dw, float *db, long images, int threads) {
    constexpr int WIDE = SIZE - K + 1, TAPS = OUT * IN * K * K, TOGETHER = 8;
    IN_PARALLEL(threads)
    for (int part = 0; part < PARTS; part++) {
        Lanes w_sums[TAPS] = {}, b_sums[OUT] = {};
        Part mine(part, images);
        for (long first = mine.first; first < mine.last; first += TOGETHER) {
            long end = first + TOGETHER < mine.last ? first + TOGETHER : mine.last;
            for (long n = first; n < end; n++)
                for (int o = 0; o < OUT; o++)
                    for (int j = 0; j < WIDE * WIDE; j += LANES)
                        b_sums[o] += load(g + (n * OUT + o) * WIDE * WIDE + j);
            for (int o = 0; o < OUT; o += BLOCK)
                for (int c = 0; c < IN; c++)
                    for (int ki = 0; ki < K; ki++) {
                        Lanes sums[BLOCK][K] = {};
                        for (long n = first; n < end; n++)
                            for (int i = 0; i < WIDE; i++)
                                UNROLL for (int j = 0; j < WIDE; j += LANES) {
                                    const float *row = x + ((n * IN + c) * SIZE + i + ki) * SIZE + j;
                                    Lanes pixels[K];
                                    UNROLL for (int kj = 0; kj < K; kj++) pixels[kj] = load(row + kj);
                                    UNROLL for (int p = 0; p < BLOCK; p++) {
                                        Lanes slope =
                                            load(g + ((n * OUT + o + p) * WIDE + i) * WIDE + j);
                                        UNROLL for (int kj = 0; kj < K; kj++)
                                            sums[p][kj] += slope * pixels[kj];
                                    }
                                }
                        UNROLL for (int p = 0; p < BLOCK; p++)
                            UNROLL for (int kj = 0; kj < K; kj++)
                                w_sums[(((o + p) * IN + c) * K + ki) * K + kj] += sums[p][kj];
                    }
        }
        for (int t = 0; t < TAPS; t++) dw[part * TAPS + t] = sum(w_sums[t]);
        for (int o = 0; o < OUT; o++) db[part * OUT + o] = sum(b_sums[o]);
    }
}

// Eight images at a time, one in each lane: rows of dx are no multiple of LANES wide, and what a
// gradient goes into lies at all distances from it.
template <int IN, int OUT, int SIZE>
void convolve_input_gradient(
    const float *g, const float *w, float *dx, long images, int threads) {
    constexpr int WIDE = SIZE - K + 1;
    IN_PARALLEL(threads)
    for (long first = 0; first < images; first += LANES) {
        int count = images - first < LANES ? images - first : LANES;
        Lanes slopes[OUT * WIDE * WIDE] = {};
        for (int lane = 0; lane < count; lane++)
            for (int j = 0; j < OUT * WIDE * WIDE; j++)
                ((float *)slopes)[j * LANES + lane] = g[(first + lane) * OUT * WIDE * WIDE + j];
        for (int c = 0; c < IN; c++)
            for (int row = 0; row < SIZE; row++) {
                Lanes sums[SIZE] = {};
                for (int ki = row < WIDE ? 0 : row - WIDE + 1; ki < K && ki <= row; ki++)
                    for (int o = 0; o < OUT; o++) {
                        const float *taps = w + ((o * IN + c) * K + ki) * K;
                        UNROLL for (int j = 0; j < WIDE; j++)
                            UNROLL for (int kj = 0; kj < K; kj++)
                                sums[j + kj] += slopes[(o * WIDE + row - ki) * WIDE + j] * taps[kj];
                    }
                Lanes done[SIZE];
                UNROLL for (int j = 0; j < SIZE; j++) done[j] = sums[j];
                for (int lane = 0; lane < count; lane++)
                    for (int j = 0; j < SIZE; j++)
                        dx[(((first + lane) * IN + c) * SIZE + row) * SIZE + j] =
                            ((float *)done)[j * LANES + lane];
            }
    }
}
