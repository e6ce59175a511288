// Batch normalization by the batch's own statistics, with its gradients (Ioffe & Szegedy 2015,
// Algorithm 1 and section 3), and by given statistics (Algorithm 2).
// `bnrun/norms/reference.py` is the specification.
//
// First what both forms share, then the sums over a group, of which `lenet.h` makes its norms, then
// the layer for PyTorch's tensors. gamma and beta may be null, for 1 and 0.
#pragma once
#include "lanes.h"
#include "team.h"

// Two sums for each channel, in double, in PARTS that threads may add to at the same time.
//
// memory: (PARTS + 1, 2, channels). Its last part is for the totals.
struct Sums {
    double *memory;
    long channels;

    double *first(int part) const { return memory + 2 * part * channels; }
    double *second(int part) const { return first(part) + channels; }

    void clear(int part) const {
        for (long c = 0; c < 2 * channels; c++) first(part)[c] = 0;
    }

    const double *total() const {
        double *totals = first(PARTS);
        for (long c = 0; c < 2 * channels; c++) {
            totals[c] = 0;
            for (int part = 0; part < PARTS; part++) totals[c] += first(part)[c];
        }
        return totals;
    }
};

// The sums of a batch are those of x, and of (x - m)^2 + m^2 with m the mean of a row: all positions
// of one channel in one image. A row's values, and their squares about m, are summed in float. Rows
// are combined in double: variance = sum(x^2) / count - mean^2. Where a row is one value, as after a
// fully connected layer, that is E[x^2] - E[x]^2 in double. The squares are then exact, since the
// square of a float fits into a double, and only the difference loses digits.
//
// Measured relative error of the variance over 64 to 256 images: below 1e-6 up to a mean of 100
// standard deviations. At a mean of 10,000 of them, 1e-7 for rows of one value, and up to 4e-5 for
// longer rows, whose sums are float.
//
// Writes each channel's mean and biased variance, and the new values of the moving statistics that
// are not null.
NOINLINE void take_statistics(
    Sums sums, double count, float *mean, float *var, const float *moving_mean,
    const float *moving_var, float *moved_mean, float *moved_var, double momentum) {
    const double *totals = sums.total();
    for (long c = 0; c < sums.channels; c++) {
        double m = totals[c] / count, v = totals[sums.channels + c] / count - m * m;
        mean[c] = m;
        var[c] = v < 0 ? 0 : v;  // written so that not-a-number stays not-a-number
        double unbiased = var[c] * count / (count - 1);
        if (moving_mean) moved_mean[c] = (1 - momentum) * moving_mean[c] + momentum * mean[c];
        if (moving_var) moved_var[c] = (1 - momentum) * moving_var[c] + momentum * unbiased;
    }
}

// The gradients, from g, the gradient of y. With m values per channel:
//
//   d_beta  = sum(g)
//   d_gamma = sum(g * (x - mean)) * inv_std                      inv_std = 1 / sqrt(var + eps)
//   dx      = gamma * inv_std * (g - d_beta / m - (x - mean) * inv_std * d_gamma / m)
//
// and for one channel dx = scale * (g - g_mean - (x - mean) * slope).
struct InputGradient {
    float mean, scale, g_mean, slope;

    template <typename Value> Value operator()(Value g, Value x) const {
        return (g - g_mean - (x - mean) * slope) * scale;
    }
};

// Writes d_gamma and d_beta, where they are not null, from the sums of g and of g * (x - mean).
NOINLINE void take_gradients(
    Sums sums, double count, const float *gamma, const float *mean, const float *var, double eps,
    float *d_gamma, float *d_beta, InputGradient *d_input) {
    const double *totals = sums.total();
    for (long c = 0; c < sums.channels; c++) {
        double inv_std = 1 / __builtin_sqrt(var[c] + eps);
        float beta_gradient = totals[c], gamma_gradient = totals[sums.channels + c] * inv_std;
        if (d_beta) d_beta[c] = beta_gradient;
        if (d_gamma) d_gamma[c] = gamma_gradient;
        d_input[c].mean = mean[c];
        d_input[c].scale = (gamma ? gamma[c] : 1) * inv_std;
        d_input[c].g_mean = beta_gradient / count;
        d_input[c].slope = gamma_gradient * inv_std / count;
    }
}

// The sum of values, in four sums at a time: an addition takes four cycles.
template <typename Value> INLINE Lanes sum_of(long count, Value value) {
    Lanes sums[4] = {};
    long j = 0;
    for (; j + 4 <= count; j += 4)
        UNROLL for (int k = 0; k < 4; k++) sums[k] += value(j + k);
    for (; j < count; j++) sums[0] += value(j);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// Adds the sums of a group's images to those of a part. x: (channels, size, LANES).
NOINLINE void add_group(Sums sums, int part, const float *x, long size, int images) {
    for (long c = 0; c < sums.channels; c++, x += size * LANES) {
        float values[LANES], squares[LANES];
        Lanes sum = sum_of(size, [=](long j) { return load(x + j * LANES); });
        Lanes mean = sum / (float)size;
        store(values, sum);
        store(squares, sum_of(size, [=](long j) {
            Lanes centered = load(x + j * LANES) - mean;
            return centered * centered;
        }));
        double first = 0, second = 0;
        for (int i = 0; i < LANES; i++) {
            double value = i < images ? values[i] : 0;
            first += value;
            second += (i < images ? squares[i] : 0) + value * value / size;
        }
        sums.first(part)[c] += first;
        sums.second(part)[c] += second;
    }
}

// Adds two sums of one channel over the images of a group. In lanes without an image they are 0.
INLINE void add_channel(Sums sums, int part, long c, Lanes first, Lanes second) {
    sums.first(part)[c] += sum(first);
    sums.second(part)[c] += sum(second);
}

// The layer. x is (images, channels, size), where `size` is the number of positions of a channel:
// its pixels after a convolution, and 1 after a fully connected layer.

// Calls `add_row(n, c, first, second)` for every row; it adds to the two sums of its channel.
template <typename AddRow>
INLINE Sums sum_rows(double *work, long images, long channels, int threads, AddRow add_row) {
    Sums sums = {work, channels};
    in_parallel(PARTS, threads, [=](long part) {
        sums.clear(part);
        double *__restrict first = sums.first(part), *__restrict second = sums.second(part);
        Part range(part, images);
        for (long n = range.first; n < range.last; n++)
            for (long c = 0; c < channels; c++) add_row(n, c, first[c], second[c]);
    });
    return sums;
}

// Writes y, normalized by given statistics.
//
// SIZE is `size` where the compiler may know it, and 0 where it may not. A size of 1, after a fully
// connected layer, is compiled apart: channels are then the inner loop.
template <long SIZE>
void normalize_by(
    const float *x, const float *gamma, const float *beta, const float *mean, const float *var,
    float *y, double *work, long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    float *scale = (float *)work;
    for (long c = 0; c < channels; c++)
        scale[c] = (gamma ? gamma[c] : 1) / __builtin_sqrt(var[c] + eps);
    in_parallel(images, threads, [=](long n) {
        const float *in = x + n * channels * size;
        float *__restrict out = y + n * channels * size;
        for (long c = 0; c < channels; c++) {
            float shift = beta ? beta[c] : 0;
            for (long j = c * size; j < (c + 1) * size; j++)
                out[j] = (in[j] - mean[c]) * scale[c] + shift;
        }
    });
}

// Writes y, each channel's mean and biased variance, and where the moving statistics are not null
// their new values, moved: (2, channels), the mean's and the variance's.
//
// SIZE is `size` where the compiler may know it, and 0 where it may not.
template <long SIZE>
void normalize(
    const float *x, const float *gamma, const float *beta, float *y, float *mean, float *var,
    const float *moving_mean, const float *moving_var, float *moved, double momentum,
    double *work, long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    Sums sums = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &values, double &squares) {
            const float *row = x + (n * channels + c) * size;
            float sum = 0, centered_squares = 0;
            for (long j = 0; j < size; j++) sum += row[j];
            float row_mean = sum / size;
            for (long j = 0; j < size; j++)
                centered_squares += (row[j] - row_mean) * (row[j] - row_mean);
            values += sum;
            squares += centered_squares + (double)sum * sum / size;
        });
    take_statistics(
        sums, images * size, mean, var, moving_mean, moving_var, moved, moved + channels, momentum);
    normalize_by<SIZE>(
        x, gamma, beta, mean, var, y, work, images, channels, size, eps, threads);
}

// Writes the gradients.
template <long SIZE>
void normalize_gradient(
    const float *x, const float *gamma, const float *mean, const float *var, const float *g,
    float *dx, float *d_gamma, float *d_beta, double *work,
    long images, long channels, long any_size, double eps, int threads) {
    const long size = SIZE ? SIZE : any_size;
    Sums sums = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &slopes, double &products) {
            const float *row = x + (n * channels + c) * size;
            const float *g_row = g + (n * channels + c) * size;
            float sum = 0, product = 0, m = mean[c];
            for (long j = 0; j < size; j++) sum += g_row[j];
            for (long j = 0; j < size; j++) product += g_row[j] * (row[j] - m);
            slopes += sum;
            products += product;
        });
    InputGradient *d_input = (InputGradient *)work;  // the parts are no longer needed
    take_gradients(sums, images * size, gamma, mean, var, eps, d_gamma, d_beta, d_input);
    in_parallel(images, threads, [=](long n) {
        const float *in = x + n * channels * size, *g_in = g + n * channels * size;
        float *__restrict out = dx + n * channels * size;
        for (long c = 0; c < channels; c++)
            for (long j = c * size; j < (c + 1) * size; j++) out[j] = d_input[c](g_in[j], in[j]);
    });
}

// Calls `body(piece, work, threads)` for batches that lie one after the other, each normalized by
// itself. One batch is shared by all threads; of several, each thread has some.
//
// work: that of `Sums` for each thread; there are no more than pieces, and no more than PARTS.
template <typename Body>
INLINE void in_pieces(long pieces, long channels, double *work, int threads, Body body) {
    if (pieces == 1) return body(0, work, threads);
    in_team(pieces < threads ? (int)pieces : threads, [=](int thread, int team) {
        double *own_work = work + thread * (PARTS + 1) * 2 * channels;
        for (long piece = pieces * thread / team; piece < pieces * (thread + 1) / team; piece++)
            body(piece, own_work, 1);
    });
}

// Where a piece's vector lies; null where there is none.
INLINE const float *offset(const float *vector, long count) {
    return vector ? vector + count : nullptr;
}

// The sum over a row of `value(x)`, in double.
template <typename Value> INLINE double sum_of_row(const float *row, long size, Value value) {
    constexpr int COUNT = LANES / 2;
    Doubles sums[2] = {};
    long j = 0;
    for (; j + 2 * COUNT <= size; j += 2 * COUNT)
        UNROLL for (int k = 0; k < 2; k++) sums[k] += value(load_doubles(row + j + k * COUNT));
    double total = 0;
    for (int k = 0; k < COUNT; k++) total += sums[0][k] + sums[1][k];
    for (; j < size; j++) total += value((double)row[j]);
    return total;
}

// Writes each channel's mean, and its sum of squares about that mean, all in double: for statistics
// of a population, of any norm that keeps moving ones.
static void channel_statistics(
    const float *x, double *mean, double *squares, double *work, long images, long channels,
    long size, int threads) {
    const double *totals = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &values, double &) {
            const float *row = x + (n * channels + c) * size;
            values += sum_of_row(row, size, [](auto value) { return value; });
        }).total();
    for (long c = 0; c < channels; c++) mean[c] = totals[c] / ((double)images * size);
    totals = sum_rows(
        work, images, channels, threads, [=](long n, long c, double &values, double &) {
            const float *row = x + (n * channels + c) * size;
            double m = mean[c];
            values += sum_of_row(row, size, [=](auto x) { return (x - m) * (x - m); });
        }).total();
    for (long c = 0; c < channels; c++) squares[c] = totals[c];
}
