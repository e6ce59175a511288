"""float16 and bfloat16: sums over as many values as a batch of images has."""

import torch

from bnrun.verification.check import Case, check, simulation
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed
from bnrun.verification.situations import Situation, make_situation
from bnrun.verification.subject import Construction, NotOffered, Pass, Subject

# fmt: off
SUMS = Fault(
    "sums-in-half-precision",
    "Sums over many values overflow, or lose their digits: they are added up in half precision, "
    "whose largest number is 65504 in float16, and which has 3 digits.",
    "Take mean and variance in float32: x.float().mean(...), and so on; and return y.to(x.dtype).",
    of_values=True)
# fmt: on

HALVES = (torch.float16, torch.bfloat16)
POSITIONS = {2: (), 3: (784,), 4: (28, 28), 5: (1, 28, 28)}
EXAMPLES = {2: 65_536}
USUAL_EXAMPLES = 128


def _many(rank: int, dtype: torch.dtype, construction: Construction) -> Situation:
    examples = EXAMPLES.get(rank, USUAL_EXAMPLES)
    return make_situation((examples, construction.channels, *POSITIONS[rank]), dtype, mean=2.0)


@experiment("many values in half precision")
def many_values(subject: Subject) -> Pass:
    """Train on a batch of as many values as one of images has."""
    if subject.dtype not in HALVES:
        raise NotOffered("for float16 and bfloat16")
    situation = _many(subject.rank, subject.dtype, subject.construction)
    return subject.run(situation, training=True, grad=False)


@check(many_values, "mathematics", "the output for 100,000 values per channel", dtypes=HALVES)
def _many_values(case: Case) -> Outcome:
    record = case.require(many_values)
    situation = case.restrict(_many(case.rank, case.dtype, case.construction))
    outcome = case.compare(
        case.rank, record.output, simulation(situation, training=True, grad=False)
    )
    known = ("training", case.rank) not in case.diagnosis.unexplained
    return failed(SUMS, error=outcome.error) if outcome.unexplained and known else outcome
