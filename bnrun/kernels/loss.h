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

// The same for a group: logits: (CLASSES, LANES). Writes the gradients, of the mean over `images`;
// returns the sum of the losses of those that the group has, and counts those of them whose largest
// logit is the label's. (Where a logit is not-a-number the loss is, too, and the count means nothing.)
// Lanes without an image get a gradient of 0.
struct GroupLoss {
    double sum;
    int correct;
};

template <int CLASSES>
GroupLoss group_cross_entropy(
    const float *logits, const long *labels, float *d_logits, int count, long images) {
    Lanes largest = load(logits), total = {}, e[CLASSES];
    IntLanes best = {};
    for (int k = 1; k < CLASSES; k++) {
        Lanes logit = load(logits + k * LANES);
        IntLanes is_larger = logit > largest;
        largest = is_larger ? logit : largest;
        best = is_larger ? IntLanes{} + k : best;
    }
    for (int k = 0; k < CLASSES; k++) {
        e[k] = exponential(load(logits + k * LANES) - largest);
        total += e[k];
    }
    for (int k = 0; k < CLASSES; k++) store(d_logits + k * LANES, e[k] / (total * (float)images));
    GroupLoss loss = {};
    for (int i = 0; i < count; i++) {
        long label = labels[i];
        bool is_class = 0 <= label && label < CLASSES;
        float logit = is_class ? logits[label * LANES + i] : __builtin_nanf("");
        loss.sum += __builtin_log(total[i]) + largest[i] - logit;
        loss.correct += best[i] == label;
        if (is_class) d_logits[label * LANES + i] -= 1.0f / images;
    }
    for (int k = 0; k < CLASSES; k++)
        for (int i = count; i < LANES; i++) d_logits[k * LANES + i] = 0;
    return loss;
}
