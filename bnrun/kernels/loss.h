// The two ends of a step: the batch that it begins with, and the loss that it ends with.
#pragma once
#include "lanes.h"
#include "pooling.h"

// Look up images of `pixels` unsigned bytes, and scale them to [0, 1] as torchvision does.
static void gather(
    const unsigned char *images, const long *index, float *batch, long count, long pixels,
    int threads) {
    IN_PARALLEL(threads)
    for (long n = 0; n < count; n++) {
        const unsigned char *from = images + index[n] * pixels;
        for (long j = 0; j < pixels; j++) batch[n * pixels + j] = from[j] / 255.0f;
    }
}

constexpr int MOST_CLASSES = 16;

// The mean cross entropy of softmax, and its gradient:
//
//   loss       = mean over images of  log(sum over k of e^logit[k]) - logit[label]
//   d_logit[k] = (e^logit[k] / sum - [k = label]) / images
static void cross_entropy(
    const float *logits, const long *labels, float *loss, float *d_logits, long images,
    long classes) {
    double total = 0;
    for (long n = 0; n < images; n++) {
        const float *logit = logits + n * classes;
        float largest = logit[0], sum = 0, e[MOST_CLASSES];
        for (long k = 1; k < classes; k++) largest = logit[k] > largest ? logit[k] : largest;
        for (long k = 0; k < MOST_CLASSES; k++) e[k] = k < classes ? logit[k] - largest : 0;
        *(Wide *)e = exponential(*(Wide *)e);
        for (long k = 0; k < classes; k++) sum += e[k];
        for (long k = 0; k < classes; k++)
            d_logits[n * classes + k] = (e[k] / sum - (k == labels[n])) / images;
        total += __builtin_log(sum) + largest - logit[labels[n]];
    }
    *loss = total / images;
}
