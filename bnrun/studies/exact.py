"""Study `exact`: sentences about normalization that are identities, or are not, in float64."""

import time
from collections.abc import Callable, Collection, Mapping

from bnrun.events import Stage
from bnrun.studies.claim import Claim, Confidence, Evidence, Part, Source
from bnrun.studies.rules import Exact, Verdict
from bnrun.studies.sources import D2L, IOFFE, NOTES, WU_HE
from bnrun.studies.study import Budget, Measured, Study, Work
from bnrun.studies.trainings import Laboratory

VAN_LAARHOVEN = "van Laarhoven 2017, L2 Regularization versus Batch and Weight Normalization"

ERROR = "largest relative error in float64"
RANDOM = "LeNet with sigmoids, 32 random images, float64, on the CPU"

STEPS: Mapping[Budget, int] = {"quick": 20, "standard": 200, "thorough": 500}
"""Training steps of X3; X4 takes half of them, and X1 a tenth."""


def _claim(
    number: int,
    name: str,
    sentence: str,
    sources: tuple[Source, ...],
    parts: Mapping[str, Verdict],
    *,
    confidence: Confidence = "high",
    differs: str = RANDOM,
    limits: str = "",
) -> Claim:
    exact = tuple(Part(part, Exact(), expected) for part, expected in parts.items())
    return Claim(f"X{number}", name, sentence, sources, ERROR, exact, confidence, differs, limits)


CLAIMS = (
    _claim(
        1,
        "bias-idle",
        "A bias before a batch norm does nothing.",
        (Source(IOFFE, "section 3.2", "read"), Source(D2L, "exercise 1", "read")),
        {"gradient": "supported", "training": "supported"},
        differs=f"{RANDOM}; eps = 0",
        limits="In training. With a bias taken out, a checkpoint's moving means shift with it.",
    ),
    _claim(
        2,
        "scale-free",
        "Scaling the weights before a batch norm by a changes nothing, and divides their gradient "
        "by a.",
        (Source(IOFFE, "section 3.3", "read"),),
        {"output": "supported", "gradient": "supported"},
        differs="a linear layer of 6 outputs, 32 random inputs, float64, eps = 0; a = .1 and 10",
    ),
    _claim(
        3,
        "weights-only-grow",
        "Plain SGD only lengthens normalized weights: the gradient is at right angles to them, so "
        "|w|² grows by rate² |g|² in each step.",
        (
            Source(VAN_LAARHOVEN, "as summarized", "summary"),
            Source(
                "Arora, Li and Lyu 2019, Auto Rate-Tuning by Batch Normalization",
                "as summarized",
                "summary",
            ),
        ),
        {"every channel and step": "supported"},
        differs=f"{RANDOM}; eps = 0, learning rate .5",
        limits="Without momentum and without weight decay.",
    ),
    _claim(
        4,
        "decay-is-a-rate",
        "Weight decay on normalized weights only sets the effective learning rate.",
        (
            Source(VAN_LAARHOVEN, "abstract", "summary"),
            Source(
                "Li and Arora 2020, An Exponential Learning Rate Schedule",
                "as summarized",
                "summary",
            ),
        ),
        {"normalized weights": "supported"},
        differs=f"{RANDOM}; eps = 0; plain SGD with decay .01, against none and a rate that grows "
        "by (1 - .5 * .01)^-2 a step",
        limits="True of the layers before norms; fc3, gamma and beta are decayed like any weight.",
    ),
    _claim(
        5,
        "fold",
        "Batch normalization is a linear transformation.",
        (
            Source(NOTES, "text", "read"),
            Source(IOFFE, "section 3.1 (of inference)", "read"),
        ),
        {
            "folds into a convolution": "supported",
            "predicting": "supported",
            "training": "contradicted",
        },
        differs="one layer with random parameters and statistics, float64",
        limits="Linear with a shift, that is affine.",
    ),
    _claim(
        6,
        "batch-one",
        "With a batch of one example, batch normalization gives 0 (then beta).",
        (
            Source(D2L, "text, where it also says otherwise of convolutions", "read"),
            Source(NOTES, "text", "read"),
        ),
        {"linear": "supported", "convolution": "contradicted"},
        differs="the textbook's layer with random gamma and beta, float64",
    ),
    _claim(
        7,
        "one-formula",
        "Batch, layer, instance and group norm are one formula with other groups.",
        (Source(WU_HE, "section 3", "summary"),),
        {
            "layer norm is one group": "supported",
            "instance norm is a group a channel": "supported",
            "a ghost batch of all is batch norm": "supported",
            "batch norm of one image is instance norm": "supported",
        },
        differs="one layer without gamma and beta, against PyTorch's functions, float64",
        limits="In training. Gamma and beta are by channel here; torch's layer norm has them by "
        "value.",
    ),
    _claim(
        8,
        "accumulate",
        "Accumulating the gradients of four small batches is the same as one large batch.",
        (Source("ultralytics/yolov5, issue 1630", "maintainer's answer", "read"),),
        {
            "no norm": "supported",
            "layer norm": "supported",
            "group norm": "supported",
            "batch norm": "contradicted",
            "batch norm by pieces": "supported",
        },
        differs=f"{RANDOM}; the gradient of all weights",
        limits="By pieces: the whole batch, each quarter of it normalized by itself.",
    ),
    _claim(
        9,
        "replicas",
        "Data-parallel replicas with batch norm compute what one process computes on the whole "
        "batch.",
        (
            Source(
                "pytorch/pytorch, issue 49794; mmdetection, issue 3621",
                "reports",
                "read",
                "accuracy .75 against .71",
            ),
        ),
        {"plain": "contradicted", "synchronized": "supported"},
        differs="four replicas of a linear layer, simulated in one process, float64",
    ),
    _claim(
        10,
        "kalman",
        "The moving mean is a Kalman filter: with gain 1/k it is the mean of all batches, with a "
        "constant gain it follows a random walk.",
        (Source(NOTES, "derivation", "read"),),
        {"gain 1/k": "supported", "constant gain": "supported"},
        differs="400 random batches; the last 20 of them for the constant gain",
        limits="As algebra. Whether the gain suits a training is another question.",
    ),
    _claim(
        11,
        "start-forgotten",
        "It does not matter whether the moving variance starts at 0 or 1: the start weighs .9^k "
        "after k batches.",
        (Source(NOTES, "two sets start at 0 and 1", "read"),),
        {"weight of the start": "supported"},
        differs="100 random batches, momentum .1",
        limits="It does matter when predicting within the first 40 batches or so.",
    ),
    _claim(
        12,
        "freeze",
        "Setting requires_grad = False freezes a batch norm.",
        (
            Source("pytorch/pytorch, issue 86590", "open request", "read"),
            Source("speedinghzl/pytorch-deeplab-resnet, issue 39", "report", "read"),
        ),
        {
            "gamma and beta stay": "supported",
            "moving statistics stay": "contradicted",
            "predictions stay": "contradicted",
        },
        differs="one layer, 10 random batches in training mode, float64",
        limits="eval() freezes the statistics; both together freeze the layer.",
    ),
)


def measure(budget: Budget, ids: Collection[str], laboratory: Laboratory) -> Work:
    """Measure the identities with these ids, one after the other."""
    experiments = _experiments(STEPS[budget])
    wanted = [claim for claim in CLAIMS if claim.id in ids]
    for done, claim in enumerate(wanted):
        yield Stage(f"{claim.id} {claim.name}", done, len(wanted))
        start = time.perf_counter()
        evidence = experiments[claim.id]()
        yield Measured(claim.id, evidence, time.perf_counter() - start)
    yield Stage("done", len(wanted), len(wanted))


def _experiments(steps: int) -> dict[str, Callable[[], Evidence]]:
    """Return the experiment of each claim, by id; for `steps` see `STEPS`."""
    from bnrun.studies import identities  # imports torch

    return {
        "X1": lambda: identities.idle_bias(steps // 10),
        "X2": identities.scale_free,
        "X3": lambda: identities.growing_weights(steps),
        "X4": lambda: identities.decay_as_rate(steps // 2),
        "X5": identities.folding,
        "X6": identities.batch_of_one,
        "X7": identities.one_formula,
        "X8": identities.accumulation,
        "X9": identities.replicas,
        "X10": identities.gains,
        "X11": identities.forgotten_start,
        "X12": identities.freezing,
    }


STUDY = Study(
    name="exact",
    question="Which sentences about normalization are identities?",
    claims=CLAIMS,
    seeds={"quick": 0, "standard": 0, "thorough": 0},
    seconds=17,
    measure=measure,
)
