// What this library was compiled for, so that a benchmark can say so: widest vectors first.
#pragma once
#include "lanes.h"

EXPORT const char *kernel_features() {
    return
#if defined(__AVX512F__)
        "AVX-512"
#elif defined(__AVX2__)
        "AVX2"
#elif defined(__AVX__)
        "AVX"
#elif defined(__SSE4_2__)
        "SSE4.2"
#elif defined(__SSE2__)
        "SSE2"
#elif defined(__ARM_FEATURE_SVE)
        "SVE"
#elif defined(__ARM_NEON)
        "NEON"
#else
        "no vectors"
#endif
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
        ",FMA"
#endif
        ;
}

EXPORT const char *kernel_compiler() {
#ifdef __clang__
    return "Clang " __clang_version__;
#else
    return "GCC " __VERSION__;
#endif
}
