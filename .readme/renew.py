"""Renew the outputs that README.md and the guide show: `python .readme/renew.py`.

A console block is a command and what it prints:

    ```console
    $ bnrun verify my_batchnorm.py:BatchNorm
    my_batchnorm.py:BatchNorm ...
    …
    ```

The command is run in a folder that holds `configs/`, the recorded runs (see below) and the Python
files of the page: blocks that begin with `# name.py`. A line `…` stands for lines left out.
tests/test_pages.py holds every page to what the commands print today.

Some commands take minutes. What they measured is recorded in .readme/recorded/, and shown again
from there. `python .readme/renew.py --measure` measures it anew first: let nothing else run then.
`--measure bench speedrun` measures only these again (see recorded.py).
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import recorded

from bnrun.comparison.estimate import Estimate
from bnrun.comparison.trial_metrics import METRIC_NAMES
from bnrun.config.schema import SECTIONS, Config
from bnrun.config.yaml_text import inline
from bnrun.health.findings import KINDS
from bnrun.runs.run_records import read_run
from bnrun.runs.study_file import read_study
from bnrun.show.study_tables import measured, source_words
from bnrun.studies.claim import ClaimResult, Part, is_surprise
from bnrun.studies.registry import STUDIES
from bnrun.studies.rules import Judgment

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "bnrun" / "guide").glob("*.md"))]
ELISION = "…"
HOME = "/home/you"
ENVIRONMENT = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}

_CONSOLE = re.compile(r"^```console\n\$ (?P<command>[^\n]*)\n(?P<output>.*?)^```", re.M | re.S)
_FILE = re.compile(r"^```python\n(?P<source># (?P<name>\S+\.py)\n.*?)^```", re.M | re.S)
_GENERATED = re.compile(
    r"(?P<start><!-- generated: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.S
)


@dataclass(frozen=True)
class Example:
    """A command of a page, and the output that the page shows below it."""

    command: str
    output: str


def examples(markdown: str) -> Iterator[Example]:
    """Yield the console blocks of a page."""
    for block in _CONSOLE.finditer(markdown):
        yield Example(block["command"], block["output"])


def prepare(markdown: str, folder: Path) -> None:
    """Put into a folder what the commands of a page are run on."""
    (folder / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(recorded.RUNS, folder / "runs")
    for block in _FILE.finditer(markdown):
        (folder / block["name"]).write_text(block["source"])


def run(command: str, folder: Path) -> str:
    """Run a command in a folder, and return what it prints on either stream.

    The folder is a passing one; a page calls it /home/you.
    """
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return trimmed(done.stdout.replace(str(folder), HOME))


def today(command: str, shown: str, folder: Path, run: Callable[[str, Path], str] = run) -> str:
    """Return the output that a page should show below a command: what it shows, where that holds.

    Raises:
        LookupError: a line between two elisions is not printed any more.
    """
    if command in recorded.OUTPUTS:
        return fit(shown, trimmed(recorded.OUTPUTS[command]()), shape)
    fresh = fit(shown, run(command, folder), settled)
    wholes = (shown, fresh)
    if command.endswith("--help"):  # releases of typer differ in the line of usage
        wholes = (shown.partition("\n\n")[2], fresh.partition("\n\n")[2])
    holds = _all(settled, wholes[0]) == _all(settled, wholes[1])
    return shown if holds else fresh


def trimmed(printed: str) -> str:
    """Return a text without blank lines around it and without spaces at the ends of its lines."""
    return "\n".join(line.rstrip() for line in printed.splitlines()).strip("\n") + "\n"


def fit(shown: str, printed: str, alike: Callable[[str], str]) -> str:
    """Return what was printed, less what a page leaves out.

    `alike` returns what two lines have in common of which one stands for the other.

    Raises:
        LookupError: a line between two elisions is not printed any more.
    """
    if ELISION not in shown.splitlines():
        return printed
    fresh, fitted = iter(printed.splitlines()), []
    for line in shown.splitlines():
        if line != ELISION:
            wanted = alike(line)
            line = next((one for one in fresh if alike(one) == wanted), None)
            if line is None:
                raise LookupError(f"this line is not printed any more, or not here: {wanted}")
        fitted.append(line)
    return "\n".join(fitted) + "\n"


def settled(line: str) -> str:
    """Return a line without what differs from run to run: rounding errors, widths and times."""
    return " ".join(re.sub(r"\b(\de-1\d|0)\b|in \d+\.\d s|\d{8}T\d{6}Z", "~", line).split())


def shape(line: str) -> str:
    """Return a line with every number masked, except for one that begins it as a label."""
    first, *rest = line.split() or [""]
    label = first if re.fullmatch(r"\d{1,3}", first) else _masked(first)
    return " ".join([label, *map(_masked, rest)])


def _masked(word: str) -> str:
    return re.sub(r"[+-]?\d[\d.,e+-]*", "~", word)


def _all(alike: Callable[[str], str], text: str) -> list[str]:
    return [alike(line) for line in text.splitlines()]


def keys_table() -> str:
    """Return the Markdown table of all config keys, made from the schema."""
    defaults = Config().to_dict()
    rows = [
        (f"`{section}.{name}`", f"`{inline(defaults[section][name])}`", field.description)
        for section, schema in SECTIONS.items()
        for name, field in schema.model_fields.items()
    ]
    return _table(("key", "default", "meaning"), rows)


def results_table() -> str:
    """Return the Markdown table of the recorded comparison, and what it was measured on."""
    comparison = recorded.comparison()
    rows = [
        (f"`{result.arm.name}`", *(_interval(result.estimate(metric)) for metric in METRIC_NAMES))
        for result in comparison.arms
    ]
    trial = comparison.trials[0]
    torch = read_run(Path(str(trial.run))).environment["torch"]
    conditions = f"{trial.machine}, engine {trial.engine}, torch {torch}"
    return _table(("norm", *METRIC_NAMES.values()), rows) + (
        "\nMean ± half the width of its 95 % interval over the seeds; n = "
        f"{len(comparison.seeds)} each;\n{conditions}.\n"
    )


def speed_table() -> str:
    """Return the Markdown row of norm `scratch` in the recorded benchmark, and its conditions."""
    benchmark = recorded.benchmark()
    (arm,) = (arm for arm in benchmark.arms if arm.name == "scratch")
    low, high = arm.spread
    names = ("training", "engine", "examples/s", f"ratio to `{benchmark.baseline}` (middle half)")
    ratio = f"{arm.ratio:.2f} ({low:.2f} to {high:.2f})"
    row = (f"`{arm.name}`", arm.engine, f"{arm.examples_per_second:,.0f}", ratio)
    conditions = f"{benchmark.machine}, torch {benchmark.versions['torch']}"
    return _table(names, [row]) + (
        f"\nMedians of {benchmark.rounds} rounds of {benchmark.steps} steps; {conditions}.\n"
    )


def claims_table() -> str:
    """Return the Markdown tables of all claims, one for each study: who says it, what came out."""
    found = {one.claim.id: one for result in recorded.studies().values() for one in result.claims}
    return "\n".join(
        f"### {study.name}: {study.question}\n\n"
        + _table(
            ("id", "claim", "who says it", "expected (how surely)", "found"),
            [
                (
                    f"{claim.id} {claim.name}",
                    claim.sentence,
                    "; ".join(map(source_words, claim.sources)),
                    f"{claim.expected} ({claim.confidence})",
                    _outcome(found.get(claim.id)),
                )
                for claim in study.claims
            ],
        )
        for study in STUDIES.values()
    )


def _outcome(result: ClaimResult | None) -> str:
    if result is None:
        return "not measured yet"
    return f"**{result.verdict}**" if result.is_surprise else result.verdict


def verdicts_table() -> str:
    """Return the Markdown table of the recorded studies: of each part, expected and found."""
    found = recorded.studies()
    rows = [
        (
            f"{one.claim.id} {one.claim.name}",
            part.name,
            part.expected,
            _found(part, one.judgments[part.name]),
            measured(part.rule, one.judgments[part.name]),
        )
        for study in STUDIES.values()
        if study.name in found
        for one in found[study.name].claims
        for part in one.claim.parts
    ]
    names = ("claim", "part", "expected", "found", "measured (95 % interval)")
    return _table(names, rows)


def conditions() -> str:
    """Return when, on what and with which budget the recorded studies were measured."""
    kept = [read_study(path) for path in sorted(recorded.STUDIES.iterdir())]
    days = sorted({f"{one.started:%Y-%m-%d}" for one in kept if one.started})
    machines = sorted({one.result.machine for one in kept})
    budgets = sorted({one.result.budget for one in kept})
    versions = sorted({f"torch {one.environment['torch']}" for one in kept})
    facts = ", ".join([f"budget {' and '.join(budgets)}", *machines, *versions])
    return f"Measured on {' and '.join(days)}: {facts}.\n"


def _found(part: Part, judgment: Judgment) -> str:
    return f"**{judgment.verdict}**" if is_surprise(part, judgment) else judgment.verdict


def findings_table() -> str:
    """Return the kinds of findings of an audit, and when each is found."""
    rows = [(f"`{kind.id}`", kind.about, kind.threshold) for kind in KINDS.values()]
    return _table(("finding", "what it says", "when"), rows)


TABLES = {
    "claims": claims_table,
    "cluster": lambda: recorded.cluster().to_markdown(),
    "conditions": conditions,
    "findings": findings_table,
    "keys": keys_table,
    "results": results_table,
    "speed": speed_table,
    "verdicts": verdicts_table,
}
"""What stands between `<!-- generated: NAME -->` and `<!-- end -->` on a page."""


def generated(markdown: str) -> str:
    """Return a page with its generated tables made anew."""
    return _GENERATED.sub(
        lambda block: f"{block['start']}\n{TABLES[block['name']]()}\n{block['end']}", markdown
    )


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = tuple(names)
    cells = ([cell.replace("|", r"\|") for cell in row] for row in rows)
    lines = [names, ["---"] * len(names), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.4f} ± {estimate.half_width:.4f}"


def renewed(markdown: str) -> str:
    """Return a page with its outputs and generated tables as they are today."""
    with tempfile.TemporaryDirectory(prefix="bnrun-page-") as folder:
        prepare(markdown, Path(folder))

        def renew(block: re.Match[str]) -> str:
            output = today(block["command"], block["output"], Path(folder))
            return f"```console\n$ {block['command']}\n{output}```"

        markdown = _CONSOLE.sub(renew, markdown)
    return generated(markdown)


def main() -> None:
    """Renew every page, and the picture of the recorded comparison."""
    if sys.argv[1:2] == ["--measure"]:
        recorded.measure(sys.argv[2:])
    recorded.draw()
    for page in PAGES:
        before = page.read_text()
        after = renewed(before)
        print(f"{page.relative_to(ROOT)}: {'renewed' if after != before else 'as it was'}")
        page.write_text(after)


if __name__ == "__main__":
    main()
