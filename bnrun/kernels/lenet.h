// LeNet as a whole, with a batch norm or nothing before each activation: predictions, a forward pass
// for training, and its gradients, each in one call.
//
//   x -> conv1 -> y1 -> norm, activation, pooling -> p1 -> conv2 -> y2 -> norm, activation, pooling
//     -> p2 -> fc1 -> y3 -> norm, activation -> a3 -> fc2 -> y4 -> norm, activation -> a4 -> fc3
//
// The formulas are those of the other files, on groups of images. What this file adds is their
// order: a thread takes its groups as far as it can, that is from one norm to the next, whose
// statistics need all groups. What is element-wise is computed on the way, so conv1's output, the
// largest, crosses memory twice forward and twice backward; layer by layer it is eight times.
#pragma once
#include <time.h>

#include "batch_norm.h"
#include "convolution.h"
#include "linear.h"
#include "pooling.h"

using Conv1 = Convolution<1, 6, 28>;
using Conv2 = Convolution<6, 16, 12>;
using Linear1 = Linear<256, 120>;
using Linear2 = Linear<120, 84>;
using Linear3 = Linear<84, 10>;

constexpr int PLACES = 4, CLASSES = 10;
constexpr int CHANNELS[PLACES] = {6, 16, 120, 84}, POSITIONS[PLACES] = {24 * 24, 8 * 8, 1, 1};
constexpr int MOST_CHANNELS = 120;

// As Python passes them: a weight and a bias for each layer, then gamma and beta for each norm.
// Gradients have the same order. A place without a norm has null throughout.
struct Layer {
    float *weight, *bias;
};

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

// Which activation and which pooling: a choice at run time, at each of their places. (With all of
// LeNet a template of them, compiling took three times as long.)
struct Kind {
    bool is_relu, is_max;

    template <typename Work> void with(Work work) const {
        if (is_relu)
            is_max ? work(Relu{}, MaxPool<Relu>{}) : work(Relu{}, AveragePool<Relu>{});
        else
            is_max ? work(Sigmoid{}, MaxPool<Sigmoid>{}) : work(Sigmoid{}, AveragePool<Sigmoid>{});
    }
};

// One of the four norms, or none, which changes nothing.
struct Norm {
    long channels, positions;
    bool exists;
    const float *gamma, *beta;
    float *moving_mean, *moving_var;
    double momentum, eps;
    float *mean, *var;
    Affine *affine;  // of each channel
    InputGradient *d_input;

    void use(const float *used_mean, const float *used_var) {
        for (long c = 0; c < channels; c++)
            if (exists) {
                float scale = (gamma ? gamma[c] : 1) / __builtin_sqrt(used_var[c] + eps);
                affine[c] = {used_mean[c], scale, beta ? beta[c] : 0};
            } else
                affine[c] = UNCHANGED;
    }

    void finish(Sums sums, long images) {
        if (exists)
            take_statistics(
                sums, (double)images * positions, mean, var, moving_mean, moving_var, moving_mean,
                moving_var, momentum);
        use(mean, var);
    }

    void finish_gradient(Sums sums, long images, Layer gradient) {
        if (exists)
            take_gradients(
                sums, (double)images * positions, gamma, mean, var, eps, gradient.weight,
                gradient.bias, d_input);
    }

    // From the gradient of what the norm puts out to that of its input, in place, for one group.
    // Lanes that have no image become 0.
    void to_input_gradient(float *g, const float *y, int images) const {
        if (!exists) return;
        IntLanes lane;
        UNROLL for (int i = 0; i < LANES; i++) lane[i] = i;
        IntLanes has_image = lane < images;
        for (long c = 0; c < channels; c++) {
            InputGradient d = d_input[c];
            for (long j = c * positions; j < (c + 1) * positions; j++) {
                Lanes d_y = d(load(g + j * LANES), load(y + j * LANES));
                store(g + j * LANES, has_image ? d_y : Lanes{});
            }
        }
    }

    template <int SIZE> void pool_group(Kind kind, const float *y, float *pooled) const {
        kind.with([&](auto, auto pooling) {
            for (long c = 0; c < channels; c++)
                pool<SIZE, decltype(pooling)>(
                    y + c * positions * LANES, affine[c], pooled + c * positions / 4 * LANES);
        });
    }

    template <int SIZE>
    void pool_group_gradient(
        Kind kind, const float *y, const float *d_pooled, float *g, Sums sums, int part) const {
        kind.with([&](auto, auto pooling) {
            for (long c = 0; c < channels; c++) {
                auto [d, product] = pool_gradient<SIZE, decltype(pooling)>(
                    y + c * positions * LANES, affine[c], d_pooled + c * positions / 4 * LANES,
                    g + c * positions * LANES);
                add_channel(sums, part, c, d, product);
            }
        });
    }

    void activate(Kind kind, const float *y, float *a) const {
        kind.with([&](auto activation, auto) {
            for (long c = 0; c < channels; c++)
                store(a + c * LANES, activation.value(affine[c](load(y + c * LANES))));
        });
    }

    void activate_gradient(Kind kind, const float *y, float *g, Sums sums, int part) const {
        kind.with([&](auto activation, auto) {
            for (long c = 0; c < channels; c++) {
                Lanes value = load(y + c * LANES);
                Lanes d = load(g + c * LANES) * activation.derivative(affine[c](value));
                store(g + c * LANES, d);
                add_channel(sums, part, c, d, d * (value - affine[c].mean));
            }
        });
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

struct LeNet {
    Kind kind;
    Layer conv1, conv2, fc1, fc2, fc3;
    Norm norms[PLACES];
    long images, groups;
    int threads;
    Values x, y1, p1, y2, p2, y3, a3, y4, a4;

    // `norm_numbers` holds momentum and eps of each norm; a norm whose eps is negative is none.
    // `moving` may be null. There is memory for `kept_groups`; with `keeps_largest`, also for the
    // largest values of as many, up to the second convolution.
    LeNet(
        Kind kind, Layer *layers, Layer *moving, const double *norm_numbers, float *work,
        long images, long kept_groups, bool keeps_largest, int threads)
        : kind(kind), conv1(layers[0]), conv2(layers[1]), fc1(layers[2]), fc2(layers[3]), fc3(layers[4]),
          images(images), groups(groups_of(images)), threads(threads) {
        Memory memory = {work};
        for (int place = 0; place < PLACES; place++) {
            Layer affine = layers[5 + place];
            long channels = CHANNELS[place];
            norms[place] = {
                channels, POSITIONS[place], norm_numbers[2 * place + 1] >= 0, affine.weight,
                affine.bias, moving ? moving[place].weight : nullptr,
                moving ? moving[place].bias : nullptr, norm_numbers[2 * place],
                norm_numbers[2 * place + 1], memory.take<float>(channels),
                memory.take<float>(channels), memory.take<Affine>(channels),
                memory.take<InputGradient>(channels)};
        }
        auto values = [&](long per_image, bool are_kept = true) {
            long places = are_kept ? kept_groups : team_of(threads);
            return Values{memory.take<float>(places * per_image * LANES), per_image, are_kept};
        };
        x = values(Conv1::X, keeps_largest), y1 = values(Conv1::Y, keeps_largest);
        p1 = values(Conv2::X, keeps_largest), y2 = values(Conv2::Y);
        p2 = values(256), y3 = values(120), a3 = values(120), y4 = values(84), a4 = values(84);
    }

    int count(long group) const { return images_in(group, images); }

    // Adds up the statistics of a thread's groups: those of what `compute(group)` returns.
    template <typename Compute>
    void add_groups(Norm &norm, Sums sums, int thread, int team, Compute compute) const {
        for_parts(thread, team, [&](int part) {
            sums.clear(part);
            Part range(part, groups);
            for (long group = range.first; group < range.last; group++) {
                const float *y = compute(group);
                if (norm.exists) add_group(sums, part, y, norm.positions, count(group));
            }
        });
    }

    // The groups of a thread: from `first` up to `last`.
    Part groups_of_thread(int thread, int team) const {
        Part range(PARTS * thread / team, groups);
        range.last = Part(PARTS * (thread + 1) / team - 1, groups).last;
        return range;
    }

    // Its stages end where a norm's statistics are complete, and at the end.
    void forward(const float *rows, float *logits, double *seconds) {
        double memory[(PARTS + 1) * 2 * MOST_CHANNELS];
        Barrier barrier;
        Stopwatch watch(seconds);
        in_team(threads, [&](int thread, int team) {
            auto sums = [&](int place) { return Sums{memory, CHANNELS[place]}; };
            auto finish = [&](int place) {
                barrier.wait(team, [&] {
                    norms[place].finish(sums(place), images);
                    watch.end_stage();
                });
            };
            Part own = groups_of_thread(thread, team);
            long own_groups = own.last - own.first;
            Values x = this->x.of(thread), y1 = this->y1.of(thread), p1 = this->p1.of(thread);
            auto first_layer = [&](long group) {
                const float *from = rows + group * LANES * Conv1::X;
                to_group(from, Conv1::X, count(group), Conv1::X, x.at(group));
                Conv1::forward(x.at(group), conv1.weight, conv1.bias, y1.at(group));
                return y1.at(group);
            };

            add_groups(norms[0], sums(0), thread, team, first_layer);
            finish(0);
            add_groups(norms[1], sums(1), thread, team, [&](long group) {
                if (!y1.are_kept) first_layer(group);
                norms[0].pool_group<24>(kind, y1.at(group), p1.at(group));
                Conv2::forward(p1.at(group), conv2.weight, conv2.bias, y2.at(group));
                return y2.at(group);
            });
            finish(1);
            for (long group = own.first; group < own.last; group++)
                norms[1].pool_group<8>(kind, y2.at(group), p2.at(group));
            Linear1::forward(
                p2.at(own.first), fc1.weight, fc1.bias, y3.at(own.first), own_groups);
            add_groups(norms[2], sums(2), thread, team, [&](long group) { return y3.at(group); });
            finish(2);
            for (long group = own.first; group < own.last; group++)
                norms[2].activate(kind, y3.at(group), a3.at(group));
            Linear2::forward(
                a3.at(own.first), fc2.weight, fc2.bias, y4.at(own.first), own_groups);
            add_groups(norms[3], sums(3), thread, team, [&](long group) { return y4.at(group); });
            finish(3);
            for (long group = own.first; group < own.last; group++) {
                float out[CLASSES * LANES];
                norms[3].activate(kind, y4.at(group), a4.at(group));
                Linear3::forward(a4.at(group), fc3.weight, fc3.bias, out, 1);
                from_group(
                    out, count(group), CLASSES, logits + group * LANES * CLASSES, CLASSES);
            }
        });
        watch.end_stage();
    }

    // Writes mean and biased variance of each place, as `forward` has left them.
    void write_statistics(float *statistics) const {
        for (const Norm &norm : norms)
            for (const float *values : {norm.mean, norm.var})
                for (long c = 0; c < norm.channels; c++) *statistics++ = values[c];
    }

    // A thread predicts a few groups at a time, in memory that it uses again for the next.
    static constexpr long CHUNK = 4;

    void predict(const float *rows, float *logits) {
        for (Norm &norm : norms) norm.use(norm.moving_mean, norm.moving_var);
        in_team(threads, [&](int thread, int team) {
            Part own = groups_of_thread(thread, team);
            long slot = thread * CHUNK;
            float out[CHUNK * CLASSES * LANES];
            for (long first = own.first; first < own.last; first += CHUNK) {
                long chunk = own.last - first < CHUNK ? own.last - first : CHUNK;
                for (long j = 0; j < chunk; j++) {
                    const float *from = rows + (first + j) * LANES * Conv1::X;
                    to_group(from, Conv1::X, count(first + j), Conv1::X, x.at(slot));
                    Conv1::forward(x.at(slot), conv1.weight, conv1.bias, y1.at(slot));
                    norms[0].pool_group<24>(kind, y1.at(slot), p1.at(slot));
                    Conv2::forward(p1.at(slot), conv2.weight, conv2.bias, y2.at(slot));
                    norms[1].pool_group<8>(kind, y2.at(slot), p2.at(slot + j));
                }
                Linear1::forward(p2.at(slot), fc1.weight, fc1.bias, y3.at(slot), chunk);
                for (long j = slot; j < slot + chunk; j++)
                    norms[2].activate(kind, y3.at(j), a3.at(j));
                Linear2::forward(a3.at(slot), fc2.weight, fc2.bias, y4.at(slot), chunk);
                for (long j = slot; j < slot + chunk; j++)
                    norms[3].activate(kind, y4.at(j), a4.at(j));
                Linear3::forward(a4.at(slot), fc3.weight, fc3.bias, out, chunk);
                for (long j = 0; j < chunk; j++)
                    from_group(
                        out + j * CLASSES * LANES, count(first + j), CLASSES,
                        logits + (first + j) * LANES * CLASSES, CLASSES);
            }
        });
    }

    // What the gradients need besides what `forward` has kept.
    struct Gradients {
        Values y1, y2, y3, y4, logits;
        float *p2_rows, *a3_rows, *a4_rows;  // the inputs of linear layers, along rows
        float *conv1_parts, *conv2_parts;  // see `WeightSums`

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
        }
    };

    // The values of a group along rows, with zeros after them.
    template <typename Linear>
    void to_rows(Values values, long group, float *rows) const {
        float *first = rows + group * LANES * Linear::ROW;
        for (long j = 0; j < LANES * Linear::ROW; j++) first[j] = 0;
        from_group(values.at(group), count(group), values.per_image, first, Linear::ROW);
    }

    // A thread's share of a linear layer's outputs.
    template <typename Linear>
    void linear_weights(
        const float *rows, Values g, Layer gradient, int thread, int team) const {
        long blocks = g.per_image / Linear::ROWS;
        Linear::weight_gradient(
            rows, g.memory, gradient.weight, gradient.bias, images,
            blocks * thread / team * Linear::ROWS, blocks * (thread + 1) / team * Linear::ROWS);
    }

    // Its stages end where the sums of a norm's gradient are complete, and at the end.
    void gradient(const float *d_logits, Layer *gradients, float *work, double *seconds) {
        double memory[(PARTS + 1) * 2 * MOST_CHANNELS];
        Barrier barrier;
        Stopwatch watch(seconds);
        Gradients d(work, groups);
        in_team(threads, [&](int thread, int team) {
            auto sums = [&](int place) { return Sums{memory, CHANNELS[place]}; };
            auto finish = [&](int place) {
                barrier.wait(team, [&] {
                    norms[place].finish_gradient(sums(place), images, gradients[5 + place]);
                    watch.end_stage();
                });
            };
            Part own = groups_of_thread(thread, team);
            long own_groups = own.last - own.first;
            auto each_group = [&](auto compute) {
                for (long group = own.first; group < own.last; group++) compute(group);
            };
            // Adds up the groups of a thread for the norm of a place: `compute(group, part)`.
            auto each_part = [&](int place, auto compute) {
                for_parts(thread, team, [&](int part) {
                    sums(place).clear(part);
                    Part range(part, groups);
                    for (long group = range.first; group < range.last; group++)
                        compute(group, part);
                });
                finish(place);
            };

            each_group([&](long group) {
                const float *from = d_logits + group * LANES * CLASSES;
                to_group(from, CLASSES, count(group), CLASSES, d.logits.at(group));
                to_rows<Linear1>(p2, group, d.p2_rows);
                to_rows<Linear2>(a3, group, d.a3_rows);
                to_rows<Linear3>(a4, group, d.a4_rows);
            });
            Linear3::input_gradient(
                d.logits.at(own.first), fc3.weight, d.y4.at(own.first), own_groups);
            each_part(3, [&](long group, int part) {
                norms[3].activate_gradient(
                    kind, y4.at(group), d.y4.at(group), sums(3), part);
            });

            linear_weights<Linear3>(d.a4_rows, d.logits, gradients[4], thread, team);
            each_group([&](long group) {
                norms[3].to_input_gradient(d.y4.at(group), y4.at(group), count(group));
            });
            Linear2::input_gradient(
                d.y4.at(own.first), fc2.weight, d.y3.at(own.first), own_groups);
            each_part(2, [&](long group, int part) {
                norms[2].activate_gradient(
                    kind, y3.at(group), d.y3.at(group), sums(2), part);
            });

            linear_weights<Linear2>(d.a3_rows, d.y4, gradients[3], thread, team);
            each_group([&](long group) {
                norms[2].to_input_gradient(d.y3.at(group), y3.at(group), count(group));
            });
            each_part(1, [&](long group, int part) {
                float d_p2[256 * LANES];
                Linear1::input_gradient(d.y3.at(group), fc1.weight, d_p2, 1);
                norms[1].pool_group_gradient<8>(
                    kind, y2.at(group), d_p2, d.y2.at(group), sums(1), part);
            });

            linear_weights<Linear1>(d.p2_rows, d.y3, gradients[2], thread, team);
            for_parts(thread, team, [&](int part) {
                Conv2::WeightSums weights;
                Part range(part, groups);
                sums(0).clear(part);
                for (long group = range.first; group < range.last; group++) {
                    float d_p1[Conv2::X * LANES];
                    norms[1].to_input_gradient(d.y2.at(group), y2.at(group), count(group));
                    weights.add(p1.at(group), d.y2.at(group));
                    Conv2::input_gradient(d.y2.at(group), conv2.weight, d_p1);
                    norms[0].pool_group_gradient<24>(
                        kind, y1.at(group), d_p1, d.y1.at(group), sums(0), part);
                }
                weights.over_lanes(d.conv2_parts, part);
            });
            finish(0);
            for_parts(thread, team, [&](int part) {
                Conv1::WeightSums weights;
                Part range(part, groups);
                for (long group = range.first; group < range.last; group++) {
                    norms[0].to_input_gradient(d.y1.at(group), y1.at(group), count(group));
                    weights.add(x.at(group), d.y1.at(group));
                }
                weights.over_lanes(d.conv1_parts, part);
            });
        });
        Conv1::WeightSums::add_parts(d.conv1_parts, gradients[0].weight, gradients[0].bias);
        Conv2::WeightSums::add_parts(d.conv2_parts, gradients[1].weight, gradients[1].bias);
        watch.end_stage();
    }
};
