// The vector type of the kernels, and the order of the images in it.
//
// A vector is as wide as the machine's registers, and no wider: the compiler turns operations on a
// wider one into scalar code. (With vectors of 64 bytes on a machine with AVX2, a whole training
// was a third slower.) Its elements are called lanes.
//
// A *group* is as many images as a vector has lanes. Its values are stored with the image last, so
// that one vector holds one value of every image: the same pixel, or the same feature. Every
// formula is then written for one image, with vectors in place of numbers, and no size of LeNet
// needs to be a multiple of LANES. In the last group of a batch, lanes may be left over.
#pragma once
#include <utility>

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

typedef float Lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int IntLanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

// Half as many numbers, in double.
typedef double Doubles __attribute__((vector_size(4 * LANES)));
typedef float HalfLanes __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

// Whether a block of some twenty sums fits into the registers, beside what is added to them.
constexpr bool MANY_REGISTERS = REGISTERS >= 32;

// Sums over a batch are computed in this many parts, which are then added in order. Threads share
// the parts, so the result is the same to the bit for any number of threads.
constexpr int PARTS = 16;

#define EXPORT extern "C"
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

INLINE Lanes load(const float *from) { return *(const Lanes *)from; }
INLINE Doubles load_doubles(const float *from) {
    return __builtin_convertvector(*(const HalfLanes *)from, Doubles);
}
INLINE void store(float *to, Lanes value) { *(Lanes *)to = value; }
INLINE Lanes broadcast(float value) { return Lanes{} + value; }

// The elements J of two vectors one after the other. `__builtin_shufflevector` is clang's, and GCC has
// it from version 12 on.
template <int... J> INLINE Lanes shuffle(Lanes a, Lanes b) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, J...);
#else
    return __builtin_shuffle(a, b, IntLanes{J...});
#endif
}

constexpr std::make_integer_sequence<int, LANES> EVERY_LANE;

template <int DISTANCE, int... J>
INLINE Lanes rotate(Lanes v, std::integer_sequence<int, J...>) {
    return shuffle<(J + DISTANCE) % LANES...>(v, v);
}

INLINE float sum(Lanes v) {
    if constexpr (LANES > 8) v += rotate<8 % LANES>(v, EVERY_LANE);
    if constexpr (LANES > 4) v += rotate<4 % LANES>(v, EVERY_LANE);
    v += rotate<2>(v, EVERY_LANE);
    v += rotate<1>(v, EVERY_LANE);
    return v[0];
}

// The groups of a batch, of which the last may have fewer images.
INLINE long groups_of(long images) { return (images + LANES - 1) / LANES; }
INLINE int images_in(long group, long images) {
    return images - group * LANES < LANES ? images - group * LANES : LANES;
}

// What one part of a batch has: from `first` up to `last`, which is not included.
struct Part {
    long first, last;
    Part(int part, long count) : first(count * part / PARTS), last(count * (part + 1) / PARTS) {}
};
