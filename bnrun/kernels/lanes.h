// Eight floats as one value: `a * b + c` is one instruction for all eight lanes where the machine
// has one (AVX, NEON in two halves), and correct where it has not.
#pragma once

typedef float Lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef int IntLanes __attribute__((vector_size(32), may_alias));

constexpr int LANES = 8;

// Sums over a batch are taken in this many parts, which the threads share, and then added in
// order: so the result is the same to the bit for any number of threads.
constexpr int PARTS = 16;

#define EXPORT extern "C"
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32")
#define IN_PARALLEL(threads) _Pragma("omp parallel for num_threads(threads) schedule(static)")

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }
INLINE void store(float *to, Lanes value) { *(Lanes *)to = value; }
INLINE Lanes all(float value) { return Lanes{} + value; }

INLINE float sum(Lanes v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

// The images of a part: from `first` up to `last`.
struct Part {
    long first, last;
    Part(int part, long images)
        : first(images * part / PARTS), last(images * (part + 1) / PARTS) {}
};
