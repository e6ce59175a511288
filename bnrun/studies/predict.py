"""Study `predict`: which statistics predictions should use."""

import itertools
import statistics
import time
from collections.abc import Callable, Collection, Generator, Mapping
from typing import TYPE_CHECKING

from bnrun.comparison.comparison_events import Trial
from bnrun.events import Stage
from bnrun.studies.claim import Claim, Evidence, Part, Source
from bnrun.studies.rules import Definition, Direction, Equivalence, Law
from bnrun.studies.sources import IOFFE, NOTES
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import Laboratory, Summaries, trial

if TYPE_CHECKING:
    from bnrun.studies.predictions import Predictions

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 4, "standard": 10, "thorough": 10}

RATES = (1.0, 0.1)
"""The learning rates: the notes' own, and a small one."""
AVERAGED = 3
"""Last epochs whose weights are averaged."""

WU = Source("Wu and Johnson 2021, Rethinking Batch in BatchNorm", "section 3, as summarized",
            "summary")  # fmt: skip
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
        "Without eps, everything may be different.",
        (Source(NOTES, "text", "read"),),
        "difference of test accuracies to eps = 1e-5, when predicting",
        (
            Part("eps 0", Equivalence(0.003), "supported"),
            Part("eps 1e-3", Equivalence(0.003), "supported"),
            Part("eps 1e-1", Equivalence(0.003), "contradicted"),
        ),
        "high",
        f"{HERE}; population statistics of 10,000 training images, float32",
        "The parts ask the opposite of the sentence: a part is supported where this eps makes no "
        "difference. In float16, and in channels that are always 0, it makes one.",
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
    """Train once, then predict in many ways."""
    start = time.perf_counter()
    trials = [_trial(budget, rate, seed) for seed in range(SEEDS[budget]) for rate in RATES]
    summaries = yield from laboratory.train(trials)
    if "S1" in ids:
        yield Measured("S1", _stale(budget, summaries), time.perf_counter() - start)
    wanted = [id_ for id_ in MEASUREMENTS if id_ in ids]
    if not wanted:
        return
    values: dict[str, dict[str, list[float]]] = {
        id_: {part.name: [] for part in claim.parts} for id_, claim in _claims(wanted).items()
    }
    seconds = dict.fromkeys(wanted, 0.0)
    for seed in range(SEEDS[budget]):
        predictions = yield from _predictions(budget, seed, laboratory)
        for at, id_ in enumerate(wanted):
            yield Stage(f"{id_}, seed {seed}", seed * len(wanted) + at, SEEDS[budget] * len(wanted))
            start = time.perf_counter()
            for part, value in MEASUREMENTS[id_](predictions).items():
                values[id_][part].append(value)
            seconds[id_] += time.perf_counter() - start
    for id_ in wanted:
        yield Measured(id_, Evidence(values[id_]), seconds[id_])


def _claims(ids: Collection[str]) -> dict[str, Claim]:
    return {claim.id: claim for claim in CLAIMS if claim.id in ids}


def _trial(budget: Budget, rate: float, seed: int) -> Trial:
    return trial(
        f"scratch-lr{rate:g}",
        seed,
        optimizer__lr=rate,
        training__epochs=EPOCHS[budget],
        training__evaluate=["moving", "population"],
        training__keep_every=1,
    )


def _stale(budget: Budget, summaries: Summaries) -> Evidence:
    """Return what share of the mean square change population statistics remove, by seed."""
    shares = []
    for seed in range(SEEDS[budget]):
        epochs = summaries[_trial(budget, 1.0, seed).name].epochs
        moving = [epoch.test_acc for epoch in epochs]
        population = [
            epoch.test_acc if epoch.test_acc_population is None else epoch.test_acc_population
            for epoch in epochs
        ]
        shares.append(1 - _jumps(population) / _jumps(moving))
    return Evidence({"share": shares})


def _jumps(accuracies: list[float]) -> float:
    """Return the mean square of the changes from epoch to epoch."""
    changes = [later - sooner for sooner, later in itertools.pairwise(accuracies)]
    return statistics.fmean(change**2 for change in changes)


def _predictions(
    budget: Budget, seed: int, laboratory: Laboratory
) -> "Generator[StudyEvent, None, Predictions]":
    """Return the trained networks of a seed, ready to predict."""
    from bnrun.data.load import load
    from bnrun.studies.predictions import Predictions

    fast, slow = (_trial(budget, rate, seed) for rate in RATES)
    dataset = yield from load(fast.config.data)
    last = EPOCHS[budget]
    states = [laboratory.checkpoint(fast, epoch) for epoch in range(last - AVERAGED + 1, last + 1)]
    return Predictions(fast.config, states, laboratory.checkpoint(slow, last), dataset)


def _precise(predictions: "Predictions") -> dict[str, float]:
    thousand, ten_thousand, all_ = (predictions.population(n) for n in (1_000, 10_000, 60_000))
    slow = predictions.slow
    return {
        "1,000 less 60,000 images": thousand - all_,
        "population less moving, rate 1.0": ten_thousand - predictions.moving(),
        "population less moving, rate 0.1": slow.population(10_000) - slow.moving(),
    }


def _definition(predictions: "Predictions") -> dict[str, float]:
    return {"definition": float(predictions.depends_on_company())}


def _batch_of_test(predictions: "Predictions") -> dict[str, float]:
    population = predictions.population(10_000)
    return {
        "batches of 64": population - predictions.batch(64),
        "batches of 2 lose 10 points or more": population - predictions.batch(2),
    }


def _average_weights(predictions: "Predictions") -> dict[str, float]:
    averaged = predictions.averaged
    return {"difference": averaged.population(10_000) - averaged.moving()}


def _eps(predictions: "Predictions") -> dict[str, float]:
    usual = predictions.population(10_000)
    return {
        f"eps {name}": predictions.population(10_000, eps=eps) - usual
        for name, eps in (("0", 0.0), ("1e-3", 1e-3), ("1e-1", 1e-1))
    }


def _batch_noise(predictions: "Predictions") -> dict[str, float]:
    return {"slope": predictions.noise_slope()}


MEASUREMENTS: "Mapping[str, Callable[[Predictions], dict[str, float]]]" = {
    "S2": _precise,
    "S4": _definition,
    "S5": _batch_of_test,
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
    seconds=859,
    measure=measure,
)
