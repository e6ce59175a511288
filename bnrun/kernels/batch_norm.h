// Batch normalization by the batch's own statistics, and its gradients (Ioffe & Szegedy 2015,
// Algorithm 1 and section 3). `bnrun/norms/reference.py` is the specification.
//
// x is (images, channels, size), where `size` is the pixels of a channel, and 1 after a fully
// connected layer. gamma and beta may be null. A row is the pixels of one channel of one image.
#pragma once
#include "lanes.h"

// Add up, for each channel, two numbers that a function makes of each of its rows. A row's own sums
// are taken in float, and those over the rows in double.
// work: (PARTS + 1, 2, channels), of which the last part comes to hold the totals: returned.
template <typename OfRow>
INLINE const double *add_up(
    double *work, long images, long channels, int threads, OfRow of_row) {
    IN_PARALLEL(threads)
    for (int part = 0; part < PARTS; part++) {
        double *__restrict first = work + 2 * part * channels, *__restrict second = first + channels;
        for (long c = 0; c < channels; c++) first[c] = second[c] = 0;
        Part mine(part, images);
        for (long n = mine.first; n < mine.last; n++)
            for (long c = 0; c < channels; c++) of_row(n, c, first[c], second[c]);
    }
    double *totals = work + 2 * PARTS * channels;
    for (long c = 0; c < 2 * channels; c++) {
        totals[c] = 0;
        for (int part = 0; part < PARTS; part++) totals[c] += work[2 * part * channels + c];
    }
    return totals;
}

// Writes y, and each channel's mean and biased variance; and what becomes of the moving statistics,
// where they are not null: moved[0] and moved[1], of (2, channels).
//
// Squares are summed about each row's own mean, and the rows are then put together (Chan, Golub and
// LeVeque 1983): as exact as with the mean known before, and x is read once less.
//
// SIZE is `size` where it is known to the compiler, and 0 where it is not.
template <long SIZE>
void normalize(
    const float *x, const float *gamma, const float *beta, float *y, float *mean, float *var,
    const float *moving_mean, const float *moving_var, float *moved, double momentum,
    double *work, long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    double count = images * size;
    const double *totals = add_up(
        work, images, channels, threads, [=](long n, long c, double &sums, double &squares) {
            const float *row = x + (n * channels + c) * size;
            float sum = 0, around = 0;
            for (long j = 0; j < size; j++) sum += row[j];
            float middle = sum / size;
            for (long j = 0; j < size; j++) around += (row[j] - middle) * (row[j] - middle);
            sums += sum;
            squares += around + (double)sum * sum / size;
        });
    float *scale = (float *)work;  // the parts are done with
    for (long c = 0; c < channels; c++) {
        double middle = totals[c] / count, spread = totals[channels + c] / count - middle * middle;
        mean[c] = middle;
        var[c] = spread < 0 ? 0 : spread;  // not-a-number stays so
        scale[c] = (gamma ? gamma[c] : 1) / __builtin_sqrt(var[c] + eps);
        double unbiased = var[c] * count / (count - 1);
        if (moving_mean) moved[c] = (1 - momentum) * moving_mean[c] + momentum * mean[c];
        if (moving_var) moved[channels + c] = (1 - momentum) * moving_var[c] + momentum * unbiased;
    }
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++) {
        const float *in = x + n * channels * size;
        float *__restrict out = y + n * channels * size;
        for (long c = 0; c < channels; c++) {
            float shift = beta ? beta[c] : 0;
            for (long j = 0; j < size; j++)
                out[c * size + j] = (in[c * size + j] - mean[c]) * scale[c] + shift;
        }
    }
}

// Writes y, normalized by the statistics that are given.
static void normalize_by(
    const float *x, const float *gamma, const float *beta, const float *mean, const float *var,
    float *y, long images, long channels, long size, double eps, int threads) {
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++)
        for (long c = 0; c < channels; c++) {
            const float *in = x + (n * channels + c) * size;
            float *out = y + (n * channels + c) * size, middle = mean[c], shift = beta ? beta[c] : 0;
            float scale = (gamma ? gamma[c] : 1) / __builtin_sqrt(var[c] + eps);
            for (long j = 0; j < size; j++) out[j] = (in[j] - middle) * scale + shift;
        }
}

// Writes the gradients, from that of y:
//
//   d_beta  = sum(g)
//   d_gamma = sum(g * (x - mean)) * inv_std                      inv_std = 1 / sqrt(var + eps)
//   dx      = gamma * inv_std * (g - d_beta / m - (x - mean) * inv_std * d_gamma / m)
template <long SIZE>
void normalize_gradient(
    const float *x, const float *gamma, const float *mean, const float *var, const float *g,
    float *dx, float *d_gamma, float *d_beta, double *work,
    long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    double count = images * size;
    const double *totals = add_up(
        work, images, channels, threads, [=](long n, long c, double &slopes, double &moments) {
            const float *row = x + (n * channels + c) * size;
            const float *slope = g + (n * channels + c) * size;
            float sum = 0, moment = 0, middle = mean[c];
            for (long j = 0; j < size; j++) sum += slope[j];
            for (long j = 0; j < size; j++) moment += slope[j] * (row[j] - middle);
            slopes += sum;
            moments += moment;
        });
    float *scale = (float *)work, *level = scale + channels, *tilt = level + channels;
    for (long c = 0; c < channels; c++) {
        double inv_std = 1 / __builtin_sqrt(var[c] + eps);
        d_beta[c] = totals[c];
        d_gamma[c] = totals[channels + c] * inv_std;
        scale[c] = (gamma ? gamma[c] : 1) * inv_std;
        level[c] = d_beta[c] / count;
        tilt[c] = d_gamma[c] * inv_std / count;
    }
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++) {
        const float *in = x + n * channels * size, *slope = g + n * channels * size;
        float *__restrict out = dx + n * channels * size;
        for (long c = 0; c < channels; c++)
            for (long j = c * size; j < (c + 1) * size; j++)
                out[j] = scale[c] * (slope[j] - level[c] - (in[j] - mean[c]) * tilt[c]);
    }
}
