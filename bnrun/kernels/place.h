// What stands between two layers of a network: a batch norm or nothing, an activation, and pooling
// after a convolution. On groups, forward and backward.
#pragma once
#include "batch_norm.h"
#include "pooling.h"

// Pointers as Python passes them: a weight and a bias of a layer, or gamma and beta of a norm, or its
// moving statistics; or the gradients of these. Null where there is none.
struct Layer {
    float *weight, *bias;
};

// Which activation and which pooling: chosen at run time, at each place. (With all of LeNet a template
// of them, compiling took 40 % longer.)
struct Kind {
    bool is_relu, is_max;

    template <typename Work> void with(Work work) const {
        if (is_relu)
            is_max ? work(Relu{}, MaxPool<Relu>{}) : work(Relu{}, AveragePool<Relu>{});
        else
            is_max ? work(Sigmoid{}, MaxPool<Sigmoid>{}) : work(Sigmoid{}, AveragePool<Sigmoid>{});
    }
};

// One of LeNet's four places. Without a norm, what comes in is not changed.
struct Place {
    long channels, positions;
    bool has_norm;
    const float *gamma, *beta;
    float *moving_mean, *moving_var;
    double momentum, eps;
    float *mean, *var;
    Affine *affine;  // of each channel
    InputGradient *d_input;

    // Normalizes by these statistics from now on.
    void use(const float *used_mean, const float *used_var) {
        for (long c = 0; c < channels; c++)
            if (has_norm) {
                float scale = (gamma ? gamma[c] : 1) / __builtin_sqrt(used_var[c] + eps);
                affine[c] = {used_mean[c], scale, beta ? beta[c] : 0};
            } else
                affine[c] = UNCHANGED;
    }

    // Normalizes from now on by the statistics of the batch, and moves the moving ones.
    void use_batch(Sums sums, long images) {
        if (has_norm)
            take_statistics(
                sums, (double)images * positions, mean, var, moving_mean, moving_var, moving_mean,
                moving_var, momentum);
        use(mean, var);
    }

    // Writes the gradients of gamma and beta, and knows from now on that of its input.
    void take_gradient(Sums sums, long images, Layer gradient) {
        if (has_norm)
            take_gradients(
                sums, (double)images * positions, gamma, mean, var, eps, gradient.weight,
                gradient.bias, d_input);
    }

    void add_statistics(Sums sums, int part, const float *y, int images) const {
        if (has_norm) add_group(sums, part, y, positions, images);
    }

    // From the gradient of what the norm puts out to that of its input, in place, for one group.
    // Lanes that have no image become 0.
    void to_input_gradient(float *g, const float *y, int images) const {
        if (!has_norm) return;
        IntLanes lane;
        UNROLL for (int i = 0; i < LANES; i++) lane[i] = i;
        IntLanes has_image = lane < images;
        for (long c = 0; c < channels; c++) {
            InputGradient d = d_input[c];
            for (long j = c * positions; j < (c + 1) * positions; j++) {
                Lanes d_y = d(load(g + j * LANES), load(y + j * LANES));
                store(g + j * LANES, has_image ? d_y : Lanes{});
            }
        }
    }

    template <int SIZE> void pool_group(Kind kind, const float *y, float *pooled) const {
        kind.with([&](auto, auto pooling) {
            for (long c = 0; c < channels; c++)
                pool<SIZE, decltype(pooling)>(
                    y + c * positions * LANES, affine[c], pooled + c * positions / 4 * LANES);
        });
    }

    template <int SIZE>
    void pool_group_gradient(
        Kind kind, const float *y, const float *d_pooled, float *g, Sums sums, int part) const {
        kind.with([&](auto, auto pooling) {
            for (long c = 0; c < channels; c++) {
                auto [d, product] = pool_gradient<SIZE, decltype(pooling)>(
                    y + c * positions * LANES, affine[c], d_pooled + c * positions / 4 * LANES,
                    g + c * positions * LANES);
                add_channel(sums, part, c, d, product);
            }
        });
    }

    void activate(Kind kind, const float *y, float *a) const {
        kind.with([&](auto activation, auto) {
            for (long c = 0; c < channels; c++)
                store(a + c * LANES, activation.value(affine[c](load(y + c * LANES))));
        });
    }

    void activate_gradient(Kind kind, const float *y, float *g, Sums sums, int part) const {
        kind.with([&](auto activation, auto) {
            for (long c = 0; c < channels; c++) {
                Lanes value = load(y + c * LANES);
                Lanes d = load(g + c * LANES) * activation.derivative(affine[c](value));
                store(g + c * LANES, d);
                add_channel(sums, part, c, d, d * (value - affine[c].mean));
            }
        });
    }
};

