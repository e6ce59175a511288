"""Gradients enabled or disabled: the output and the moving statistics are the same."""

from bnrun.verification.check import Case, check, simulation
from bnrun.verification.diagnostic_passes import PREDICTING_WITH_GRADIENTS
from bnrun.verification.experiment import experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, combined, failed
from bnrun.verification.situations import plain
from bnrun.verification.subject import Pass, Subject

# fmt: off
DIFFERS = Fault(
    "depends-on-gradients",
    "It computes something else where gradients are disabled than where they are enabled.",
    "Compute the same either way: only the update of the moving statistics belongs under "
    "no_grad(), and forward need not look at torch.is_grad_enabled().",
    of_values=True)
# fmt: on


@experiment("training without gradients")
def training(subject: Subject) -> Pass:
    """Train under no_grad()."""
    return subject.run(subject.situation(plain), training=True, grad=False)


@check(
    "gradients on and off",
    "module contract",
    "train() under no_grad(), and eval() with gradients enabled, compute the same as otherwise",
    training,
    *PREDICTING_WITH_GRADIENTS.values(),
)
def _on_and_off(case: Case) -> Outcome:
    situation = case.situation(plain)
    seen = {False: case.record(training)}
    with_gradients = case.record(PREDICTING_WITH_GRADIENTS[case.rank])
    seen[True] = None if with_gradients is None else with_gradients.plain
    outcome = combined(
        case.compare(
            case.rank,
            one.output | one.moving,
            simulation(situation, training=not grad, grad=grad),
        )
        for grad, one in seen.items()
        if one is not None
    )
    explained = not any(rank == case.rank for _, rank in case.diagnosis.unexplained)
    if outcome.unexplained and explained:
        return failed(DIFFERS, error=outcome.error, note=next(iter(outcome.faults.values())))
    return outcome
