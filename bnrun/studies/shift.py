"""Study `shift`: batch norm in another domain, under attack, and in bad company."""

import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bnrun.comparison.comparison_events import Trial
from bnrun.studies.claim import Claim, Part, Sample, Source, find_claim, gathered
from bnrun.studies.rules import Direction
from bnrun.studies.sources import D2L, IOFFE, WU_JOHNSON
from bnrun.studies.study import Budget, Measured, Study, StudyEvent, Work
from bnrun.studies.trainings import Laboratory, last_epoch, trial

if TYPE_CHECKING:
    from bnrun.config import Config
    from bnrun.data.dataset import Dataset
    from bnrun.studies.changed_images import Change
    from bnrun.studies.domains import Accuracies

SEEDS: Mapping[Budget, int] = {"quick": 2, "standard": 5, "thorough": 20}
EPOCHS: Mapping[Budget, int] = {"quick": 1, "standard": 2, "thorough": 5}
IMAGES: Mapping[Budget, int | None] = {"quick": 12_000, "standard": None, "thorough": None}
"""Images of H1 and H2 to train on; None is all."""
COMPANY_IMAGES: Mapping[Budget, int | None] = {
    "quick": 6_000,
    "standard": 30_000,
    "thorough": None,
}
"""Images of H3's epoch."""

CLEAN = "clean"
NONE, BATCH, GROUP = "no norm", "batch norm", "group norm"
ARMS: Mapping[str, str] = {NONE: "none", BATCH: "scratch", GROUP: "group"}

REFERENCE_SEEDS = 2
"""Seeds of H1's networks without batch norm, which are in its picture alone."""
BRIGHTER, PALE, NOISE = 0.2, 0.3, 0.2
BRIGHTNESS = (0.0, 0.1, BRIGHTER, 0.3)
"""What the pictures of H1 add to the pixels."""
DOMAINS = (f"brightness {BRIGHTER:g}", "contrast", "noise", "inversion")
"""What images get in H1; the parts of the claim."""
POINT = 0.01

RELU_RATE = 0.3
LOOK_EVERY = 10
"""Steps from one look at H2's batch norm to the next."""
STRENGTHS: Mapping[str, float] = {"FGSM .02": 0.02, "FGSM .05": 0.05}
NOISY, BRIGHT = f"noise of {NOISE:g}", f"brighter by {BRIGHTER:g}"

PIECE, FEW_CLASSES, ALL_CLASSES = 32, 2, 10
TEN_POINTS = 0.1
FALLS = "10 points more"

HERE = (
    f"LeNet, Fashion-MNIST, plain SGD, {EPOCHS['standard']} epochs (one of {IMAGES['quick']:,} "
    f"images where the budget is quick, {EPOCHS['thorough']} where it is thorough)"
)
CHANGES = (
    f"pixels brighter by {BRIGHTER:g}, at {PALE:g} of the contrast, with noise of {NOISE:g}, or "
    "inverted, where they lie in 0 to 1"
)

CLAIMS = (
    Claim(
        "H1",
        "domain-shift",
        "In another domain, statistics of that domain predict better than those of the training.",
        (Source(WU_JOHNSON, "section 5, as summarized", "summary"),),
        "test accuracy with statistics of the images' domain less with those of the training "
        "images",
        tuple(Part(domain, Direction(POINT), "supported") for domain in DOMAINS),
        "high",
        f"{HERE}; sigmoid at rate 1.0; {CHANGES}; either statistics over 10,000 training images; "
        "the source: ImageNet-C",
        "Statistics of the domain are those of many images without labels, not of one.",
    ),
    Claim(
        "H2",
        "fragile",
        "Without batch norm, a network is more robust.",
        (
            Source(D2L, "last paragraph: for robustness, consider removing it", "read"),
            Source("Galloway et al. 2019, Batch Normalization is a Cause of Adversarial "
                   "Vulnerability", "from memory", "memory"),
        ),
        "accuracy without a norm less with batch norm, of changed test images",
        (
            *(Part(attack, Direction(), "not decided") for attack in STRENGTHS),
            Part(NOISY, Direction(), "not decided"),
            Part(BRIGHT, Direction(), "supported"),
        ),
        "low",
        f"{HERE}; relu at rate {RELU_RATE:g}; at equal clean accuracy: training with batch norm "
        f"stops where it has that of the network without, looked at every {LOOK_EVERY} steps; "
        "population statistics of clean images; FGSM on the first 2,000 test images, each by the "
        "gradient of its own network",
        "The network with batch norm has taken fewer steps. FGSM is a weak attack.",
    ),
    Claim(
        "H3",
        "leakage",
        "Batch norm learns from what else is in the batch, and fails where that is missing.",
        (
            Source(WU_JOHNSON, "section 6, as summarized", "summary"),
            Source(IOFFE, "section 4.2.1", "read", "better shuffling gives about 1 % more"),
        ),
        f"fall of the test accuracy where images normalized together are of {FEW_CLASSES} classes: "
        "with batch norm less with group norm",
        (Part(FALLS, Direction(TEN_POINTS), "supported"),),
        "high",
        f"LeNet, relu at rate {RELU_RATE:g}, one epoch of {COMPANY_IMAGES['standard']:,} images of "
        f"Fashion-MNIST ({COMPANY_IMAGES['quick']:,} where the budget is quick, all where it is "
        f"thorough); batches of 256 in pieces of {PIECE} that are normalized together, mixed or of "
        f"{FEW_CLASSES} classes each; so a step sees many classes, and forgets none; moving "
        "statistics; first it was planned with sigmoids, with which group norm turned out to learn "
        "nothing in so few steps",
    ),
)  # fmt: skip


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Measure the claims with these ids, one after the other."""
    experiments = {"H1": _domains, "H2": _fragile, "H3": _leakage}
    for id_ in ids:
        start = time.perf_counter()
        samples = yield from experiments[id_](budget, laboratory)
        evidence = gathered(find_claim(CLAIMS, id_), samples)
        if id_ == "H2":
            clean = "; ".join(
                f"{arm} {points[0][1]:.3f}" for arm, points in evidence.curves.items()
            )
            evidence = replace(evidence, remark=f"Clean accuracies: {clean}.")
        yield Measured(id_, evidence, time.perf_counter() - start)


def _domains(budget: Budget, laboratory: Laboratory) -> Generator[StudyEvent, None, list[Sample]]:
    """Train, and predict images of other domains."""
    trials = [
        {arm: _trial(budget, arm, seed) for arm in (ARMS if seed < REFERENCE_SEEDS else (BATCH,))}
        for seed in range(SEEDS[budget])
    ]
    summaries = yield from laboratory.train([one for of_seed in trials for one in of_seed.values()])
    ended = [
        {arm: one for arm, one in of_seed.items() if last_epoch(summaries[one.name]) is not None}
        for of_seed in trials
    ]
    parts = {
        f"H1, seed {seed}": _on_domains(
            {arm: (one, laboratory.checkpoint(one, EPOCHS[budget])) for arm, one in of_seed.items()}
        )
        for seed, of_seed in enumerate(ended)
    }
    samples = []
    for found in (yield from laboratory.compute(trials[0][BATCH].config.data, parts)):
        bn = found.get(BATCH, {})
        values = {
            domain: bn[domain]["target"] - bn[domain]["population"] for domain in DOMAINS if bn
        }
        curves: dict[str, list[tuple[float, float]]] = {}
        for arm, accuracies in found.items():
            for amount in BRIGHTNESS:
                for kind, accuracy in accuracies[_brighter(amount)].items():
                    name = f"{arm}, {kind}" if arm == BATCH else arm
                    curves.setdefault(name, []).append((amount, accuracy))
        samples.append(Sample(values, curves))
    return samples


def _on_domains(
    trained: "Mapping[str, tuple[Trial, Mapping[str, Any]]]",
) -> "Callable[[Dataset], dict[str, dict[str, Accuracies]]]":
    """Return what gives the accuracies of trained networks, by arm and by domain."""
    from bnrun.studies.domains import by_statistics_of_all
    from bnrun.studies.own_training import with_fast_engine

    networks = {arm: (one.config, state, _changes(arm)) for arm, (one, state) in trained.items()}
    return partial(with_fast_engine, partial(by_statistics_of_all, networks))


def _trial(budget: Budget, arm: str, seed: int) -> Trial:
    return trial(
        ARMS[arm],
        seed,
        model__norm=ARMS[arm],
        data__images=IMAGES[budget],
        training__epochs=EPOCHS[budget],
        training__keep_every=EPOCHS[budget],
    )


def _brighter(amount: float) -> str:
    return f"brightness {amount:g}"


def _changes(arm: str) -> "dict[str, Change]":
    """Return the domains that an arm predicts: those of the picture, and for batch norm all."""
    from bnrun.studies.changed_images import brightness, contrast, inversion, noise

    drawn: dict[str, Change] = {
        _brighter(amount): partial(brightness, amount=amount) for amount in BRIGHTNESS
    }
    if arm != BATCH:
        return drawn
    return {
        **drawn,
        "contrast": partial(contrast, factor=PALE),
        "noise": partial(noise, deviation=NOISE),
        "inversion": inversion,
    }


def _fragile(budget: Budget, laboratory: Laboratory) -> Generator[StudyEvent, None, list[Sample]]:
    """Train to one clean accuracy, and attack."""
    from bnrun.studies.domains import robustness_at_one_accuracy
    from bnrun.training.engine import fast_on_cpu

    configs = [
        {arm: _relu(budget, arm, seed) for arm in (NONE, BATCH)} for seed in range(SEEDS[budget])
    ]
    parts = {
        f"H2, seed {seed}": partial(
            robustness_at_one_accuracy,
            of_seed,
            every=LOOK_EVERY,
            changes=_disturbances(),
            strengths=STRENGTHS,
            engine=fast_on_cpu(),
        )
        for seed, of_seed in enumerate(configs)
    }
    samples = []
    for found in (yield from laboratory.compute(configs[0][NONE].data, parts)):
        none, batch = found[NONE], found[BATCH]
        samples.append(
            Sample(
                {part: none[part] - batch[part] for part in (*STRENGTHS, NOISY, BRIGHT)},
                {arm: _by_strength(accuracies) for arm, accuracies in found.items()},
            )
        )
    return samples


def _relu(budget: Budget, arm: str, seed: int) -> "Config":
    return trial(
        arm,
        seed,
        model__norm=ARMS[arm],
        model__activation="relu",
        optimizer__lr=RELU_RATE,
        data__images=IMAGES[budget],
        training__epochs=EPOCHS[budget],
    ).config


def _disturbances() -> "dict[str, Change]":
    from bnrun.studies.changed_images import brightness, noise

    return {
        NOISY: partial(noise, deviation=NOISE),
        BRIGHT: partial(brightness, amount=BRIGHTER),
    }


def _by_strength(accuracies: Mapping[str, float]) -> list[tuple[float, float]]:
    attacked = [(strength, accuracies[attack]) for attack, strength in STRENGTHS.items()]
    return [(0.0, accuracies[CLEAN]), *attacked]


def _leakage(budget: Budget, laboratory: Laboratory) -> Generator[StudyEvent, None, list[Sample]]:
    """Train with mixed company and with that of few classes."""
    from bnrun.studies.domains import in_company
    from bnrun.training.engine import fast_on_cpu

    settings = [
        (seed, arm, classes)
        for seed in range(SEEDS[budget])
        for arm in ARMS
        for classes in (FEW_CLASSES, None)
    ]
    parts = {
        f"H3, {arm}, {classes or 'all'} classes, seed {seed}": partial(
            in_company, classes, _in_pieces(budget, arm, seed), engine=fast_on_cpu()
        )
        for seed, arm, classes in settings
    }
    accuracies = yield from laboratory.compute(_in_pieces(budget, BATCH, 0).data, parts)
    found = dict(zip(settings, accuracies, strict=True))
    samples = []
    for seed in range(SEEDS[budget]):
        falls, curves = {}, {}
        for arm in ARMS:
            few, mixed = (found[seed, arm, classes] for classes in (FEW_CLASSES, None))
            falls[arm] = mixed["moving"] - few["moving"]
            for kind in few if arm == BATCH else ("moving",):
                name = f"{arm}, {kind}" if arm == BATCH else arm
                curves[name] = [(FEW_CLASSES, few[kind]), (ALL_CLASSES, mixed[kind])]
        samples.append(Sample({FALLS: falls[BATCH] - falls[GROUP]}, curves))
    return samples


def _in_pieces(budget: Budget, arm: str, seed: int) -> "Config":
    return trial(
        arm,
        seed,
        model__norm=ARMS[arm],
        model__activation="relu",
        optimizer__lr=RELU_RATE,
        data__images=COMPANY_IMAGES[budget],
        training__epochs=1,
        training__norm_batch=PIECE,
    ).config


STUDY = Study(
    name="shift",
    question="How does batch norm fare in another domain, under attack, and in bad company?",
    claims=CLAIMS,
    seeds=SEEDS,
    seconds=87,
    measure=measure,
)
