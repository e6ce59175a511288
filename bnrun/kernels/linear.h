// Fully connected layers: forward, and their gradients.
//
//   y[o]     = b[o] + sum over i of       w[o, i] * x[i]
//   dx[i]    = sum over o of              w[o, i] * g[o]
//   dw[o, i] = sum over images of         g[o] * x[i]
//   db[o]    = sum over images of         g[o]
//
// The first two are one function of a matrix, which is given by the distances in memory between its
// rows and between its columns.
#pragma once
#include "groups.h"
#include "lanes.h"

// A block of sums: of four rows, for some groups. x: (groups, columns, LANES), y: (groups, rows,
// LANES), b: (rows) or null.
template <int ROWS, int GROUPS>
INLINE void multiply_block(
    const float *w, long row, long column, const float *b, const float *x, float *y,
    long rows, long columns) {
    for (long r = 0; r < rows; r += ROWS) {
        Lanes sums[ROWS][GROUPS];
        UNROLL for (int p = 0; p < ROWS; p++)
            UNROLL for (int v = 0; v < GROUPS; v++) sums[p][v] = broadcast(b ? b[r + p] : 0);
        for (long c = 0; c < columns; c++)
            UNROLL for (int p = 0; p < ROWS; p++) {
                float weight = w[(r + p) * row + c * column];
                UNROLL for (int v = 0; v < GROUPS; v++)
                    sums[p][v] += weight * load(x + (v * columns + c) * LANES);
            }
        UNROLL for (int p = 0; p < ROWS; p++)
            UNROLL for (int v = 0; v < GROUPS; v++)
                store(y + (v * rows + r + p) * LANES, sums[p][v]);
    }
}

// The rows must be a multiple of ROWS.
template <int ROWS>
NOINLINE void multiply(
    const float *w, long row, long column, const float *b, const float *x, float *y,
    long groups, long rows, long columns) {
    constexpr int GROUPS = MANY_REGISTERS ? 4 : 2;
    long group = 0;
    for (; group + GROUPS <= groups; group += GROUPS)
        multiply_block<ROWS, GROUPS>(
            w, row, column, b, x + group * columns * LANES, y + group * rows * LANES, rows, columns);
    for (; group < groups; group++)
        multiply_block<ROWS, 1>(
            w, row, column, b, x + group * columns * LANES, y + group * rows * LANES, rows, columns);
}

template <int IN, int OUT> struct Linear {
    static constexpr int WEIGHTS = OUT * IN;
    static constexpr int ROWS = OUT % 4 ? 2 : 4, IN_ROWS = IN % 4 ? 2 : 4;
    static constexpr int COLUMNS = MANY_REGISTERS ? 4 : 2;
    // The features of an image in a row, with zeros after them, for whole blocks.
    static constexpr int ROW = (IN + COLUMNS * LANES - 1) / (COLUMNS * LANES) * COLUMNS * LANES;

    static void forward(
        const float *x, const float *w, const float *b, float *y, long groups) {
        multiply<ROWS>(w, IN, 1, b, x, y, groups, OUT, IN);
    }

    static void input_gradient(const float *g, const float *w, float *dx, long groups) {
        multiply<IN_ROWS>(w, 1, IN, nullptr, g, dx, groups, IN, OUT);
    }

    // The gradients of the outputs from `first` up to `last`, both a multiple of ROWS, over all
    // images. g: (groups, OUT, LANES). x: (images, ROW): along a row, so that a vector holds the
    // features of one image. Sums in lanes would have to be added up for each weight.
    NOINLINE void weight_gradient(
        const float *x, const float *g, float *dw, float *db, long images, int first, int last) {
        for (int o = first; o < last; o += ROWS) {
            for (int i = 0; i < IN; i += COLUMNS * LANES) {
                Lanes sums[ROWS][COLUMNS] = {};
                for (long n = 0; n < images; n++) {
                    const float *slopes = g + (n / LANES * OUT + o) * LANES + n % LANES;
                    UNROLL for (int p = 0; p < ROWS; p++)
                        UNROLL for (int v = 0; v < COLUMNS; v++)
                            sums[p][v] += slopes[p * LANES] * load(x + n * ROW + i + v * LANES);
                }
                UNROLL for (int p = 0; p < ROWS; p++) {
                    float row[COLUMNS * LANES];
                    UNROLL for (int v = 0; v < COLUMNS; v++) store(row + v * LANES, sums[p][v]);
                    for (int j = 0; j < COLUMNS * LANES && i + j < IN; j++)
                        dw[(o + p) * IN + i + j] = row[j];
                }
            }
            for (int p = o; p < o + ROWS; p++) {
                Lanes sums = {};
                for (long group = 0; group < groups_of(images); group++)
                    sums += load(g + (group * OUT + p) * LANES);
                db[p] = sum(sums);
            }
        }
    }
};
