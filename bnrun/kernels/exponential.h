// The exponential function of a vector.
#pragma once
#include "lanes.h"

// e^x, to some 5 units in the last place, or 70 where multiply-add is not fused.
//
// e^x = 2^n * e^r with |r| <= ln(2) / 2. 2^n is assembled from its exponent bits; e^r is a
// polynomial with the coefficients of Cephes' `expf`.
INLINE Lanes exponential(Lanes x) {
    x = x < -87.0f ? Lanes{} - 87.0f : x;
    x = x > 88.0f ? Lanes{} + 88.0f : x;
    // The conversion truncates. For a sum that is never negative, adding .5 first makes it round.
    IntLanes power = __builtin_convertvector(x * 1.44269504f + 128.5f, IntLanes) - 128;
    Lanes r = x - __builtin_convertvector(power, Lanes) * 0.693147181f;
    const float coefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                  4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
    Lanes series = {};
    UNROLL for (float coefficient : coefficients) series = series * r + coefficient;
    return (series * r * r + r + 1.0f) * (Lanes)((power + 127) << 23);
}
