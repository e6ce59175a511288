"""The experiments of study `converge` that look at layers: claims C3 to C6.

Those of C3, C4 and C6 take pairs of trainings that differ in the norm alone, one pair a seed.
"""

import statistics
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bnrun.comparison.comparison_events import Trial
from bnrun.config import Config
from bnrun.studies.claim import Claim, Evidence, Sample, gathered
from bnrun.studies.ranks import rank_correlation
from bnrun.studies.study import StudyEvent
from bnrun.studies.trainings import Laboratory

if TYPE_CHECKING:
    from bnrun.data.dataset import Dataset

Experiment = Generator[StudyEvent, None, Evidence]
Pair = Mapping[str, Trial]
"""Two trainings of a seed, by the norm."""

NORMS = ("none", "scratch")
NO_NORM, BATCH_NORM = NAMES = "no norm", "batch norm"
"""What parts and curves call them."""

EVERY = 40
"""Steps from one look of the probes to the next."""
PROBE_IMAGES = 256
"""See `training.probes.probes.IMAGES`."""
WATCHED: Mapping[str, Any] = {
    "training__probe": ["activations", "shift"],
    "training__probe_every": EVERY,
    "training__keep_every": 1,
}
"""What is kept of the trainings that these experiments look at."""

IMAGES, CONVERGED = 512, 0.95
"""C3's images, and the CKA from which on a layer has converged."""

FIRST_STEPS = 200
"""Steps of C4 that count as early; late is the second half of the training."""
EARLY, LATE = f"first {FIRST_STEPS} steps", "second half"

LOOKS_EVERY = 120
"""Steps from one look at the percentiles of C5 to the next."""
NORMALIZED, SHIFTED = "normalized", "scaled and shifted"

A_TENTH = "a tenth or more"


def convergence(claim: Claim, pairs: Sequence[Pair], laboratory: Laboratory) -> Experiment:
    """Return in what order layers converge, with and without a norm."""
    if not pairs:
        return gathered(claim, [])
    trials = [pair[norm] for pair in pairs for norm in NORMS]
    parts = {
        f"{claim.id} {claim.name}, {one.name}": partial(
            _first_converged, one.config, _states(one, laboratory)
        )
        for one in trials
    }
    found = yield from laboratory.compute(trials[0].config.data, parts)
    samples = []
    for at in range(len(pairs)):
        values, curves = {}, {}
        firsts = found[at * len(NORMS) : (at + 1) * len(NORMS)]
        for name, first in zip(NAMES, firsts, strict=True):
            values[name] = -rank_correlation(range(len(first)), first)
            curves[name] = [(place, float(epoch)) for place, epoch in enumerate(first, start=1)]
        samples.append(Sample(values, curves))
    return gathered(claim, samples)


def _states(trial: Trial, laboratory: Laboratory) -> list[Mapping[str, Any]]:
    """Return the checkpoints of a trial after each epoch."""
    epochs = range(1, trial.config.training.epochs + 1)
    return [laboratory.checkpoint(trial, epoch) for epoch in epochs]


def _first_converged(
    config: Config, states: Sequence[Mapping[str, Any]], dataset: "Dataset"
) -> list[int]:
    """Return after which epoch each layer has converged; see `first_converged`."""
    from bnrun.studies.representations import first_converged

    return first_converged(config, states, dataset.test.images[:IMAGES], CONVERGED)


def shift(claim: Claim, pairs: Sequence[Pair], laboratory: Laboratory) -> Experiment:
    """Return by how much batch norm changes the median cosine of gradients, early and late."""
    yield from ()
    samples = []
    absolute: dict[str, list[float]] = {norm: [] for norm in NORMS}
    for pair in pairs:
        cosines = {norm: _seen(laboratory, pair[norm], "shift", "cosine") for norm in NORMS}
        for norm in NORMS:
            lengths = _seen(laboratory, pair[norm], "shift", "absolute")
            absolute[norm] += [value for values in lengths.values() for value in values]
        last = max(cosines["none"])
        values = {}
        for part, first, end in ((EARLY, 0.0, FIRST_STEPS), (LATE, last / 2, last)):
            none, bn = (_median_within(cosines[norm], first, end) for norm in NORMS)
            values[part] = bn - none
        curves = {
            name: [(float(step), statistics.median(one)) for step, one in cosines[norm].items()]
            for norm, name in zip(NORMS, NAMES, strict=True)
        }
        samples.append(Sample(values, curves))
    medians = ", ".join(
        f"{statistics.median(absolute[norm]):.2g} {word}"
        for norm, word in zip(NORMS, ("without", "with"), strict=True)
        if absolute[norm]
    )
    return gathered(claim, samples, f"Median |G' - G|, the paper's number: {medians}.")


def saturation(claim: Claim, pairs: Sequence[Pair], laboratory: Laboratory) -> Experiment:
    """Return what share of the sigmoids' inputs is saturated without a norm."""
    yield from ()
    samples, with_norm = [], []
    for pair in pairs:
        curves = {
            name: [
                (float(step), statistics.fmean(shares))
                for step, shares in _seen(laboratory, pair[norm], "activations", "off").items()
            ]
            for norm, name in zip(NORMS, NAMES, strict=True)
        }
        none, bn = (statistics.median(share for _, share in curves[name]) for name in NAMES)
        with_norm.append(bn)
        samples.append(Sample({A_TENTH: none}, curves))
    remark = f"With batch norm: {statistics.fmean(with_norm):.2g}." if with_norm else ""
    return gathered(claim, samples, remark)


def stable_inputs(claim: Claim, seeds: int, steps: int, laboratory: Laboratory) -> Experiment:
    """Train C5's networks, and compare how far the medians of their inputs travel."""
    from bnrun.studies.own_training import on_training_images, with_fast_engine
    from bnrun.studies.percentiles import travels

    parts = {}
    for norm in NORMS:
        of_norm = partial(travels, norm, steps=steps, every=LOOKS_EVERY, seeds=seeds)
        on_images = partial(on_training_images, of_norm)
        parts[f"{claim.id} {claim.name}, {norm}"] = partial(with_fast_engine, on_images)
    found = yield from laboratory.compute(Config().data, parts)
    samples = []
    for seed, (none, bn) in enumerate(zip(*found, strict=True)):
        values = {
            NORMALIZED: 1 - bn.normalized / none.normalized,
            SHIFTED: 1 - bn.shifted / none.shifted,
        }
        curves = {
            f"{name}, {share}": points
            for name, one in zip(NAMES, (none, bn), strict=True)
            for share, points in zip(("15 %", "50 %", "85 %"), one.typical, strict=True)
        }
        samples.append(Sample(values, {} if seed else curves))  # those of one unit of one seed
    return gathered(claim, samples)


def _seen(
    laboratory: Laboratory, trial: Trial, probe: str, quantity: str
) -> dict[int, list[float]]:
    """Return what a probe saw of a trial: a value for each layer that has one, by step."""
    return {
        look.step: [values[quantity] for values in look.values.values()]
        for look in laboratory.probed(trial)
        if look.probe == probe
    }


def _median_within(found: Mapping[int, Sequence[float]], first: float, last: float) -> float:
    """Return the median of the values of all layers at steps from `first` to `last`."""
    return statistics.median(
        value for step, values in found.items() if first <= step <= last for value in values
    )
