"""Judging one check: by what was observed, or by what went wrong in observing it."""

import dataclasses

from bnrun.verification.check import Case, Check
from bnrun.verification.diagnostic_passes import TRAINING
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, skipped
from bnrun.verification.topics import independence, outputs, side_effects, switching

NOT_MADE = ("not offered", "not run", "not inspected")


def judge(check: Check, case: Case) -> Outcome:
    """Return the outcome of a check."""
    if check.rank is not None and check.rank not in case.ranks:
        return _not_accepted(check, case, check.rank)
    if not case.ranks and check.needs_forward:
        return skipped("no forward pass works")
    if len(check.experiments) == 1:
        observation = case.of(check.experiments[0])
        if observation.trouble in NOT_MADE:
            return skipped(observation.message)
        if observation.trouble is not None:
            outcome = check.on_trouble(case, observation.message)
            return outcome or case.failed_from(observation.trouble, observation.message)
    outcome = check.judge(case)
    if outcome.status != "fail" or not all(fault.of_values for fault in outcome.faults):
        return outcome
    disturbance = _disturbance(case)
    return outcome if disturbance is None else failed(disturbance, error=outcome.error)


def _disturbance(case: Case) -> Fault | None:
    """Return the fault that makes comparing values meaningless, if there is one.

    That is NaN, noise, the traces of other layers, or what the output should not depend on.
    """
    passes = [case.record(TRAINING[rank]) for rank in case.ranks]
    if any(record is not None and not record.plain.y.isfinite().any() for record in passes):
        return outputs.NOT_FINITE
    if switching.share_state(case):
        return switching.SHARED_STATE
    if case.noisy:
        return side_effects.NOT_REPEATABLE
    return independence.dependence(case)


def _not_accepted(check: Check, case: Case, rank: int) -> Outcome:
    """Judge a check for inputs of a rank with which no forward pass works.

    The rank is not offered where the class refuses it, unless it asked for it when it was built,
    accepts none at all, or accepts it under another engine.
    """
    observation = case.of(TRAINING[rank])
    layout = case.construction.layouts[rank]
    asked = bool(case.parts.takes_rank) or not case.ranks
    required = (*case.required_ranks, *case.construction.asked)
    is_required = (asked and rank in case.construction.main_ranks) or rank in required
    is_fault = observation.trouble != "not offered" or is_required
    if observation.trouble in ("not run", "not inspected"):
        return skipped(observation.message)
    if not is_fault:
        return skipped(f"not accepted: {observation.message}")
    if check.experiments != (TRAINING[rank],):
        return skipped(f"no pass forward and backward works for {layout}")
    if side_effects.IN_PLACE in observation.message:
        return side_effects.from_in_place(case, observation.message)
    outcome = case.failed_from("raised", observation.message)
    if observation.trouble != "raised" or asked:
        return outcome
    (fault,) = outcome.faults
    return failed(
        dataclasses.replace(
            fault,
            fix=f"{fault.fix} If the class is not for {layout}, let it say so: raise a ValueError "
            f"where x.dim() is {rank}; or name what it is for: --shapes 2d is (N, C).",
        )
    )
