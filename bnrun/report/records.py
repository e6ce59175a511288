"""Comparisons and runs as sections: what the terminal says of them, and their pictures."""

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from bnrun.comparison.result import Comparison
from bnrun.comparison.trial_metrics import METRIC_NAMES
from bnrun.config import Config
from bnrun.config.difference import RECORDING_KEYS, config_difference
from bnrun.report.claims import provenance
from bnrun.report.sections import Fold, Overview, Picture, Row, Section, outcome
from bnrun.runs.kept_results import KeptComparison, KeptRun
from bnrun.show import pictures
from bnrun.show.compare_tables import comparison_view
from bnrun.show.inline_svg import Drawing, drawings
from bnrun.show.page_blocks import blocks
from bnrun.show.probe_words import probes_of
from bnrun.show.runs_tables import run_view
from bnrun.show.wording import fraction, moment, norm_name, training_title

OF_ARMS = (
    "model.norm",
    "model.norm_options",
    "training.seed",
    "training.device",
    "training.engine",
    *RECORDING_KEYS,
)
"""Config keys that an arm's name says, or that a comparison sets by itself."""
IN_TABLES = "The values are in the folded tables."


def comparison_section(kept: KeptComparison, id_: str) -> Section:
    """Return a comparison as a section."""
    comparison = kept.comparison
    shown = list(blocks(comparison_view(comparison), "Of the comparison"))
    figure = pictures.compare(comparison)
    caption = " ".join(figure.get_supxlabel().split())
    return Section(
        id=id_,
        heading=f"Comparison {_arms(comparison)}",
        outcome=outcome(comparison.status),
        facts=[
            ("Differences", list(_verdicts(comparison)) or ["no pair could be judged"]),
            ("Started", [moment(kept.started)]),
        ],
        pictures=list(_drawn(drawings(figure, id_), id_, f"Arms {_arms(comparison)}")),
        caption=caption,
        folds=[Fold("The numbers", shown)],
        command=_command(comparison),
    )


def run_section(kept: KeptRun, id_: str) -> Section:
    """Return a run as a section."""
    record = kept.record
    summary = record.summary
    reason = [("Reason", [summary.reason])] if summary.reason else []
    command = record.environment.get("command") or ["bnrun", "train"]
    drawn = list(_drawn(drawings(pictures.curves(summary), id_), id_, training_title(summary)))
    for probe in probes_of(kept.looks):
        figure = pictures.probe_picture(kept.looks, probe, "", "")
        name = f"{id_}-{probe}"
        drawn += _drawn(drawings(figure, name), name, f"probe {probe}")
    return Section(
        id=id_,
        heading=f"Run {training_title(summary)}",
        outcome=outcome(record.status),
        facts=[
            ("Result", list(_result(kept))),
            *reason,
            *provenance(record.environment, moment(record.started)),
        ],
        pictures=drawn,
        caption=" ".join(pictures.run_footer(summary).split()),
        folds=[Fold("The numbers", list(blocks(run_view(record, kept.looks), "Of the run")))],
        command=shlex.join(["bnrun", *command[1:]]),
    )


def comparisons_overview(sections: Sequence[tuple[Section, KeptComparison]]) -> Overview:
    """Return a line for each comparison."""
    rows = [
        Row(
            section.id,
            _arms(kept.comparison),
            (section.outcome, str(len(kept.comparison.seeds)), "; ".join(section.facts[0][1])),
        )
        for section, kept in sections
    ]
    headings = ("arms", "status", "seeds", "primary differences")
    return Overview("Comparisons", headings, (False, False, True, False), rows)


def runs_overview(sections: Sequence[tuple[Section, KeptRun]]) -> Overview:
    """Return a line for each run."""
    rows = [_line(kept, section) for section, kept in sections]
    headings = ("norm", "status", "seed", "epochs", "loss", "test accuracy")
    return Overview("Runs, one seed each", headings, (False, False, *[True] * 4), rows)


def _line(kept: KeptRun, section: Section) -> Row:
    summary = kept.record.summary
    last = summary.epochs[-1] if summary.epochs else None
    loss, accuracy = (last.loss, last.test_acc) if last else (None, None)
    figures = (str(len(summary.epochs)), fraction(loss), fraction(accuracy))
    cells = (section.outcome, str(summary.seed), *figures)
    return Row(section.id, norm_name(summary.norm), cells)


def _result(kept: KeptRun) -> Iterator[str]:
    summary = kept.record.summary
    if summary.epochs:
        last = summary.epochs[-1]
        yield (
            f"After epoch {last.epoch}: loss {fraction(last.loss)}, train accuracy "
            f"{fraction(last.train_acc)}, test accuracy {fraction(last.test_acc)}; one seed."
        )
    yield from summary.remarks


def _arms(comparison: Comparison) -> str:
    return " and ".join(result.arm.name for result in comparison.arms)


def _is_plain(comparison: Comparison) -> bool:
    """Return whether a command line can say what the arms and seeds are."""
    seeds = list(comparison.seeds)
    names_say_all = not comparison.differences and all(
        result.arm.name == result.arm.config.model.norm_call for result in comparison.arms
    )
    return names_say_all and seeds == list(range(seeds[0], seeds[0] + len(seeds)))


def _command(comparison: Comparison) -> str:
    """Return the command that trains a comparison again; what its settings are, where it has none.

    A command line has no words for some arms; `--resume` shows what such a comparison kept.
    """
    if not _is_plain(comparison):
        return f"bnrun compare --resume {shlex.quote(Path(str(comparison.run)).name)}"
    arms = [result.arm for result in comparison.arms]
    first, *_ = seeds = list(comparison.seeds)
    words = ["bnrun", "compare", *(arm.name for arm in arms), "--seeds", str(len(seeds))]
    if first:
        words += ["--set", f"training.seed={first}"]
    for one in config_difference(Config().to_dict(), arms[0].config.to_dict()):
        if one.key not in OF_ARMS:
            value = one.b if isinstance(one.b, str) else json.dumps(one.b)
            words += ["--set", f"{one.key}={value}"]
    return shlex.join(words)


def _verdicts(comparison: Comparison) -> Iterator[str]:
    """Yield the verdict on the primary metric of each pair of arms."""
    for pair in comparison.pairs:
        if pair.primary:
            found, metric = pair.difference, METRIC_NAMES[pair.metric]
            interval = " ({:+.4f} to {:+.4f})".format(*found.ci95) if found.ci95 else ""
            yield (
                f"{pair.a} less {pair.b}, {metric}: {found.mean:+.4f}{interval}, n = {found.n}: "
                f"{pair.verdict}"
            )


def _drawn(drawn: Sequence[Drawing], id_: str, what: str) -> Iterator[Picture]:
    for number, drawing in enumerate(drawn, start=1):
        title = f"{what}: {drawing.title}" if drawing.title else what
        yield Picture(f"{id_}-picture-{number}", drawing, title, IN_TABLES)
