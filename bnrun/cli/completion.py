"""What the shells complete: names of runs, norms, configs, keys. None of it loads torch.

Typer completes commands and options, and asks these functions for values. It drops those that do
not begin as what was typed; where none is left, the shell completes names of files.
"""

import ast
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

Candidate = str | tuple[str, str]
"""A value, or a value with what it means."""

BREAKS = ("=", ":")
"""Characters at which bash breaks a word in two."""


DEVICES = ["auto", "cpu", "cuda", "mps"]


def one_of(*values: str) -> Callable[[], list[str]]:
    """Return a function that completes one of some values."""
    return lambda: [*values]


def probes(incomplete: str) -> list[str]:
    """Complete the last of several probes, separated by commas."""
    from bnrun.config.schema import PROBES

    before = incomplete.rpartition(",")[0]
    return [f"{before},{name}" if before else name for name in PROBES]


def configs() -> list[tuple[str, str]]:
    """Complete the name of a config that comes with bnrun."""
    from bnrun.config import about, packaged_configs

    files = packaged_configs().items()
    return [(name, _brief(about(file.read_text("utf-8")))) for name, file in files]


def checks() -> list[str]:
    """Complete the name of a check of a norm."""
    from bnrun.verification.check_descriptions import DOES, slug

    return [slug(name) for name in DOES]


def topics() -> list[Candidate]:
    """Complete a topic of the guide."""
    from bnrun.guide import TOPICS, subject

    return [(topic, subject(topic)) for topic in TOPICS]


def metrics() -> list[str]:
    """Complete a metric of a comparison."""
    from bnrun.comparison.trial_metrics import METRIC_NAMES

    return [*METRIC_NAMES]


def norms(incomplete: str) -> list[str]:
    """Complete a norm: a name, or a class of the file that was typed."""
    from bnrun.norms.factories import NORMS

    file, colon, _ = incomplete.rpartition(":")
    return [f"{file}:{name}" for name in _classes(Path(file))] if colon else [*NORMS]


def arms(context: typer.Context, incomplete: str) -> list[str]:
    """Complete an arm, `NAME=NORM,KEY=VALUE`: its norm, or a key of it; or the name of a run."""
    before, comma, _ = incomplete.rpartition(",")
    if comma:
        return [f"{before},{value}" for value, _ in settings()]
    name, equals, norm = incomplete.rpartition("=")
    of_norms = [f"{name}{equals}{value}" for value in norms(norm)]
    return of_norms if equals else of_norms + _names(context, "run")


def settings() -> list[tuple[str, str]]:
    """Complete KEY=VALUE: the values of a key where they are few, else its default."""
    from bnrun.config.schema import SECTIONS

    return [
        (f"{section}.{name}={value}", _brief(field.description or ""))
        for section, schema in SECTIONS.items()
        for name, field in schema.model_fields.items()
        for value in _values(f"{section}.{name}", field)
    ]


def filters(incomplete: str) -> list[tuple[str, str]]:
    """Complete a filter of the list of runs; a key in full only where it is typed so."""
    from bnrun.config.schema import SECTIONS
    from bnrun.runs.run_filter import NAMES, STATUSES

    fields = {
        f"{section}.{name}": field
        for section, schema in SECTIONS.items()
        for name, field in schema.model_fields.items()
    }
    shortest = {key: name for name, key in NAMES.items()}  # the last name of a key is its short one
    found = [(f"status={status}", "how it ended") for status in STATUSES]
    found += [(f"config={name}", meaning) for name, meaning in configs()]
    for name, key in NAMES.items():
        if key in fields and ("." in incomplete or name == shortest[key]):
            meaning = _brief(fields[key].description or "")
            found += [(f"{name}={value}", meaning) for value in _values(key, fields[key])]
    return [one for one in found if one[0].startswith(incomplete)]


def runs(context: typer.Context) -> list[str]:
    """Complete the name of a run."""
    return ["latest", *_names(context, "run")]


def comparisons(context: typer.Context) -> list[str]:
    """Complete the name of a comparison."""
    return ["latest", *_names(context, "comparison")]


def runs_and_comparisons(context: typer.Context) -> list[str]:
    """Complete the name of a run or a comparison."""
    return ["latest", *_names(context, "run"), *_names(context, "comparison")]


def studies() -> list[str]:
    """Complete the name of a study."""
    from bnrun.studies.registry import STUDIES

    return [*STUDIES, "all"]


def claims() -> list[tuple[str, str]]:
    """Complete the id of a claim."""
    from bnrun.studies.registry import STUDIES

    every = (claim for study in STUDIES.values() for claim in study.claims)
    return [(claim.id, _brief(claim.sentence)) for claim in every]


def study_directories(context: typer.Context) -> list[str]:
    """Complete the name of a study's directory."""
    return ["latest", *_names(context, "study")]


def reportable(context: typer.Context) -> list[str]:
    """Complete what a report may be about: a directory, or a study by its name."""
    kinds: tuple[Literal["run", "comparison", "study"], ...] = ("study", "comparison", "run")
    names = [name for kind in kinds for name in _names(context, kind)]
    return ["latest", *studies()[:-1], *names]


def commands(context: typer.Context) -> list[Candidate]:
    """Complete the command that `bnrun help` explains."""
    command: Any = context.find_root().command
    for name in context.params.get("command") or ():
        command = getattr(command, "commands", {}).get(name)
    known = getattr(command, "commands", {})
    return [(name, command.get_short_help_str()) for name, command in known.items()]


def _names(context: typer.Context, word: Literal["run", "comparison", "study"]) -> list[str]:
    """Return the names of directories of a kind in `--out`, newest first."""
    from bnrun.cli.options import RUNS
    from bnrun.runs.lookup import COMPARISON, RUN, STUDY, newest_first

    kind = {"run": RUN, "comparison": COMPARISON, "study": STUDY}[word]
    return [path.name for path in newest_first(Path(context.params.get("out") or RUNS), kind)]


def _brief(sentence: str) -> str:
    """Return the beginning of a sentence: shells show one line beside a value."""
    return re.split(r"[:;,.(]", sentence, maxsplit=1)[0].strip()


def _classes(file: Path) -> list[str]:
    """Return the names of the classes that a Python file defines; the file is not run."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    return [node.name for node in tree.body if isinstance(node, ast.ClassDef)]


def _values(key: str, field: Any) -> Sequence[str]:
    """Return what may follow `KEY=`; without few values, nothing or the default.

    Nothing is one of them, so that shells stop behind the `=` instead of taking the default.
    """
    from bnrun.config.yaml_text import inline
    from bnrun.norms import NORMS

    known = {"model.norm": [*NORMS], "training.device": DEVICES}
    if key in known:
        return known[key]
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)
    if field.annotation is bool:
        return ("true", "false")
    default = [*field.default] if isinstance(field.default, tuple) else field.default
    return ("", inline(default))


@contextlib.contextmanager
def whole_words() -> Iterator[None]:
    """Let bash complete words with `=` and `:` in them.

    Bash breaks `optimizer.lr=0.5` and `file.py:Class` into three words each, and puts what is
    printed in the place of the third. So the words are joined before typer reads them, and what is
    before the break is left out of the values that typer prints.
    """
    if os.environ.get("_BNRUN_COMPLETE") != "complete_bash":
        yield
        return
    words, at = _joined(os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"]))
    os.environ |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(at)}
    typed = words[at] if at < len(words) else ""
    before = typed[: 1 + max(typed.rfind(mark) for mark in BREAKS)]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            # Of `--set=optimizer.lr=`, typer has completed what is behind the first break.
            after = line.removeprefix(before).removeprefix(before.partition("=")[2])
            if after:
                sys.stdout.write(f"{after}\n")


def _joined(words: Sequence[str], at: int) -> tuple[list[str], int]:
    """Return the words as they were typed, and the place of the one at the cursor in these."""
    joined: list[str] = []
    place = at
    for index, word in enumerate(words):
        follows_break = index > 0 and word != "" and words[index - 1] in BREAKS
        if joined and (word in BREAKS or follows_break):
            joined[-1] += word
            place -= index <= at
        else:
            joined.append(word)
    return joined, place
