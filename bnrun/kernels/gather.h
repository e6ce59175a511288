// The images of a batch, as floats.
#pragma once
#include "groups.h"
#include "team.h"

// batch[n] = images[index[n]] / 255, for images of `pixels` bytes: torchvision's ToTensor.
static void gather_batch(
    const unsigned char *images, const long *index, float *batch, long count, long pixels,
    int threads) {
    in_parallel(count, threads, [=](long n) {
        const unsigned char *image = images + index[n] * pixels;
        for (long j = 0; j < pixels; j++) batch[n * pixels + j] = image[j] / 255.0f;
    });
}

// The same for one group of `count` images. group: (PIXELS, LANES).
template <int PIXELS>
void gather_group(const unsigned char *images, const long *index, int count, float *group) {
    float rows[LANES * PIXELS];
    for (int i = 0; i < count; i++) {
        const unsigned char *image = images + index[i] * PIXELS;
        for (int j = 0; j < PIXELS; j++) rows[i * PIXELS + j] = image[j] / 255.0f;
    }
    to_group(rows, PIXELS, count, PIXELS, group);
}
