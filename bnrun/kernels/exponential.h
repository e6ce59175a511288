// The exponential function of sixteen floats at once.
#pragma once
#include "lanes.h"

// Twice the width of Lanes: the polynomial's many constants are then loaded half as often.
typedef float Wide __attribute__((vector_size(64), aligned(4), may_alias));
typedef int WideInt __attribute__((vector_size(64), may_alias));

constexpr int WIDE_LANES = 16;

// e^x, to some 5 units in the last place, or 70 where multiply-add is not fused.
//
// e^x = 2^n * e^r with |r| <= ln(2) / 2. 2^n is assembled from its exponent bits; e^r is a
// polynomial with the coefficients of Cephes' `expf`.
INLINE Wide exponential(Wide x) {
    x = x < -87.0f ? Wide{} - 87.0f : x;
    x = x > 88.0f ? Wide{} + 88.0f : x;
    // The conversion truncates. For a sum that is never negative, adding .5 first makes it round.
    WideInt power = __builtin_convertvector(x * 1.44269504f + 128.5f, WideInt) - 128;
    Wide r = x - __builtin_convertvector(power, Wide) * 0.693147181f;
    const float coefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    Wide series = {};
    UNROLL for (float coefficient : coefficients) series = series * r + coefficient;
    return (series * r * r + r + 1.0f) * (Wide)((power + 127) << 23);
}
