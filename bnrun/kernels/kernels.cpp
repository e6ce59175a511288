// The functions that Python calls: the kernels for the sizes that LeNet has, under C names.
//
// The last argument of each is the number of threads. `dispatch.py` declares the same signatures.
#include "gather.h"
#include "batch_norm.h"
#include "convolution.h"
#include "build_info.h"
#include "lenet.h"
#include "loss.h"
#include "pooling.h"

#define CONVOLUTION(name, TYPE)                                                                    \
    EXPORT void name(                                                                              \
        const float *x, const float *w, const float *b, float *y, long images, int threads) {      \
        convolve<TYPE>(x, w, b, y, images, threads);                                               \
    }                                                                                              \
    EXPORT void name##_gradient(                                                                   \
        const float *x, const float *w, const float *g, float *dx, float *dw, float *db,           \
        float *work, long images, int threads) {                                                   \
        convolve_gradient<TYPE>(x, w, g, dx, dw, db, work, images, threads);                       \
    }

CONVOLUTION(convolve_1_6_28, Conv1)
CONVOLUTION(convolve_6_16_12, Conv2)

#define POOLING(name, SIZE, POOL)                                                                  \
    EXPORT void name##_##SIZE(const float *x, float *y, long planes, int threads) {                \
        pool_planes<SIZE, POOL>(x, y, planes, threads);                                            \
    }                                                                                              \
    EXPORT void name##_##SIZE##_gradient(                                                          \
        const float *x, const float *g, float *dx, long planes, int threads) {                     \
        pool_planes_gradient<SIZE, POOL>(x, g, dx, planes, threads);                               \
    }

POOLING(sigmoid_average_pool, 24, AveragePool<Sigmoid>)
POOLING(sigmoid_average_pool, 8, AveragePool<Sigmoid>)
POOLING(max_pool, 24, MaxPool<Identity>)
POOLING(max_pool, 8, MaxPool<Identity>)

// Two calls, and not one through a pointer: the compiler then inlines both.
// `images` are those of a piece, and vectors are of (pieces, channels): see `in_pieces`.
EXPORT void batch_norm(
    const float *x, const float *gamma, const float *beta, float *y, float *mean, float *var,
    const float *moving_mean, const float *moving_var, float *moved, double momentum,
    double *work, long pieces, long images, long channels, long size, double eps, int threads) {
    in_pieces(pieces, channels, work, threads, [=](long piece, double *own_work, int team) {
        long at = piece * channels, start = at * images * size;
        if (size == 1)
            normalize<1>(
                x + start, offset(gamma, at), offset(beta, at), y + start, mean + at, var + at,
                offset(moving_mean, at), offset(moving_var, at), moved + 2 * at, momentum,
                own_work, images, channels, size, eps, team);
        else
            normalize<0>(
                x + start, offset(gamma, at), offset(beta, at), y + start, mean + at, var + at,
                offset(moving_mean, at), offset(moving_var, at), moved + 2 * at, momentum,
                own_work, images, channels, size, eps, team);
    });
}

EXPORT void batch_norm_gradient(
    const float *x, const float *gamma, const float *mean, const float *var, const float *g,
    float *dx, float *d_gamma, float *d_beta, double *work,
    long pieces, long images, long channels, long size, double eps, int threads) {
    in_pieces(pieces, channels, work, threads, [=](long piece, double *own_work, int team) {
        long at = piece * channels, start = at * images * size;
        if (size == 1)
            normalize_gradient<1>(
                x + start, offset(gamma, at), mean + at, var + at, g + start,
                dx + start, d_gamma + at, d_beta + at, own_work,
                images, channels, size, eps, team);
        else
            normalize_gradient<0>(
                x + start, offset(gamma, at), mean + at, var + at, g + start,
                dx + start, d_gamma + at, d_beta + at, own_work,
                images, channels, size, eps, team);
    });
}

EXPORT void batch_norm_evaluation(
    const float *x, const float *gamma, const float *beta, const float *mean, const float *var,
    float *y, double *work, long images, long channels, long size, double eps, int threads) {
    if (size == 1)
        normalize_by<1>(
            x, gamma, beta, mean, var, y, work, images, channels, size, eps, threads);
    else
        normalize_by<0>(
            x, gamma, beta, mean, var, y, work, images, channels, size, eps, threads);
}

EXPORT void batch_statistics(
    const float *x, double *mean, double *squares, double *work, long images, long channels,
    long size, int threads) {
    channel_statistics(x, mean, squares, work, images, channels, size, threads);
}

// LeNet as a whole; see `lenet.h`.
EXPORT void lenet(
    int is_relu, int is_max, const float *x, Layer *layers, Layer *moving, const double *norms,
    float *work, float *logits, double *seconds, long images, int threads) {
    Kind kind = {!!is_relu, !!is_max};
    LeNet(kind, layers, moving, norms, work, images, groups_of(images), true, threads)
        .forward(x, logits, seconds);
}

EXPORT void lenet_gradient(
    int is_relu, int is_max, const float *d_logits, Layer *layers, const double *norms, float *work,
    float *gradient_work, Layer *gradients, double *seconds, long images, int threads) {
    Kind kind = {!!is_relu, !!is_max};
    LeNet(kind, layers, nullptr, norms, work, images, groups_of(images), true, threads)
        .gradient(d_logits, gradients, gradient_work, seconds);
}

EXPORT void lenet_prediction(
    int is_relu, int is_max, const float *x, Layer *layers, Layer *moving, const double *norms,
    float *work, float *logits, long images, int threads) {
    long kept_groups = team_of(threads) * LeNet::CHUNK;
    Kind kind = {!!is_relu, !!is_max};
    LeNet(kind, layers, moving, norms, work, images, kept_groups, true, threads)
        .predict(x, logits);
}

EXPORT void lenet_step(
    int is_relu, int is_max, const unsigned char *pixels, const long *labels, const long *index,
    Layer *layers, Layer *moving, const double *norms, Layer *gradients, Layer *velocities,
    double lr, double momentum, double weight_decay, int is_nesterov, float *work,
    float *gradient_work, float *loss, float *correct, double *seconds, long images, int threads) {
    Kind kind = {!!is_relu, !!is_max};
    Sgd sgd = {(float)lr, (float)momentum, (float)weight_decay, !!is_nesterov};
    LeNet(kind, layers, moving, norms, work, images, groups_of(images), true, threads)
        .step(
            pixels, labels, index, gradients, velocities, sgd, gradient_work, loss, correct,
            seconds);
}

EXPORT void lenet_population(
    int is_relu, int is_max, const float *x, Layer *layers, const double *norms, float *work,
    float *logits, float *statistics, long images, int threads) {
    Kind kind = {!!is_relu, !!is_max};
    LeNet network(kind, layers, nullptr, norms, work, images, groups_of(images), false, threads);
    network.forward(x, logits, nullptr);
    network.write_statistics(statistics);
}

EXPORT void gather(
    const unsigned char *images, const long *index, float *batch, long count, long pixels,
    int threads) {
    gather_batch(images, index, batch, count, pixels, threads);
}

EXPORT void softmax_cross_entropy(
    const float *logits, const long *labels, float *loss, float *d_logits, long images,
    long classes, int) {
    cross_entropy(logits, labels, loss, d_logits, images, classes);
}
