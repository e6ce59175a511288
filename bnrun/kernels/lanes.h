// The vector type of the kernels, eight floats, and how a batch is divided among threads.
//
// The compiler turns `a * b + c` of such vectors into one instruction where the processor has one
// (AVX; NEON in two halves), and into scalar code where it has none.
#pragma once

typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int IntLanes __attribute__((vector_size(32), may_alias));

constexpr int LANES = 8;

// Sums over a batch are computed in this many parts, which are then added in order. Threads share
// the parts, so the result is the same to the bit for any number of threads.
constexpr int PARTS = 16;

#define EXPORT extern "C"
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define IN_PARALLEL(threads) _Pragma("omp parallel for num_threads(threads) schedule(static)")

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }
INLINE void store(float *to, Lanes value) { *(Lanes *)to = value; }
INLINE Lanes broadcast(float value) { return Lanes{} + value; }

INLINE float sum(Lanes v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// The images of one part: from `first` up to `last`, which is not included.
struct Part {
    long first, last;
    Part(int part, long images)
        : first(images * part / PARTS), last(images * (part + 1) / PARTS) {}
};
