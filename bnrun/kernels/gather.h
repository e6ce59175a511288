// The images of a batch, as floats.
#pragma once
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
