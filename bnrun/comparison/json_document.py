"""A comparison as the document that `bnrun compare --json` prints, and back."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bnrun.comparison.outcome import (
    ArmResult,
    Comparison,
    Pair,
    Parity,
    Speeds,
    Throughput,
)
from bnrun.summary import METRICS


def document(comparison: Comparison) -> dict[str, Any]:
    """Return the document; `summary.json` of a comparison's directory holds the same."""
    speeds = comparison.speeds
    return {
        "run": comparison.run,
        "status": comparison.status,
        "seeds": list(comparison.seeds),
        "arms": [_arm_document(result) for result in comparison.arms],
        "pairs": [_pair_document(pair) for pair in comparison.pairs],
        "differences": [dataclasses.asdict(found) for found in comparison.differences],
        "parity": _parity_document(comparison.parity),
        "throughput": [dataclasses.asdict(arm) for arm in speeds.arms] if speeds else [],
        "throughput_noise": _noise_document(speeds) if speeds else None,
        "throughput_error": comparison.speeds_error,
    }


def measured(document: Mapping[str, Any]) -> tuple[tuple[Parity, ...], Speeds | None]:
    """Return the parity and the speeds that a comparison's document holds."""
    parity = document["parity"] or {"arms": []}
    throughput, noise = document["throughput"], document["throughput_noise"]
    speeds = (
        Speeds(
            rounds=noise["rounds"],
            steps=noise["steps"],
            machine=noise["machine"],
            arms=tuple(map(_throughput, throughput)),
            noise=_throughput(noise),
            engine=noise.get("engine", "eager"),
        )
        if noise
        else None
    )
    return tuple(Parity(**found) for found in parity["arms"]), speeds


def _arm_document(result: ArmResult) -> dict[str, Any]:
    estimates = {metric: result.estimate(metric) for metric in METRICS}
    return {
        "name": result.arm.name,
        "norm": result.arm.config.model.norm,
        "config": result.arm.config.to_dict(),
        "trials": [trial.to_dict() for trial in result.trials],
        "n": len(result.completed),
        "mean": {metric: found and found.mean for metric, found in estimates.items()},
        "ci95": {metric: found and found.ci95 for metric, found in estimates.items()},
    }


def _pair_document(pair: Pair) -> dict[str, Any]:
    difference = pair.difference
    return {
        "a": pair.a,
        "b": pair.b,
        "metric": pair.metric,
        "difference": difference.mean,
        "ci95": difference.ci95,
        "n": difference.n,
        "verdict": pair.verdict,
    }


def _parity_document(parity: Sequence[Parity]) -> dict[str, Any] | None:
    if not parity:
        return None
    kinds = ("loss", "weight", "moving", "prediction")
    return {
        "first": parity[0].first,
        "dtype": parity[0].dtype,
        "steps": parity[0].steps,
        **{
            name: _largest(getattr(found, name) for found in parity)
            for name in (f"max_{kind}_difference" for kind in kinds)
        },
        "arms": [dataclasses.asdict(found) for found in parity],
    }


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _noise_document(speeds: Speeds) -> dict[str, Any]:
    measured_so = {
        "rounds": speeds.rounds,
        "steps": speeds.steps,
        "machine": speeds.machine,
        "engine": speeds.engine,
    }
    return measured_so | dataclasses.asdict(speeds.noise)


def _throughput(document: Mapping[str, Any]) -> Throughput:
    fields = {field.name: document[field.name] for field in dataclasses.fields(Throughput)}
    return Throughput(**fields | {"spread": tuple(fields["spread"])})
