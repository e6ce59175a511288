// From rows, one for each image, as PyTorch stores them, to groups, and back.
#pragma once
#include "lanes.h"

// The first halves of two vectors, or the second ones, with their elements in turns.
template <bool SECOND, int... J>
INLINE Lanes in_turns(Lanes a, Lanes b, std::integer_sequence<int, J...>) {
    return shuffle<SECOND * LANES / 2 + J / 2 + J % 2 * LANES...>(a, b);
}

// The elements of even positions of two vectors, or with ODD those of odd ones: what `in_turns` undoes.
template <int ODD, int... J>
INLINE Lanes every_second(Lanes a, Lanes b, std::integer_sequence<int, J...>) {
    return shuffle<2 * J + ODD...>(a, b);
}

// Exchange rows and columns of a square. Each round moves the highest bit of an element's row to
// the lowest of its column, and that of the column to the row. After log2(LANES) rounds, all bits
// are exchanged.
INLINE void transpose(Lanes (&square)[LANES]) {
    UNROLL for (int round = 1; round < LANES; round *= 2) {
        Lanes next[LANES];
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = in_turns<false>(square[i], square[i + LANES / 2], EVERY_LANE);
            next[2 * i + 1] = in_turns<true>(square[i], square[i + LANES / 2], EVERY_LANE);
        }
        UNROLL for (int i = 0; i < LANES; i++) square[i] = next[i];
    }
}

// rows: `images` rows of `size` values, `stride` apart. group: (size, LANES); lanes that have no
// image become 0.
NOINLINE void to_group(const float *rows, long stride, int images, int size, float *group) {
    const int whole = size / LANES * LANES;
    for (int j = 0; j < whole; j += LANES) {
        Lanes square[LANES];
        UNROLL for (int i = 0; i < LANES; i++)
            square[i] = i < images ? load(rows + i * stride + j) : Lanes{};
        transpose(square);
        UNROLL for (int i = 0; i < LANES; i++) store(group + (j + i) * LANES, square[i]);
    }
    for (int j = whole; j < size; j++)
        for (int i = 0; i < LANES; i++)
            group[j * LANES + i] = i < images ? rows[i * stride + j] : 0;
}

NOINLINE void from_group(const float *group, int images, int size, float *rows, long stride) {
    const int whole = size / LANES * LANES;
    for (int j = 0; j < whole; j += LANES) {
        Lanes square[LANES];
        UNROLL for (int i = 0; i < LANES; i++) square[i] = load(group + (j + i) * LANES);
        transpose(square);
        UNROLL for (int i = 0; i < LANES; i++)
            if (i < images) store(rows + i * stride + j, square[i]);
    }
    for (int j = whole; j < size; j++)
        for (int i = 0; i < images; i++) rows[i * stride + j] = group[j * LANES + i];
}
