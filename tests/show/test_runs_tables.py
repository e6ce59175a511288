"""Whole tables of runs, from hand-made records, as a person reads them at 80 columns."""

import dataclasses
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from bnrun.config import Assignment, resolve
from bnrun.events import DataUsed, EpochEnded
from bnrun.runs.run_records import ComparisonRecord, DamagedRun, RecordStatus, RunRecord
from bnrun.show.runs_tables import diff_table, run_view, runs_table
from bnrun.training_summary import Summary

FASHION = DataUsed("fashion-mnist", "bnrun's cache: /c", True, 60_000, 0, 10_000)
ENVIRONMENT = {
    "bnrun": "0.1.0",
    "python": "3.11.7",
    "torch": "2.15.0",
    "torchvision": "0.29.2",
    "platform": "Linux",
    "device": "cpu",
    "machine": "Some CPU, 2 threads",
    "threads": 2,
    "command": ["bnrun", "train", "my config.yaml"],
    "git": {"commit": "4e8081c", "changed": True},
}


def _render(view: RenderableType, width: int = 80) -> str:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _run(
    name: str = "20261121T225147Z-lenet_bn-scratch-s0",
    config_name: str | None = "lenet_bn",
    *,
    status: RecordStatus = "completed",
    loss: float = 0.2661,
    epochs: int = 1,
    sets: dict[str, Any] | None = None,
    reason: str | None = None,
    **environment: object,
) -> RunRecord:
    assignments = [Assignment(key, value, "test") for key, value in (sets or {}).items()]
    config = resolve(None, assignments).config
    rows = (EpochEnded(n + 1, loss, 0.9009, 0.8712, None, None, None, 4.0) for n in range(epochs))
    summary = Summary(
        config=config.to_dict(),
        norm=config.model.norm,
        device="cpu",
        machine="Some CPU, 2 threads",
        seed=config.training.seed,
        data=FASHION,
        epochs=tuple(rows),
        reason=reason,
        examples_per_second=17_000.4,
        compute_examples_per_second=18_000.6,
    )
    started = datetime(2026, 11, 21, 22, 51, 47, tzinfo=UTC)
    path = Path("runs", name)
    return RunRecord(path, started, config_name, summary, status, ENVIRONMENT | environment)


NONE = {"model.norm": "none", "training.seed": 3}


RECORDS = [
    DamagedRun(Path("runs/[b]hurt"), "runs/[b]hurt/metrics.jsonl:3: no event"),
    _run(
        "20261121T210000Z-lenet_maxpool-builtin-s12", status="unfinished",
        sets={"optimizer.lr": 0.1, "model.pool": "max", "model.norm": "builtin(eps=0.1)"},
    ),
    ComparisonRecord(Path("runs/20261121T220000Z-compare-a-b"), ("a", "b"), (0, 1), "completed"),
    ComparisonRecord(Path("runs/x"), (), (), None),
    _run("mine", None, sets=NONE | {"data.name": "synthetic", "training.device": "cpu"}),
    _run("20261121T225147Z-lenet_bn-scratch-s0", status="running", epochs=0),
    _run(sets={"training.epochs": 1}),
]  # fmt: skip


def test_runs() -> None:
    assert _render(runs_table(RECORDS)) == (
        "\n"
        "                                                               test\n"
        " run or comparison                           epochs    loss     acc  status\n"
        " ──────────────────────────────────────────────────────────────────────────────\n"
        " [b]hurt                                                             damaged\n"
        " 20261121T210000Z-lenet_maxpool-builtin-s12    1/10  0.2661  0.8712  unfinished\n"
        "   norm's eps 0.1, max pool, lr 0.1\n"
        " 20261121T220000Z-compare-a-b                                        completed\n"
        "   a, b; 2 seeds\n"
        " x                                                                   no result\n"
        " mine                                          1/10  0.2661  0.8712  completed\n"
        "   2026-11-21 22:51:47 UTC, norm none, seed 3, synthetic data\n"
        " 20261121T225147Z-lenet_bn-scratch-s0          0/10       -       -  running\n"
        " 20261121T225147Z-lenet_bn-scratch-s0             1  0.2661  0.8712  completed\n"
        "\n"
        "damaged: runs/[b]hurt/metrics.jsonl:3: no event"
    )


def test_a_long_name_of_a_comparison_takes_no_room_from_the_figures_of_runs() -> None:
    name = "20261121T220000Z-compare-scratch-builtin-MyNorm-instance-group-layer"
    arms = ("scratch", "builtin", "MyNorm", "instance", "group", "layer")
    records = [
        ComparisonRecord(Path(name), arms, (0, 1), "interrupted"),
        _run(sets={"training.epochs": 1}),
    ]
    assert _render(runs_table(records)) == (
        "\n"
        " run or comparison                     epochs    loss  test acc  status\n"
        " ─────────────────────────────────────────────────────────────────────────\n"
        f" {name}\n"
        "   interrupted; scratch, builtin, MyNorm, instance, group, layer; 2 seeds\n"
        " 20261121T225147Z-lenet_bn-scratch-s0       1  0.2661    0.8712  completed\n"
    )


def test_runs_in_a_narrow_terminal_have_a_block_each_and_whole_names() -> None:
    assert _render(runs_table(RECORDS[1:3]), 50) == (
        "\n"
        "20261121T210000Z-lenet_maxpool-builtin-s12\n"
        "  epochs: 1/10  loss: 0.2661  test acc: 0.8712\n"
        "  status: unfinished\n"
        "   norm's eps 0.1, max pool, lr 0.1\n"
        "20261121T220000Z-compare-a-b\n"
        "  status: completed\n"
        "   a, b; 2 seeds\n"
    )


def test_a_long_name_stands_alone_on_its_line_to_be_copied() -> None:
    name = "20261121T225147Z-a_config_with_a_very_long_name_that_says_it_all-MyOwnNorm-s0"
    shown = _render(runs_table([_run(name)]))
    assert name in map(str.strip, shown.splitlines())


def test_a_run() -> None:
    assert _render(run_view(_run(sets={"training.epochs": 1}))) == (
        "started   2026-11-21 22:51:47 UTC\n"
        "config    lenet_bn\n"
        "norm      scratch\n"
        "seed      0\n"
        "status    completed\n"
        "command   bnrun train 'my config.yaml'\n"
        "device    cpu: Some CPU, 2 threads\n"
        "engine    eager\n"
        "platform  Linux\n"
        "versions  bnrun 0.1.0, python 3.11.7, torch 2.15.0, torchvision 0.29.2\n"
        "git       4e8081c, with changes\n"
        "\n"
        "config            here   default\n"
        "────────────────────────────────\n"
        "training.epochs   1      10\n"
        "\n"
        "LeNet, norm scratch, Fashion-MNIST, one seed (0)\n"
        "\n"
        "  epoch     loss   train acc   test acc   examples/s   seconds\n"
        " ──────────────────────────────────────────────────────────────\n"
        "      1   0.2661      0.9009     0.8712            -       4.0\n"
        "\n"
        "loss 0.266, train acc 0.901, test acc 0.871\n"
        "17,000 examples/s end to end (18,001 compute only) on cpu\n"
        "  Some CPU, 2 threads, engine eager"
    )


def test_a_run_of_the_defaults_that_never_began() -> None:
    run = dataclasses.replace(_run(status="unfinished", epochs=0), environment={}, started=None)
    assert _render(run_view(run)) == (
        "started  -\n"
        "config   lenet_bn\n"
        "norm     scratch\n"
        "seed     0\n"
        "status   unfinished 0/10\n"
        "\n"
        "config: the defaults\n"
        "\n"
        "no epoch was finished"
    )


def test_why_a_run_failed_is_said() -> None:
    shown = _render(run_view(_run(status="failed", reason="the disk [is] full")))
    assert "status    failed 1/10: the disk [is] full" in shown


def test_a_difference() -> None:
    other = _run("b", sets=NONE, status="unfinished", loss=0.26612, torch="2.6.0", git=None)
    assert _render(diff_table(_run(), other)) == (
        "a  runs/20261121T225147Z-lenet_bn-scratch-s0\n"
        "b  runs/b\n"
        "\n"
        "config          a         b\n"
        "──────────────────────────────\n"
        "model.norm      scratch   none\n"
        "training.seed   0         3\n"
        "\n"
        "result   a           b\n"
        "───────────────────────────────\n"
        "status   completed   unfinished\n"
        "loss     0.2661      0.26612\n"
        "\n"
        "environment   a        b\n"
        "────────────────────────────\n"
        "torch         2.15.0   2.6.0\n"
        "\n"
        "b is unfinished: its figures are those of epoch 1 of 10.\n"
        "\n"
        "One seed each (0 and 3): two runs with different seeds differ by chance, too.\n"
        "`bnrun compare` pairs seeds."
    )


@pytest.mark.parametrize(
    ("loss", "other", "written"),
    [
        (0.37029203033447267, 0.3701, "0.3703      0.3701"),
        (0.37029203033447267, 0.37031, "0.37029     0.37031"),
        (0.37029203033447267, 0.37029203, "0.3703      0.3703 (-3e-10)"),
        (1.5, float("inf"), "1.5000      inf"),
    ],
)
def test_a_figure_has_as_many_digits_as_tell_it_from_the_other(
    loss: float, other: float, written: str
) -> None:
    shown = _render(diff_table(_run(loss=loss), _run("b", loss=other)))
    assert " ".join(f"loss {written}".split()) in " ".join(shown.split())


def test_results_that_differ_are_called_what_other_tables_call_them() -> None:
    run = _run()
    epoch = replace(run.summary.epochs[0], train_acc=0.9, test_acc=0.8, test_acc_population=0.85)
    summary = replace(run.summary, epochs=(epoch,), examples_per_second=9_000.0)
    shown = _render(diff_table(run, replace(run, summary=summary)))
    assert (
        "result                 a        b\n"
        "──────────────────────────────────────\n"
        "train acc              0.9009   0.9000\n"
        "test acc, moving       0.8712   0.8000\n"
        "test acc, population   -        0.8500\n"
        "examples/s             17,000   9,000\n"
    ) in shown


def test_no_difference() -> None:
    assert _render(diff_table(_run(), _run("copy"))) == (
        "a  runs/20261121T225147Z-lenet_bn-scratch-s0\n"
        "b  runs/copy\n"
        "\n"
        "Nothing differs in config.\n"
        "\n"
        "Nothing differs in result.\n"
        "\n"
        "Nothing differs in environment."
    )
