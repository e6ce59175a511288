// The activations, with their derivatives.
#pragma once
#include "exponential.h"
#include "lanes.h"

struct Sigmoid {
    static Lanes value(Lanes x) { return 1.0f / (1.0f + exponential(-x)); }
    static Lanes derivative(Lanes x) {
        Lanes s = value(x);
        return s * (1 - s);
    }
};

// Not-a-number stays not-a-number, and has the derivative 1, as in PyTorch.
struct Relu {
    static Lanes value(Lanes x) { return x <= 0 ? Lanes{} : x; }
    static Lanes derivative(Lanes x) { return x <= 0 ? Lanes{} : Lanes{} + 1; }
};

struct Identity {
    static Lanes value(Lanes x) { return x; }
    static Lanes derivative(Lanes) { return Lanes{} + 1; }
};
