"""Inputs that are not contiguous in memory: slices, transposes, channels_last."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnrun.verification.check import Case, check
from bnrun.verification.distance import distance, worst_difference
from bnrun.verification.experiment import describe, experiment
from bnrun.verification.fault import Fault
from bnrun.verification.outcome import Outcome, failed, passed, skipped
from bnrun.verification.situations import Situation, plain
from bnrun.verification.subject import Record, Subject, to_record

# fmt: off
REFUSES = Fault(
    "refuses-non-contiguous",
    "It refuses an input that is not contiguous in memory, such as a slice, a transpose or "
    "channels_last.",
    "Use .reshape(...) instead of .view(...), or sum over dimensions without either.")
WRONG = Fault(
    "wrong-on-non-contiguous",
    "It gives other values for an input that is not contiguous in memory.",
    "Do not rely on the storage order (.view on .data, as_strided, data_ptr): index by dimension.",
    of_values=True)
# fmt: on


@dataclass(frozen=True)
class Layouts(Record):
    """The outputs in training and when predicting, stacked, or the error, by memory layout."""

    outputs: dict[str, Tensor]
    errors: dict[str, str]


@experiment("memory layouts")
def layouts(subject: Subject) -> Layouts:
    """Run the same input in several memory layouts."""
    situation = subject.situation(plain, subject.main_ranks[-1])
    x = subject.construction.given(situation.x).contiguous()
    last = x.shape[-1]
    inputs = {
        "contiguous": x,
        "strided": x.repeat_interleave(2, dim=-1)[..., : 2 * last : 2],
        "transposed": x.transpose(0, -1).contiguous().transpose(0, -1),
    }
    if x.dim() == 4 and not subject.construction.last:
        inputs["channels_last"] = x.contiguous(memory_format=torch.channels_last)
    record = Layouts({}, {})
    for name, x in inputs.items():
        try:
            outputs = [_output(subject, situation, x, training) for training in (True, False)]
            record.outputs[name] = torch.stack(outputs)
        except Exception as error:
            record.errors[name] = describe(error)
    return record


def _output(subject: Subject, situation: Situation, x: Tensor, training: bool) -> Tensor:
    """Return a layer's output for x, passed to it with the strides that x has."""
    like = torch.empty_strided(x.size(), x.stride(), dtype=subject.dtype, device=subject.device)
    return to_record(subject.build(x.dim(), situation).forward(like.copy_(x), training=training))


def _layouts(case: Case, names: Sequence[str]) -> Outcome:
    record = case.require(layouts)
    if "contiguous" in record.errors:
        return case.failed_from("raised", record.errors["contiguous"])
    errors = [record.errors[name] for name in names if name in record.errors]
    if errors:
        return failed(REFUSES, note=errors[0])
    outputs = [record.outputs[name] for name in names if name in record.outputs]
    if not outputs:
        return skipped("needs inputs of (N, C, H, W)")
    right = record.outputs["contiguous"]
    worst = max(outputs, key=lambda output: distance(output, right))
    error = distance(worst, right)
    if error <= case.tolerance:
        return passed(error)
    mode = int((worst - right).abs().flatten(1).amax(1).argmax())  # in training, or predicting
    return failed(WRONG, error=error, note=worst_difference({"y": worst[mode]}, {"y": right[mode]}))


for name, about, names in (
    ("non-contiguous input", "slices and transposes", ("strided", "transposed")),
    ("channels_last input", "images in that memory format", ("channels_last",)),
):
    check(name, "mathematics", f"{about} give what contiguous copies give", layouts)(
        functools.partial(_layouts, names=names)
    )
