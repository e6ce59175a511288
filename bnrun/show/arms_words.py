"""The words of a picture of arms: its title, the arms' labels and the footer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bnrun.comparison.arm_words import in_words, listed
from bnrun.comparison.arms import ArmResult
from bnrun.show.arms_series import Series
from bnrun.show.plot_style import provenance
from bnrun.show.value_axis import Scale, loss_note
from bnrun.show.wording import data_name

LISTED_SEEDS = 6
"""Of more seeds in a row, the first and the last are written."""


@dataclass(frozen=True)
class Words:
    """What a picture's marks for single seeds and for intervals are, in a sentence each."""

    seeds: str
    intervals: str


WORDS_OF_CURVES = Words(
    "Thin: one seed each; strong: their mean.", "Bands: 95 % interval of the mean over seeds."
)
WORDS_OF_MANY_CURVES = Words(
    WORDS_OF_CURVES.seeds, "Means over seeds; the intervals of so many arms are not drawn."
)
WORDS_OF_ROWS = Words(
    "Small dots: one seed each; large: their mean.", "Bars: 95 % interval of the mean over seeds."
)


def arms_title(arms: Sequence[ArmResult]) -> str:
    """Return the title: the network, the data that all arms share, and how long they trained."""
    trials = [trial for result in arms for trial in result.trials]
    data = {data_name(trial.data) for trial in trials if trial.machine}
    epochs = {len(trial.epochs) for trial in trials if trial.status == "completed"}
    title = "LeNet" + (f" on {data.pop()}" if len(data) == 1 else "")
    if len(epochs) != 1:
        return title
    (count,) = epochs
    return f"{title}, {count} epoch{'s' if count != 1 else ''}"


def arm_remark(result: ArmResult) -> str:
    """Return what a reader must know of an arm's trials, in a few words; mostly nothing."""
    n = len(result.trials)
    if not n:
        return "no trial yet"
    ends: list[str] = [trial.status for trial in result.trials if trial.status != "completed"]
    ends += [trial.shortcoming for trial in result.completed if trial.shortcoming]
    return ", ".join(
        end if ends.count(end) == n else f"{ends.count(end)} of {n} seeds {end}"
        for end in dict.fromkeys(ends)
    )


def arms_footer(
    arms: Sequence[ArmResult], measured: Mapping[str, Sequence[Series]], loss: Scale, words: Words
) -> str:
    """Return the footer: n, machine and data, what the lines are, and what is not shown.

    Args:
        arms: the arms of the picture.
        measured: the series of each of them, by metric.
        loss: the axis of the loss.
        words: what the marks of the picture are.
    """
    losses = measured["loss"]
    highest = {
        in_words(result.arm.name): max(series.values, default=loss.high)
        for result, series in zip(arms, losses, strict=True)
    }
    notes = [*_marks(arms, losses, words), loss_note(loss, highest), *_lacking(arms, measured)]
    return f"{seeds_and_machine(arms)}\n{' '.join(filter(None, notes))}".strip()


def seeds_and_machine(arms: Sequence[ArmResult]) -> str:
    """Return the seeds that completed, arm by arm where they differ, the machine and the data."""
    names: dict[tuple[int, ...], list[str]] = {}
    for result in arms:
        seeds = tuple(trial.seed for trial in result.completed)
        names.setdefault(seeds, []).append(result.arm.name)
    if len(names) == 1:
        (seeds,) = names
        n = f"{_seeds(seeds)} per arm" if seeds else "n = 0: no trial completed"
    else:
        n = "; ".join(f"{listed(named)}: {_seeds(seeds)}" for seeds, named in names.items())
    return provenance(n, [trial for result in arms for trial in result.trials])


def _seeds(seeds: Sequence[int]) -> str:
    """Write how many seeds there are, and which."""
    n = len(seeds)
    is_range = n > LISTED_SEEDS and list(seeds) == list(range(seeds[0], seeds[0] + n))
    numbers = f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))
    return f"n = {n}" + (f" seed{'s' if n != 1 else ''} ({numbers})" if n else "")


def _marks(arms: Sequence[ArmResult], losses: Sequence[Series], words: Words) -> Iterator[str]:
    """Yield what is drawn beside the means."""
    if any(series.seeds for series in losses):
        yield words.seeds
    if any(series.intervals for series in losses):
        yield words.intervals
    if any(series.lost for series in losses):
        yield "×: a seed that ended here without a result; it is in no mean."
    if any(result.has_shortcoming for result in arms):
        yield "Dotted: guessing one of ten classes."


def _lacking(arms: Sequence[ArmResult], measured: Mapping[str, Sequence[Series]]) -> Iterator[str]:
    """Yield which arms have no population accuracy where others have one."""
    names = [
        result.arm.name
        for result, series in zip(arms, measured.get("test_acc_population", ()), strict=False)
        if result.completed and not series.means
    ]
    if names:
        yield f"No population accuracy: {listed(names)}."
