// The mean cross entropy of a softmax, with its gradient.
#pragma once
#include "exponential.h"
#include "lanes.h"

constexpr int MAX_CLASSES = 16;

//   loss       = mean over images of  log(sum over k of e^logit[k]) - logit[label]
//   d_logit[k] = (e^logit[k] / sum - [k = label]) / images
//
// logits, d_logits: (images, classes), labels: (images). A label that is no class makes the loss
// not-a-number. One thread computes it: a batch has few logits.
static void cross_entropy(
    const float *logits, const long *labels, float *loss, float *d_logits, long images,
    long classes) {
    double total = 0;
    for (long n = 0; n < images; n++) {
        const float *logit = logits + n * classes;
        float largest = logit[0], sum = 0, e[MAX_CLASSES];
        for (long k = 1; k < classes; k++) largest = logit[k] > largest ? logit[k] : largest;
        for (long k = 0; k < MAX_CLASSES; k++) e[k] = k < classes ? logit[k] - largest : 0;
        for (long k = 0; k < MAX_CLASSES; k += LANES) store(e + k, exponential(load(e + k)));
        for (long k = 0; k < classes; k++) sum += e[k];
        for (long k = 0; k < classes; k++)
            d_logits[n * classes + k] = (e[k] / sum - (k == labels[n])) / images;
        bool is_class = 0 <= labels[n] && labels[n] < classes;
        total += __builtin_log(sum) + largest - (is_class ? logit[labels[n]] : __builtin_nanf(""));
    }
    *loss = total / images;
}
