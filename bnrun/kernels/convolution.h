// Convolution with a 5x5 kernel, stride 1 and no padding: forward, and its gradients.
//
//   y[o, i, j]            = b[o] + sum over c, ki, kj of  w[o, c, ki, kj] * x[c, i + ki, j + kj]
//   dw[o, c, ki, kj]      = sum over images, i, j of      g[o, i, j] * x[c, i + ki, j + kj]
//   db[o]                 = sum over images, i, j of      g[o, i, j]
//   dx[c, i + ki, j + kj] = sum over o, ki, kj of         g[o, i, j] * w[o, c, ki, kj]
//
// g is the gradient of y. The functions of `Convolution` are these formulas for one group of
// images. The sizes are template arguments, so the compiler unrolls the inner loops and keeps a
// block of sums in registers: one load then serves many multiplications. That is the only
// difference from the plain loops over the formulas. On one core of an AMD EPYC, where PyTorch's
// matrix product reaches 96 GFLOP/s, all of them reach 86 to 115, with AVX-512 as with AVX2.
#pragma once
#include "groups.h"
#include "lanes.h"
#include "team.h"

constexpr int K = 5;

// x: (IN, SIZE, SIZE), w: (OUT, IN, K, K), b: (OUT), y: (OUT, WIDTH, WIDTH).
template <int IN, int OUT, int SIZE> struct Convolution {
    static constexpr int WIDTH = SIZE - K + 1, WEIGHTS = OUT * IN * K * K;
    static constexpr int X = IN * SIZE * SIZE, Y = OUT * WIDTH * WIDTH;

    // The largest divisor of n that is at most `limit`.
    static constexpr int divisor(int n, int limit) {
        return n % limit == 0 ? limit : divisor(n, limit - 1);
    }

    // A block of sums: of some output channels, at some pixels of a row.
    NOINLINE void forward(const float *x, const float *w, const float *b, float *y) {
        constexpr int BLOCK = divisor(OUT, 6), PIXELS = MANY_REGISTERS ? 4 : 2;
        for (int i = 0; i < WIDTH; i++)
            for (int j = 0; j < WIDTH; j += PIXELS)
                for (int o = 0; o < OUT; o += BLOCK) {
                    Lanes sums[BLOCK][PIXELS];
                    UNROLL for (int p = 0; p < BLOCK; p++)
                        UNROLL for (int v = 0; v < PIXELS; v++) sums[p][v] = broadcast(b[o + p]);
                    for (int c = 0; c < IN; c++)
                        for (int ki = 0; ki < K; ki++) {
                            const float *row = x + ((c * SIZE + i + ki) * SIZE + j) * LANES;
                            UNROLL for (int kj = 0; kj < K; kj++)
                                UNROLL for (int p = 0; p < BLOCK; p++) {
                                    float weight = w[(((o + p) * IN + c) * K + ki) * K + kj];
                                    UNROLL for (int v = 0; v < PIXELS; v++)
                                        sums[p][v] += weight * load(row + (kj + v) * LANES);
                                }
                        }
                    UNROLL for (int p = 0; p < BLOCK; p++)
                        UNROLL for (int v = 0; v < PIXELS; v++)
                            store(y + (((o + p) * WIDTH + i) * WIDTH + j + v) * LANES, sums[p][v]);
                }
    }

    // The gradients of w and b, summed over images; each lane has a sum of its own.
    struct WeightSums {
        float dw[WEIGHTS * LANES] = {}, db[OUT * LANES] = {};

        // Lanes without an image have a g of 0.
        //
        // A block of sums is one row of the kernel, K weights, for some output channels. All blocks
        // visit the same few rows, which stay in the first-level cache.
        __attribute__((noinline)) void add(const float *x, const float *g) {
            constexpr int ROWS = divisor(WIDTH, 4);
            for (int first = 0; first < WIDTH; first += ROWS)
                for (int o = 0; o < OUT; o += BLOCK)
                    for (int c = 0; c < IN; c++)
                        for (int ki = 0; ki < K; ki++)
                            add_rows<ROWS>(x, g, first, o, c, ki);
            for (int o = 0; o < OUT; o++) {
                Lanes sums[4] = {load(db + o * LANES)};  // four: an addition takes four cycles
                for (int j = 0; j < WIDTH * WIDTH; j += 4)
                    UNROLL for (int v = 0; v < 4; v++)
                        sums[v] += load(g + (o * WIDTH * WIDTH + j + v) * LANES);
                store(db + o * LANES, (sums[0] + sums[1]) + (sums[2] + sums[3]));
            }
        }

        // Writes the sums of one part of a batch. parts: (PARTS, COUNT), the weights, then the biases.
        static constexpr int COUNT = WEIGHTS + OUT;

        __attribute__((noinline)) void over_lanes(float *parts, int part) const {
            float *to = parts + part * COUNT;
            for (int j = 0; j < WEIGHTS; j++) to[j] = sum(load(dw + j * LANES));
            for (int o = 0; o < OUT; o++) to[WEIGHTS + o] = sum(load(db + o * LANES));
        }

        NOINLINE void add_parts(const float *parts, float *dw_sum, float *db_sum) {
            for (int part = 0; part < PARTS; part++, parts += COUNT) {
                for (int j = 0; j < WEIGHTS; j++) dw_sum[j] = parts[j] + (part ? dw_sum[j] : 0);
                for (int o = 0; o < OUT; o++)
                    db_sum[o] = parts[WEIGHTS + o] + (part ? db_sum[o] : 0);
            }
        }

      private:
        static constexpr int BLOCK = divisor(OUT, MANY_REGISTERS ? 4 : 2);

        template <int ROWS>
        void add_rows(const float *x, const float *g, int first, int o, int c, int ki) {
            float *block = dw + (((o * IN + c) * K + ki) * K) * LANES;
            Lanes sums[BLOCK][K];
            UNROLL for (int p = 0; p < BLOCK; p++)
                UNROLL for (int kj = 0; kj < K; kj++)
                    sums[p][kj] = load(block + (p * IN * K * K + kj) * LANES);
            for (int i = first; i < first + ROWS; i++) {
                const float *row = x + (c * SIZE + i + ki) * SIZE * LANES;
                const float *slopes = g + (o * WIDTH + i) * WIDTH * LANES;
                UNROLL for (int j = 0; j < WIDTH; j++)
                    UNROLL for (int p = 0; p < BLOCK; p++) {
                        Lanes slope = load(slopes + (p * WIDTH * WIDTH + j) * LANES);
                        UNROLL for (int kj = 0; kj < K; kj++)
                            sums[p][kj] += slope * load(row + (j + kj) * LANES);
                    }
            }
            UNROLL for (int p = 0; p < BLOCK; p++)
                UNROLL for (int kj = 0; kj < K; kj++)
                    store(block + (p * IN * K * K + kj) * LANES, sums[p][kj]);
        }
    };

    // A block of sums is one row of dx, for some input channels.
    NOINLINE void input_gradient(const float *g, const float *w, float *dx) {
        constexpr int BLOCK = MANY_REGISTERS ? divisor(IN, 2) : 1;
        for (int row = 0; row < SIZE; row++)
            for (int c = 0; c < IN; c += BLOCK) {
                Lanes sums[BLOCK][SIZE] = {};
                for (int ki = row < WIDTH ? 0 : row - WIDTH + 1; ki < K && ki <= row; ki++)
                    for (int o = 0; o < OUT; o++) {
                        const float *slopes = g + (o * WIDTH + row - ki) * WIDTH * LANES;
                        const float *weights = w + ((o * IN + c) * K + ki) * K;
                        UNROLL for (int j = 0; j < WIDTH; j++) {
                            Lanes slope = load(slopes + j * LANES);
                            UNROLL for (int p = 0; p < BLOCK; p++)
                                UNROLL for (int kj = 0; kj < K; kj++)
                                    sums[p][j + kj] += slope * weights[p * K * K + kj];
                        }
                    }
                UNROLL for (int p = 0; p < BLOCK; p++)
                    UNROLL for (int j = 0; j < SIZE; j++)
                        store(dx + (((c + p) * SIZE + row) * SIZE + j) * LANES, sums[p][j]);
            }
    }
};

// The same for PyTorch's tensors: the images of a batch as rows.
template <typename Convolution>
void convolve(const float *x, const float *w, const float *b, float *y, long images, int threads) {
    using C = Convolution;
    in_parallel(groups_of(images), threads, [=](long group) {
        float in[C::X * LANES], out[C::Y * LANES];
        long first = group * LANES;
        to_group(x + first * C::X, C::X, images_in(group, images), C::X, in);
        C::forward(in, w, b, out);
        from_group(out, images_in(group, images), C::Y, y + first * C::Y, C::Y);
    });
}

// dx: (images, IN, SIZE, SIZE), or null where it is not wanted. work: (PARTS, WEIGHTS + OUT).
template <typename Convolution>
void convolve_gradient(
    const float *x, const float *w, const float *g, float *dx, float *dw, float *db, float *work,
    long images, int threads) {
    using C = Convolution;
    in_parallel(PARTS, threads, [=](long part) {
        float in[C::X * LANES], slopes[C::Y * LANES];
        typename C::WeightSums sums;
        Part groups(part, groups_of(images));
        for (long group = groups.first; group < groups.last; group++) {
            long first = group * LANES;
            int count = images_in(group, images);
            to_group(x + first * C::X, C::X, count, C::X, in);
            to_group(g + first * C::Y, C::Y, count, C::Y, slopes);
            sums.add(in, slopes);
            if (!dx) continue;
            C::input_gradient(slopes, w, in);
            from_group(in, count, C::X, dx + first * C::X, C::X);
        }
        sums.over_lanes(work, part);
    });
    C::WeightSums::add_parts(work, dw, db);
}
