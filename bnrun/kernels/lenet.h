// LeNet as a whole: a step of training; or a forward pass for training, its gradients, and
// predictions by themselves. Each is one call.
//
//   x -> conv1 -> y1 -> norm, activation, pooling -> p1
//     -> conv2 -> y2 -> norm, activation, pooling -> p2
//     -> fc1   -> y3 -> norm, activation          -> a3
//     -> fc2   -> y4 -> norm, activation          -> a4 -> fc3 -> logits
//
// The formulas are those of the other files, on groups of images. What this file adds is their
// order: a thread takes its groups as far as it can, which is from one norm to the next, whose
// statistics need all groups. What is element-wise is computed on the way. So y1, the largest,
// crosses memory twice forward and three times backward; layer by layer it is eight times in all.
//
// A step of the same kernels layer by layer takes 2.1 times as long (`.readme/one_call.py`: middle
// half 2.0 to 2.2, two cores of an AMD EPYC, batch 256).
#pragma once
#include <time.h>

#include "convolution.h"
#include "gather.h"
#include "linear.h"
#include "loss.h"
#include "place.h"
#include "sgd.h"

using Conv1 = Convolution<1, 6, 28>;
using Conv2 = Convolution<6, 16, 12>;
using Linear1 = Linear<256, 120>;
using Linear2 = Linear<120, 84>;
using Linear3 = Linear<84, 10>;

constexpr int LAYERS = 5, PLACES = 4, CLASSES = 10;
constexpr int CHANNELS[PLACES] = {6, 16, 120, 84}, POSITIONS[PLACES] = {24 * 24, 8 * 8, 1, 1};
// Of the parameters, as Python passes them: of the layers, then of the norms.
constexpr long WEIGHTS[LAYERS + PLACES] = {Conv1::WEIGHTS, Conv2::WEIGHTS, Linear1::WEIGHTS,
                                           Linear2::WEIGHTS, Linear3::WEIGHTS, 6, 16, 120, 84};
constexpr long BIASES[LAYERS + PLACES] = {6, 16, 120, 84, CLASSES, 6, 16, 120, 84};
constexpr int SUMS = (PARTS + 1) * 2 * 120;

// Writes how many seconds each stage of a pass took, where somebody asks: `seconds` may be null.
class Stopwatch {
    double *seconds, last;

    static double now() {
        timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec + 1e-9 * time.tv_nsec;
    }

  public:
    explicit Stopwatch(double *seconds) : seconds(seconds), last(now()) {}

    void end_stage() {
        double time = now();
        if (seconds) *seconds++ = time - last;
        last = time;
    }
};

// Hands out pieces of a tensor's memory, each at the start of a vector.
struct Memory {
    float *next;

    template <typename Value> Value *take(long count) {
        Value *piece = (Value *)next;
        next += (count * (long)sizeof(Value) / 4 + 15) / 16 * 16;
        return piece;
    }
};

// Values of every image, such as the output of a layer: `at` is where those of a group are. Where
// they are not kept, a thread has memory for one group, and uses it again for the next.
struct Values {
    float *memory;
    long per_image;
    bool are_kept;

    float *at(long group) const { return memory + group * are_kept * per_image * LANES; }
    Values of(int thread) const {
        return are_kept ? *this : Values{memory + thread * per_image * LANES, per_image, false};
    }
};

// The groups that one thread of a team computes.
struct Share {
    int thread, team;
    long groups, first, last;

    Share(int thread, int team, long groups)
        : thread(thread), team(team), groups(groups),
          first(Part(PARTS * thread / team, groups).first),
          last(Part(PARTS * (thread + 1) / team - 1, groups).last) {}

    template <typename Compute> void each_group(Compute compute) const {
        for (long group = first; group < last; group++) compute(group);
    }

    // Calls `compute(group, part)`, which adds to the sums of that part.
    template <typename Compute> void each_part(Sums sums, Compute compute) const {
        for_parts(thread, team, [&](int part) {
            Part range(part, groups);
            sums.clear(part);
            for (long group = range.first; group < range.last; group++) compute(group, part);
        });
    }

    // Adds up the gradients of a convolution's weights: `add(weights, group)` adds those of a group.
    template <typename Convolution, typename Add> void each_weight_sum(float *parts, Add add) const {
        for_parts(thread, team, [&](int part) {
            typename Convolution::WeightSums weights;
            Part range(part, groups);
            for (long group = range.first; group < range.last; group++) add(weights, group, part);
            weights.over_lanes(parts, part);
        });
    }
};

struct LeNet {
    Kind kind;
    Layer *layers, conv1, conv2, fc1, fc2, fc3;
    Place places[PLACES];
    long images, groups;
    int threads;
    Values x, y1, p1, y2, p2, y3, a3, y4, a4;

    // `layers` are the five layers, then the affine parameters of the four norms; `moving`, their
    // moving statistics, may be null. `norm_numbers` holds momentum and eps of each norm; a negative
    // eps stands for none. There is memory for `kept_groups`, and with `keeps_largest` also for as
    // many groups' values up to the second convolution.
    LeNet(
        Kind kind, Layer *layers, Layer *moving, const double *norm_numbers, float *work,
        long images, long kept_groups, bool keeps_largest, int threads)
        : kind(kind), layers(layers), conv1(layers[0]), conv2(layers[1]), fc1(layers[2]), fc2(layers[3]),
          fc3(layers[4]), images(images), groups(groups_of(images)), threads(threads) {
        Memory memory = {work};
        for (int j = 0; j < PLACES; j++) {
            Layer affine = layers[LAYERS + j], moved = moving ? moving[j] : Layer{};
            double momentum = norm_numbers[2 * j], eps = norm_numbers[2 * j + 1];
            long channels = CHANNELS[j];
            places[j] = {
                channels, POSITIONS[j], eps >= 0, affine.weight, affine.bias, moved.weight,
                moved.bias, momentum, eps, memory.take<float>(channels),
                memory.take<float>(channels), memory.take<Affine>(channels),
                memory.take<InputGradient>(channels)};
        }
        auto values = [&](long per_image, bool are_kept = true) {
            long kept = are_kept ? kept_groups : team_of(threads);
            return Values{memory.take<float>(kept * per_image * LANES), per_image, are_kept};
        };
        x = values(Conv1::X, keeps_largest), y1 = values(Conv1::Y, keeps_largest);
        p1 = values(Conv2::X, keeps_largest), y2 = values(Conv2::Y);
        p2 = values(256), y3 = values(120), a3 = values(120), y4 = values(84), a4 = values(84);
    }

    int count(long group) const { return images_in(group, images); }

    // What the threads of a team share in a pass. A stage ends where the sums of a place are complete,
    // and at the end of a pass.
    struct Pass {
        double memory[SUMS];
        Barrier barrier;
        Stopwatch watch;

        explicit Pass(double *seconds) : watch(seconds) {}
        Sums sums(int j) { return {memory, CHANNELS[j]}; }
    };

    // A thread's share of a forward pass, which normalizes by the batch. `read(group, x)` writes the
    // images of a group, and `take(group, logits)` gets its logits.
    template <typename Read, typename Take>
    void forward_share(Pass &pass, const Share &share, Read read, Take take) {
        long first = share.first, own = share.last - first;
        Values x = this->x.of(share.thread), y1 = this->y1.of(share.thread);
        Values p1 = this->p1.of(share.thread);
        auto first_layer = [&](long group) {
            read(group, x.at(group));
            Conv1::forward(x.at(group), conv1.weight, conv1.bias, y1.at(group));
        };
        // `compute(group)` returns the input of a place.
        auto until = [&](int j, auto compute) {
            Sums sums = pass.sums(j);
            share.each_part(sums, [&](long group, int part) {
                places[j].add_statistics(sums, part, compute(group), count(group));
            });
            pass.barrier.wait(share.team, [&] {
                places[j].use_batch(sums, images);
                pass.watch.end_stage();
            });
        };

        until(0, [&](long group) {
            first_layer(group);
            return y1.at(group);
        });
        until(1, [&](long group) {
            if (!y1.are_kept) first_layer(group);
            places[0].pool_group<24>(kind, y1.at(group), p1.at(group));
            Conv2::forward(p1.at(group), conv2.weight, conv2.bias, y2.at(group));
            return y2.at(group);
        });
        share.each_group(
            [&](long group) { places[1].pool_group<8>(kind, y2.at(group), p2.at(group)); });
        Linear1::forward(p2.at(first), fc1.weight, fc1.bias, y3.at(first), own);
        until(2, [&](long group) { return y3.at(group); });
        share.each_group(
            [&](long group) { places[2].activate(kind, y3.at(group), a3.at(group)); });
        Linear2::forward(a3.at(first), fc2.weight, fc2.bias, y4.at(first), own);
        until(3, [&](long group) { return y4.at(group); });
        share.each_group([&](long group) {
            float logits[CLASSES * LANES];
            places[3].activate(kind, y4.at(group), a4.at(group));
            Linear3::forward(a4.at(group), fc3.weight, fc3.bias, logits, 1);
            take(group, logits);
        });
    }

    void read_rows(const float *rows, long group, float *x_group) const {
        to_group(rows + group * LANES * Conv1::X, Conv1::X, count(group), Conv1::X, x_group);
    }

    void write_logits(const float *group_logits, long group, float *logits) const {
        float *rows = logits + group * LANES * CLASSES;
        from_group(group_logits, count(group), CLASSES, rows, CLASSES);
    }

    // rows: (images, 28, 28), logits: (images, CLASSES).
    void forward(const float *rows, float *logits, double *seconds) {
        Pass pass(seconds);
        in_team(threads, [&](int thread, int team) {
            auto read = [&](long group, float *x_group) { read_rows(rows, group, x_group); };
            auto take = [&](long group, const float *out) { write_logits(out, group, logits); };
            forward_share(pass, Share(thread, team, groups), read, take);
        });
        pass.watch.end_stage();
    }

    // Writes mean and biased variance of each place, as `forward` has left them.
    void write_statistics(float *statistics) const {
        for (const Place &place : places)
            for (const float *values : {place.mean, place.var})
                for (long c = 0; c < place.channels; c++) *statistics++ = values[c];
    }

    // A thread predicts a few groups at a time, in memory that it uses again for the next: the
    // linear layers are faster with several. Normalizes by the moving statistics.
    static constexpr long CHUNK = 4;

    void predict(const float *rows, float *logits) {
        for (Place &place : places) place.use(place.moving_mean, place.moving_var);
        in_team(threads, [&](int thread, int team) {
            Share share(thread, team, groups);
            long slot = thread * CHUNK;
            float out[CHUNK * CLASSES * LANES];
            for (long first = share.first; first < share.last; first += CHUNK) {
                long chunk = share.last - first < CHUNK ? share.last - first : CHUNK;
                for (long j = 0; j < chunk; j++) {
                    read_rows(rows, first + j, x.at(slot));
                    Conv1::forward(x.at(slot), conv1.weight, conv1.bias, y1.at(slot));
                    places[0].pool_group<24>(kind, y1.at(slot), p1.at(slot));
                    Conv2::forward(p1.at(slot), conv2.weight, conv2.bias, y2.at(slot));
                    places[1].pool_group<8>(kind, y2.at(slot), p2.at(slot + j));
                }
                Linear1::forward(p2.at(slot), fc1.weight, fc1.bias, y3.at(slot), chunk);
                for (long j = slot; j < slot + chunk; j++)
                    places[2].activate(kind, y3.at(j), a3.at(j));
                Linear2::forward(a3.at(slot), fc2.weight, fc2.bias, y4.at(slot), chunk);
                for (long j = slot; j < slot + chunk; j++)
                    places[3].activate(kind, y4.at(j), a4.at(j));
                Linear3::forward(a4.at(slot), fc3.weight, fc3.bias, out, chunk);
                for (long j = 0; j < chunk; j++)
                    write_logits(out + j * CLASSES * LANES, first + j, logits);
            }
        });
    }

    // What the gradients need besides what `forward` has kept. Each is the gradient of the value of
    // that name: first of a place's output, then of its input.
    struct Gradients {
        Values y1, y2, y3, y4, logits;
        float *p2_rows, *a3_rows, *a4_rows;  // values of linear layers' inputs, along rows
        float *conv1_parts, *conv2_parts;    // see `WeightSums`
        GroupLoss *losses;

        Gradients(float *work, long groups) {
            Memory memory = {work};
            auto values = [&](long per_image) {
                return Values{memory.take<float>(groups * per_image * LANES), per_image, true};
            };
            y1 = values(Conv1::Y), y2 = values(Conv2::Y), y3 = values(120), y4 = values(84);
            logits = values(CLASSES);
            p2_rows = memory.take<float>(groups * LANES * Linear1::ROW);
            a3_rows = memory.take<float>(groups * LANES * Linear2::ROW);
            a4_rows = memory.take<float>(groups * LANES * Linear3::ROW);
            conv1_parts = memory.take<float>(PARTS * Conv1::WeightSums::COUNT);
            conv2_parts = memory.take<float>(PARTS * Conv2::WeightSums::COUNT);
            losses = memory.take<GroupLoss>(groups);
        }
    };

    // Writes the values of a group along rows, with zeros after them.
    template <typename Linear> void to_rows(Values values, long group, float *rows) const {
        float *first = rows + group * LANES * Linear::ROW;
        for (long j = 0; j < LANES * Linear::ROW; j++) first[j] = 0;
        from_group(values.at(group), count(group), values.per_image, first, Linear::ROW);
    }

    // Writes the gradients of a thread's share of a linear layer's outputs, over all images.
    template <typename Linear>
    void linear_weights(const float *rows, Values g, Layer gradient, int thread, int team) const {
        long blocks = g.per_image / Linear::ROWS;
        Linear::weight_gradient(
            rows, g.memory, gradient.weight, gradient.bias, images,
            blocks * thread / team * Linear::ROWS, blocks * (thread + 1) / team * Linear::ROWS);
    }

    // A thread's share of the gradients, in the order of the constructor's `layers`. Those of the
    // logits are in `d` before. A linear layer's weights wait until the next place's sums are
    // complete: they need the gradients of all images.
    void gradient_share(Pass &pass, const Share &share, Gradients &d, Layer *gradients) {
        long first = share.first, own = share.last - first;
        int thread = share.thread, team = share.team;
        auto sums = [&](int j) { return pass.sums(j); };
        auto finish = [&](int j) {
            pass.barrier.wait(team, [&] {
                places[j].take_gradient(sums(j), images, gradients[LAYERS + j]);
                pass.watch.end_stage();
            });
        };
        auto through_activation = [&](int j, Values y, Values g) {
            share.each_part(sums(j), [&](long group, int part) {
                places[j].activate_gradient(kind, y.at(group), g.at(group), sums(j), part);
            });
            finish(j);
        };
        auto through_norm = [&](int j, Values y, Values g, long group) {
            places[j].to_input_gradient(g.at(group), y.at(group), count(group));
        };

        share.each_group([&](long group) {
            to_rows<Linear1>(p2, group, d.p2_rows);
            to_rows<Linear2>(a3, group, d.a3_rows);
            to_rows<Linear3>(a4, group, d.a4_rows);
        });
        Linear3::input_gradient(d.logits.at(first), fc3.weight, d.y4.at(first), own);
        through_activation(3, y4, d.y4);

        linear_weights<Linear3>(d.a4_rows, d.logits, gradients[4], thread, team);
        share.each_group([&](long group) { through_norm(3, y4, d.y4, group); });
        Linear2::input_gradient(d.y4.at(first), fc2.weight, d.y3.at(first), own);
        through_activation(2, y3, d.y3);

        linear_weights<Linear2>(d.a3_rows, d.y4, gradients[3], thread, team);
        share.each_part(sums(1), [&](long group, int part) {
            float d_p2[256 * LANES];
            through_norm(2, y3, d.y3, group);
            Linear1::input_gradient(d.y3.at(group), fc1.weight, d_p2, 1);
            places[1].pool_group_gradient<8>(
                kind, y2.at(group), d_p2, d.y2.at(group), sums(1), part);
        });
        finish(1);

        linear_weights<Linear1>(d.p2_rows, d.y3, gradients[2], thread, team);
        for_parts(thread, team, [&](int part) { sums(0).clear(part); });
        share.each_weight_sum<Conv2>(d.conv2_parts, [&](auto &weights, long group, int part) {
            float d_p1[Conv2::X * LANES];
            through_norm(1, y2, d.y2, group);
            weights.add(p1.at(group), d.y2.at(group));
            Conv2::input_gradient(d.y2.at(group), conv2.weight, d_p1);
            places[0].pool_group_gradient<24>(
                kind, y1.at(group), d_p1, d.y1.at(group), sums(0), part);
        });
        finish(0);

        share.each_weight_sum<Conv1>(d.conv1_parts, [&](auto &weights, long group, int) {
            through_norm(0, y1, d.y1, group);
            weights.add(x.at(group), d.y1.at(group));
        });
        pass.barrier.wait(team, [&] {
            Conv1::WeightSums::add_parts(d.conv1_parts, gradients[0].weight, gradients[0].bias);
            Conv2::WeightSums::add_parts(d.conv2_parts, gradients[1].weight, gradients[1].bias);
            pass.watch.end_stage();
        });
    }

    // d_logits: (images, CLASSES).
    void gradient(const float *d_logits, Layer *gradients, float *work, double *seconds) {
        Pass pass(seconds);
        Gradients d(work, groups);
        in_team(threads, [&](int thread, int team) {
            Share share(thread, team, groups);
            share.each_group([&](long group) {
                const float *rows = d_logits + group * LANES * CLASSES;
                to_group(rows, CLASSES, count(group), CLASSES, d.logits.at(group));
            });
            gradient_share(pass, share, d, gradients);
        });
    }

    // All of a training step: on images[index[n]] and labels[index[n]], for every n of the batch.
    // Writes the mean loss and the count of right answers, and updates the parameters.
    void step(
        const unsigned char *pixels, const long *labels, const long *index, Layer *gradients,
        Layer *velocities, Sgd sgd, float *work, float *loss, float *correct, double *seconds) {
        Pass pass(seconds);
        Gradients d(work, groups);
        in_team(threads, [&](int thread, int team) {
            Share share(thread, team, groups);
            auto read = [&](long group, float *x_group) {
                gather_group<Conv1::X>(pixels, index + group * LANES, count(group), x_group);
            };
            auto take = [&](long group, const float *logits) {
                long own_labels[LANES];
                for (int i = 0; i < count(group); i++)
                    own_labels[i] = labels[index[group * LANES + i]];
                d.losses[group] = group_cross_entropy<CLASSES>(
                    logits, own_labels, d.logits.at(group), count(group), images);
            };
            forward_share(pass, share, read, take);
            pass.barrier.wait(team, [&] { pass.watch.end_stage(); });
            gradient_share(pass, share, d, gradients);
            update_share(share, gradients, velocities, sgd);
        });
        GroupLoss total = {};
        for (long group = 0; group < groups; group++) {
            total.sum += d.losses[group].sum;
            total.correct += d.losses[group].correct;
        }
        *loss = total.sum / images, *correct = total.correct;
        pass.watch.end_stage();
    }

    void update_share(
        const Share &share, const Layer *gradients, const Layer *velocities, Sgd sgd) const {
        auto update = [&](float *values, const float *g, float *velocity, long size) {
            long first = size * share.thread / share.team;
            long last = size * (share.thread + 1) / share.team;
            if (values) sgd.update(values, g, velocity, first, last);
        };
        for (int j = 0; j < LAYERS + PLACES; j++) {
            const Layer &g = gradients[j], &velocity = velocities[j];
            update(layers[j].weight, g.weight, velocity.weight, WEIGHTS[j]);
            update(layers[j].bias, g.bias, velocity.bias, BIASES[j]);
        }
    }
};
