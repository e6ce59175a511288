"""Judging a norm as a module: what it registers, copies, converts, and refuses."""

import torch

from bnrun.verification.evidence import distance
from bnrun.verification.judge import outputs
from bnrun.verification.judge.outcome import Case, Outcome, failed, passed, playing, skipped
from bnrun.verification.known import behaviour, offers
from bnrun.verification.known.fault import Fault
from bnrun.verification.observe.experiment import Values
from bnrun.verification.observe.module import RANDOM_NUMBERS
from bnrun.verification.situations import plain


def parameters(case: Case) -> Outcome:
    """Judge whether an optimizer would be given gamma and beta, with a value for each channel."""
    values = case.values("parameters")
    parts, shared, others = values["parts"], values["shared"], values["others"]
    if not parts and not shared and not others:
        return failed(behaviour.IDENTITY if case.identity else behaviour.NOTHING_LEARNED)
    faults = [behaviour.PARAMETER_SHARED[part] for part in shared]
    faults += [behaviour.STATISTICS_LEARNED] if values["statistics"] else []
    for part, seen in parts.items():
        if not seen["learned"]:
            frozen = seen["parameter"]
            faults.append(
                (behaviour.PARAMETER_FROZEN if frozen else behaviour.PARAMETER_MISSING)[part]
            )
    absent = [part for part in ("gamma", "beta") if part not in parts and part not in shared]
    if absent and others and not faults:
        return skipped(
            f"no {' and no '.join(absent)} under the usual names (weight, gamma, scale; bias, "
            f"beta, shift), but it learns {', '.join(others)}"
        )
    faults += [behaviour.PARAMETER_ABSENT[part] for part in absent]
    return failed(*faults) if faults else passed()


def unregistered(case: Case) -> tuple[Fault, ...]:
    """Return the fault of moving statistics that state_dict() leaves out, if they are."""
    values = case.evidence.values("state_dict")
    kinds = set(values["missing"].values()) if values is not None else set()
    if case.contract == "textbook" or not kinds:
        return ()
    attributes = "attribute" in kinds
    found = (
        behaviour.STATISTICS_IN_ATTRIBUTES if attributes else behaviour.STATISTICS_NOT_PERSISTENT
    )
    return (found,)


def state_dict(case: Case) -> Outcome:
    """Judge whether the state is in state_dict, and loading it restores predictions."""
    values = case.values("state_dict")
    if unregistered(case):
        return failed(*unregistered(case), note=f"missing: {', '.join(values['missing'])}")
    if "error" in values:
        return failed(behaviour.STATE_DICT_REFUSED, note=values["error"])
    error = distance(values["second"], values["first"])
    if error > case.evidence.tolerance and not values["missing"]:
        parts = (case.evidence.values("parameters") or {"parts": {}})["parts"]
        left_out = [behaviour.PARAMETER_MISSING[p] for p, seen in parts.items() if not seen["kept"]]
        return failed(*(left_out or [behaviour.STATE_DICT_INCOMPLETE]), error=error)
    return passed(None if values["missing"] else error)


def copied(case: Case, by: str, fails: Fault) -> Outcome:
    """Judge whether a copy predicts the same, and is one."""
    values = case.values(by)
    if "error" in values:
        copies = case.evidence.values("deepcopy") or {}
        # What deepcopy fails on, pickle does.
        return failed(behaviour.COPY_FAILS if "error" in copies else fails, note=values["error"])
    error = distance(values["second"], values["first"])
    if error > case.evidence.tolerance:
        return failed(behaviour.COPY_DIFFERS, error=error)
    return failed(behaviour.COPY_SHARES) if values["shares"] else passed(error)


def double(case: Case) -> Outcome:
    """Judge whether `.double()` reaches everything, and changes nothing."""
    if case.float64_refused:
        return failed(behaviour.FLOAT64_REFUSED)
    values = case.values("double")
    behind = [name for name, dtype in values["dtypes"].items() if dtype != "torch.float64"]
    excused = values["moving"] if case.contract == "textbook" else []
    if not set(behind) <= set(excused):
        faults = unregistered(case) or (behaviour.DOUBLE_LEAVES_BEHIND,)
        return failed(*faults, note=f"{', '.join(behind)} stayed in another dtype")
    return _doubled_output(case, values)


def _doubled_output(case: Case, values: Values) -> Outcome:
    """Judge the output after `.double()` by the diagnosis: it may have known mistakes in it."""
    rank = case.evidence.rank
    if case.evidence.dtype != torch.float64 or ("training", rank) in case.diagnosis.unexplained:
        return passed()
    made = case.evidence.as_held(plain(rank, torch.float32))
    expected = playing(made, training=True)(case.recipe(rank))["y"]
    error = distance(values["y"], expected)
    if error <= case.tolerance or case.identity or case.narrowing is not None:
        return passed()
    return failed(behaviour.DOUBLE_CHANGES, error=error)


def torch_left(case: Case) -> Outcome:
    """Judge whether torch's own state is left alone."""
    changed = case.values("torch")["changed"]
    if not changed:
        return passed()
    draws = changed == [RANDOM_NUMBERS] and outputs.repeatable(case).status == "fail"
    fault = behaviour.NOT_REPEATABLE if draws else behaviour.CHANGES_TORCH
    return failed(fault, note=", ".join(changed))


# ---- what it refuses


def wrong_channels(case: Case) -> Outcome:
    """Judge an input of another number of channels."""
    accepted = case.values("channels")["accepted"]
    if not accepted:
        return passed()
    if case.identity:
        return failed(behaviour.IDENTITY)
    return failed(offers.WRONG_CHANNELS_ACCEPTED, note=f"accepted {accepted[0]}")
