// The images of a batch, as floats.
#pragma once
#include "lanes.h"

// batch[n] = images[index[n]] / 255, for images of `pixels` bytes: torchvision's ToTensor.
static void gather_batch(
    const unsigned char *images, const long *index, float *batch, long count, long pixels,
    int threads) {
    IN_PARALLEL(threads)
    for (long n = 0; n < count; n++) {
        const unsigned char *image = images + index[n] * pixels;
        for (long j = 0; j < pixels; j++) batch[n * pixels + j] = image[j] / 255.0f;
    }
}
