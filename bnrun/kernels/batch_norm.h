// Batch normalization by the batch's own statistics, with its gradients (Ioffe & Szegedy 2015,
// Algorithm 1 and section 3), and by given statistics (Algorithm 2).
// `bnrun/norms/reference.py` is the specification.
//
// x is (images, channels, size), where `size` is the number of positions of a channel: its pixels
// after a convolution, and 1 after a fully connected layer. A row is all positions of one channel in
// one image. gamma and beta may be null, for 1 and 0.
#pragma once
#include "lanes.h"

// Sum two values of every row over the images, for each channel. `add_row(n, c, first, second)`
// adds the two values of a row, which it sums in float, to the channel's sums, which are double.
//
// work: (PARTS + 1, 2, channels). Its last part holds the totals, and is returned.
template <typename AddRow>
INLINE const double *sum_rows(
    double *work, long images, long channels, int threads, AddRow add_row) {
    IN_PARALLEL(threads)
    for (int part = 0; part < PARTS; part++) {
        double *__restrict first = work + 2 * part * channels;
        double *__restrict second = first + channels;
        for (long c = 0; c < channels; c++) first[c] = second[c] = 0;
        Part range(part, images);
        for (long n = range.first; n < range.last; n++)
            for (long c = 0; c < channels; c++) add_row(n, c, first[c], second[c]);
    }
    double *totals = work + 2 * PARTS * channels;
    for (long c = 0; c < 2 * channels; c++) {
        totals[c] = 0;
        for (int part = 0; part < PARTS; part++) totals[c] += work[2 * part * channels + c];
    }
    return totals;
}

// Writes y, and each channel's mean and biased variance. Where the moving statistics are not null,
// also writes their new values, moved: (2, channels), the mean's and the variance's.
//
// One pass over x yields both. A row's values, and their squares about the row's own mean, are
// summed in float. Rows are combined in double: variance = sum(x^2) / count - mean^2. Where a row is
// one value, as after a fully connected layer, that is E[x^2] - E[x]^2 in double. The squares are
// then exact, since the square of a float fits into a double, and only the difference loses digits.
// Measured relative error of the variance over 64 to 256 images: below 1e-6 up to a mean of 100
// standard deviations. At a mean of 10,000 of them, 1e-7 for rows of one value, and up to 4e-5 for
// longer rows, whose sums are float.
//
// SIZE is `size` where the compiler may know it, and 0 where it may not.
template <long SIZE>
void normalize(
    const float *x, const float *gamma, const float *beta, float *y, float *mean, float *var,
    const float *moving_mean, const float *moving_var, float *moved, double momentum,
    double *work, long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    double count = images * size;
    const double *totals = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &sums, double &squares) {
            const float *row = x + (n * channels + c) * size;
            float sum = 0, centered_squares = 0;
            for (long j = 0; j < size; j++) sum += row[j];
            float row_mean = sum / size;
            for (long j = 0; j < size; j++)
                centered_squares += (row[j] - row_mean) * (row[j] - row_mean);
            sums += sum;
            squares += centered_squares + (double)sum * sum / size;
        });
    float *scale = (float *)work;  // the parts are no longer needed
    for (long c = 0; c < channels; c++) {
        double m = totals[c] / count, v = totals[channels + c] / count - m * m;
        mean[c] = m;
        var[c] = v < 0 ? 0 : v;  // written so that not-a-number stays not-a-number
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

// Writes y, normalized by given statistics.
static void normalize_by(
    const float *x, const float *gamma, const float *beta, const float *mean, const float *var,
    float *y, long images, long channels, long size, double eps, int threads) {
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++)
        for (long c = 0; c < channels; c++) {
            const float *in = x + (n * channels + c) * size;
            float *out = y + (n * channels + c) * size, m = mean[c], shift = beta ? beta[c] : 0;
            float scale = (gamma ? gamma[c] : 1) / __builtin_sqrt(var[c] + eps);
            for (long j = 0; j < size; j++) out[j] = (in[j] - m) * scale + shift;
        }
}

// Writes the gradients, from g, the gradient of y. With m values per channel:
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
    const double *totals = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &sums, double &products) {
            const float *row = x + (n * channels + c) * size;
            const float *g_row = g + (n * channels + c) * size;
            float sum = 0, product = 0, m = mean[c];
            for (long j = 0; j < size; j++) sum += g_row[j];
            for (long j = 0; j < size; j++) product += g_row[j] * (row[j] - m);
            sums += sum;
            products += product;
        });
    // dx = scale * (g - g_mean - (x - mean) * slope)
    float *scale = (float *)work, *g_mean = scale + channels, *slope = g_mean + channels;
    for (long c = 0; c < channels; c++) {
        double inv_std = 1 / __builtin_sqrt(var[c] + eps);
        d_beta[c] = totals[c];
        d_gamma[c] = totals[channels + c] * inv_std;
        scale[c] = (gamma ? gamma[c] : 1) * inv_std;
        g_mean[c] = d_beta[c] / count;
        slope[c] = d_gamma[c] * inv_std / count;
    }
    IN_PARALLEL(threads)
    for (long n = 0; n < images; n++) {
        const float *in = x + n * channels * size, *g_in = g + n * channels * size;
        float *__restrict out = dx + n * channels * size;
        for (long c = 0; c < channels; c++)
            for (long j = c * size; j < (c + 1) * size; j++)
                out[j] = scale[c] * (g_in[j] - g_mean[c] - (in[j] - mean[c]) * slope[c]);
    }
}
