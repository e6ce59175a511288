"""Study `predict`: which statistics predictions should use."""

import itertools
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bnrun.comparison.comparison_events import Trial
from bnrun.config import Config
from bnrun.studies.claim import Claim, Evidence, Part, Sample, Source, gathered
from bnrun.studies.rules import Definition, Direction, Equivalence, Law
from bnrun.studies.sources import IOFFE, NOTES, SUMMERS, WU_JOHNSON
from bnrun.studies.study import Budget, Measured, Study, Work
from bnrun.studies.trainings import Laboratory, Summaries, points_of_epochs, trial

if TYPE_CHECKING:
    from bnrun.data.dataset import Dataset
    from bnrun.studies.predictions import Predictions

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 4, "standard": 10, "thorough": 10}

RATES = (1.0, 0.1)
"""The learning rates: the notes' own, and a small one."""
AVERAGED = 3
"""Last epochs whose weights are averaged."""

SHADOW: Mapping[str, Any] = {"training__probe": ["shadow"], "training__probe_every": 235}
"""What the trainings at the notes' own rate carry along."""
PIECE = 4
"""Images that are normalized together in S6's other training."""
PIECE_EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 1, "thorough": 3}

SMALLER_ERROR, HIGHER_ACCURACY = "1/k has the smaller error", "1/k predicts better"
PIECES_GAIN, WHOLE_SAME = f"pieces of {PIECE}: a gain", "batches of 256: the same"

WU = Source(WU_JOHNSON, "section 3, as summarized", "summary")
TRAINING = (
    f"LeNet, norm scratch, Fashion-MNIST, plain SGD at rate 1.0, {EPOCHS['standard']} epochs "
    f"({EPOCHS['quick']} where the budget is quick)"
)
HERE = f"{TRAINING}, after the last epoch"

CLAIMS = (
    Claim(
        "S1",
        "stale",
        "A test accuracy that jumps from epoch to epoch does so because moving statistics lag.",
        (
            Source("keras issues 10666, 3366 and 7265; pytorch issue 4741; tensorflow issue 15727",
                   "reports of the jumps", "read"),
        ),
        "share of the mean square change from epoch to epoch that population statistics remove",
        (Part("share", Direction(0.5), "supported"),),
        "high",
        f"{TRAINING}; test accuracy after each epoch",
    ),
    Claim(
        "S2",
        "precise",
        "Statistics of 1,000 training images suffice, and predict better than moving ones.",
        (WU,),
        "difference of test accuracies",
        (
            Part("1,000 less 60,000 images", Equivalence(0.002), "supported"),
            Part("population less moving, rate 1.0", Direction(0.0), "supported"),
            Part("population less moving, rate 0.1", Direction(0.0), "contradicted"),
        ),
        "high",
        f"{HERE}; and at rate 0.1; population statistics of 10,000 images where not said",
    ),
    Claim(
        "S3",
        "tracker",
        "The moving mean should be the mean of all batches, a gain of 1/k: better than a constant "
        "gain of .1.",
        (Source(NOTES, "derivation", "read"),),
        "a number for each part: the RMS error of the moving means against population statistics, "
        "in deviations, of gain .1 less that of 1/k; the test accuracy of gain 1/k less that of .1",
        (
            Part(SMALLER_ERROR, Direction(0.0), "contradicted"),
            Part(HIGHER_ACCURACY, Direction(0.0), "contradicted"),
        ),
        "high",
        f"{TRAINING}: one training carries all averages; means over the last {AVERAGED} epochs; "
        "population statistics of 10,000 training images",
        "With weights that stay as they are, 1/k is right: so statistics are computed anew.",
    ),
    Claim(
        "S4",
        "test-set",
        "A prediction uses the mean and variance of the images that are predicted.",
        (Source(NOTES, "text", "read"), Source(IOFFE, "algorithm 2", "read")),
        "1 where a prediction depends on the images beside it",
        (Part("definition", Definition(), "contradicted"),),
        "high",
        f"{HERE}: one test image, predicted alone and beside 255 others",
        "Algorithm 2 of the paper predicts with statistics of training images.",
    ),
    Claim(
        "S5",
        "batch-of-test",
        "Predicting with the statistics of the test batch is as good, if the batch is large.",
        (
            Source("pytorch issue 4741; layumi/Person_reID issue 218", "reports", "read"),
        ),
        "test accuracy with population statistics less that with the batch's own",
        (
            Part("batches of 64", Equivalence(0.01), "supported"),
            Part("batches of 2 lose 10 points or more", Direction(0.1), "supported"),
        ),
        "high",
        f"{HERE}; population statistics of 10,000 training images",
        "The batches are the test images in the file's order, which mixes the classes: a batch of "
        "one class is another matter.",
    ),
    Claim(
        "S6",
        "own-example",
        "Predictions gain where the example's own mean and variance are mixed into the statistics.",
        (
            Source(SUMMERS, "inference example weighing, code", "read"),
            Source("Singh and Shrivastava 2019, EvalNorm", "abstract", "read",
                   "6.18 points more at batches of 2, by another correction"),
        ),
        "test accuracy with the own example mixed in less that without",
        (
            Part(PIECES_GAIN, Direction(0.0), "supported"),
            Part(WHOLE_SAME, Equivalence(0.002), "supported"),
        ),
        "low",
        f"{HERE}; and a training of one epoch ({PIECE_EPOCHS['thorough']} where the budget is "
        f"thorough) whose batches are normalized in pieces of {PIECE}; population statistics of "
        "10,000 training images; an example weighs what it weighed in training, 1/4 and 1/256",
        "The source chooses the weight by validation.",
    ),
    Claim(
        "S7",
        "average-weights",
        "Averaged weights need statistics of their own.",
        (
            Source("Izmailov et al. 2018, Averaging Weights Leads to Wider Optima",
                   "section 3.2, as summarized", "summary"),
            Source("facebookresearch/schedule_free, README", "advice on batch norm", "read"),
        ),
        "test accuracy with statistics of the averaged weights less that with those of the last "
        "epoch",
        (Part("difference", Direction(0.01), "supported"),),
        "high",
        f"{TRAINING}: the mean of the weights after the last {AVERAGED} epochs; statistics of "
        "10,000 training images",
    ),
    Claim(
        "S8",
        "eps",
        "Any eps will do, even 0: predictions stay the same.",
        (Source(NOTES, "text, which says: without eps, everything may be different", "read"),),
        "difference of test accuracies to eps = 1e-5, when predicting",
        (
            Part("eps 0", Equivalence(0.003), "supported"),
            Part("eps 1e-3", Equivalence(0.003), "supported"),
            Part("eps 1e-1", Equivalence(0.003), "contradicted"),
        ),
        "high",
        f"{HERE}; population statistics of 10,000 training images, float32",
        "In float16, and in channels that are always 0, eps = 0 makes a difference.",
    ),
    Claim(
        "S9",
        "batch-noise",
        "The noise that a batch brings to an example falls as one over the root of its size.",
        (
            Source("Teye, Azizpour and Smith 2018, Bayesian Uncertainty for Batch Normalized Nets",
                   "from memory", "memory"),
        ),
        "slope of log deviation of the logits against log batch size",
        (Part("slope", Law(-0.5), "supported"),),
        "high",
        f"{HERE}: the logits of 4 test images, each beside 100 random "
        "companies of 15 to 255 training images",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Train once, then predict in many ways, by the engine that is fast."""
    from bnrun.studies.own_training import with_fast_engine

    start = time.perf_counter()
    wanted = [claim for claim in CLAIMS if claim.id in ids and claim.id in MEASUREMENTS]
    trials = [one for seed in range(SEEDS[budget]) for one in _trials(budget, seed, ids)]
    summaries = yield from laboratory.train(trials)
    trained = time.perf_counter() - start
    if "S1" in ids:
        yield Measured("S1", _stale(budget, summaries), trained)
        trained = 0.0  # of trainings that the claims share
    if not wanted:
        return
    start = time.perf_counter()
    parts = {
        f"{wanted[0].id} to {wanted[-1].id}, seed {seed}": partial(
            with_fast_engine, _of_seed(budget, seed, laboratory, [one.id for one in wanted])
        )
        for seed in range(SEEDS[budget])
    }
    found = yield from laboratory.compute(trials[0].config.data, parts)
    seconds = trained + time.perf_counter() - start
    for claim in wanted:
        samples = [of_seed[claim.id] for of_seed in found]
        remark = _trackers(samples) if claim.id == "S3" else ""
        yield Measured(claim.id, gathered(claim, samples, remark), seconds)
        seconds = 0.0  # the claims look at the same networks


def _trials(budget: Budget, seed: int, ids: Collection[str]) -> Iterator[Trial]:
    """Yield the trainings of a seed that the claims with these ids need."""
    yield _trial(budget, RATES[0], seed)
    if "S2" in ids:
        yield _trial(budget, RATES[1], seed)
    if "S6" in ids:
        yield _in_pieces(budget, seed)


def _in_pieces(budget: Budget, seed: int) -> Trial:
    """Return the training whose batches are normalized in pieces."""
    return trial(
        f"scratch-pieces-of-{PIECE}",
        seed,
        training__epochs=PIECE_EPOCHS[budget],
        training__norm_batch=PIECE,
        training__keep_every=1,
    )


def _trial(budget: Budget, rate: float, seed: int) -> Trial:
    return trial(
        f"scratch-lr{rate:g}",
        seed,
        optimizer__lr=rate,
        training__epochs=EPOCHS[budget],
        training__evaluate=["moving", "population"] if rate == RATES[0] else ["moving"],
        training__keep_every=1,
        **(SHADOW if rate == RATES[0] else {}),
    )


def _stale(budget: Budget, summaries: Summaries) -> Evidence:
    """Return what share of the mean square change population statistics remove, by seed."""
    samples = []
    for seed in range(SEEDS[budget]):
        epochs = summaries[_trial(budget, 1.0, seed).name].epochs
        moving = [epoch.test_acc for epoch in epochs]
        population = [
            epoch.test_acc if epoch.test_acc_population is None else epoch.test_acc_population
            for epoch in epochs
        ]
        share = 1 - _jumps(population) / _jumps(moving)
        curves = (
            {}
            if seed
            else {  # one seed's: means over seeds do not jump
                "moving": points_of_epochs(epochs, "test_acc"),
                "population": points_of_epochs(epochs, "test_acc_population"),
            }
        )
        samples.append(Sample({"share": share}, curves))
    return gathered(CLAIMS[0], samples)


def _jumps(accuracies: list[float]) -> float:
    """Return the mean square of the changes from epoch to epoch."""
    changes = [later - sooner for sooner, later in itertools.pairwise(accuracies)]
    return statistics.fmean(change**2 for change in changes)


def _of_seed(
    budget: Budget, seed: int, laboratory: Laboratory, ids: Collection[str]
) -> "Callable[[Dataset], dict[str, Sample]]":
    """Return what takes the numbers of claims from the trained networks of a seed."""
    fast, slow = (_trial(budget, rate, seed) for rate in RATES)
    last = EPOCHS[budget]
    states = [laboratory.checkpoint(fast, epoch) for epoch in range(last - AVERAGED + 1, last + 1)]
    others = {}
    if "S2" in ids:
        others["slow"] = (slow.config, laboratory.checkpoint(slow, last))
    if "S6" in ids:
        pieces = _in_pieces(budget, seed)
        others["pieces"] = (pieces.config, laboratory.checkpoint(pieces, PIECE_EPOCHS[budget]))
    return partial(_samples, ids, fast.config, states, others)


def _samples(
    ids: Collection[str],
    config: Config,
    states: Sequence[Mapping[str, Any]],
    others: Mapping[str, tuple[Config, Mapping[str, Any]]],
    dataset: "Dataset",
) -> dict[str, Sample]:
    """Return the numbers of claims, from a network's last checkpoints and from other networks."""
    from bnrun.studies.predictions import Predictions, Trained

    trained = {name: Trained(*one, dataset) for name, one in others.items()}
    predictions = Predictions(config, states, dataset, trained)
    return {id_: MEASUREMENTS[id_](predictions) for id_ in ids}


def _precise(predictions: "Predictions") -> Sample:
    counts = (1_000, 10_000, 60_000)
    thousand, ten_thousand, all_ = (predictions.population(n) for n in counts)
    slow = predictions.others["slow"]
    return Sample(
        {
            "1,000 less 60,000 images": thousand - all_,
            "population less moving, rate 1.0": ten_thousand - predictions.moving(),
            "population less moving, rate 0.1": slow.population(10_000) - slow.moving(),
        }
    )


def _tracker(predictions: "Predictions") -> Sample:
    errors, accuracies = predictions.trackers()
    values = {
        SMALLER_ERROR: errors["0.1"] - errors["1/k"],
        HIGHER_ACCURACY: accuracies["1/k"] - accuracies["0.1"],
    }
    return Sample(
        values, {name: [(errors[name], accuracy)] for name, accuracy in accuracies.items()}
    )


def _trackers(samples: Sequence[Sample]) -> str:
    """Write the mean error and accuracy of every average."""
    names = samples[0].curves if samples else ()
    means = {
        name: [statistics.fmean(one.curves[name][0][at] for one in samples) for at in (0, 1)]
        for name in names
    }
    figures = (f"{name}: {error:.2g}, {acc:.3f}" for name, (error, acc) in means.items())
    return f"By gain, error and test accuracy: {'; '.join(figures)}." if means else ""


def _definition(predictions: "Predictions") -> Sample:
    return Sample({"definition": float(predictions.depends_on_company())})


def _batch_of_test(predictions: "Predictions") -> Sample:
    population = predictions.population(10_000)
    return Sample(
        {
            "batches of 64": population - predictions.batch(64),
            "batches of 2 lose 10 points or more": population - predictions.batch(2),
        }
    )


def _own_example(predictions: "Predictions") -> Sample:
    pieces = predictions.others["pieces"]
    return Sample(
        {PIECES_GAIN: pieces.own_gain(1 / PIECE), WHOLE_SAME: predictions.own_gain(1 / 256)}
    )


def _average_weights(predictions: "Predictions") -> Sample:
    averaged = predictions.averaged
    return Sample({"difference": averaged.population(10_000) - averaged.moving()})


def _eps(predictions: "Predictions") -> Sample:
    usual = predictions.population(10_000)
    return Sample(
        {
            f"eps {name}": predictions.population(10_000, eps=eps) - usual
            for name, eps in (("0", 0.0), ("1e-3", 1e-3), ("1e-1", 1e-1))
        }
    )


def _batch_noise(predictions: "Predictions") -> Sample:
    slope, points = predictions.noise()
    return Sample({"slope": slope}, {"deviation of the logits": points})


MEASUREMENTS: "Mapping[str, Callable[[Predictions], Sample]]" = {
    "S2": _precise,
    "S3": _tracker,
    "S4": _definition,
    "S5": _batch_of_test,
    "S6": _own_example,
    "S7": _average_weights,
    "S8": _eps,
    "S9": _batch_noise,
}
"""What gives one number a seed for each part of a claim, by predicting alone."""

STUDY = Study(
    name="predict",
    question="Which statistics should predictions use?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=168,
    measure=measure,
)
