// Stochastic gradient descent with momentum and an L2 penalty: `bnrun/training/optimizer.py` has the
// formula, and is the specification.
#pragma once
#include "lanes.h"

struct Sgd {
    float lr, momentum, weight_decay;
    bool is_nesterov;

    // Updates the values from `first` up to `last`. Without a velocity, which may be null, there is
    // no momentum.
    void update(float *p, const float *g, float *velocity, long first, long last) const {
        long j = first;
        for (; j + LANES <= last; j += LANES) {
            Lanes step = load(g + j) + weight_decay * load(p + j);
            if (velocity) {
                Lanes moved = momentum * load(velocity + j) + step;
                store(velocity + j, moved);
                step = is_nesterov ? step + momentum * moved : moved;
            }
            store(p + j, load(p + j) - lr * step);
        }
        for (; j < last; j++) {
            float step = g[j] + weight_decay * p[j];
            if (velocity) {
                velocity[j] = momentum * velocity[j] + step;
                step = is_nesterov ? step + momentum * velocity[j] : velocity[j];
            }
            p[j] -= lr * step;
        }
    }
};
