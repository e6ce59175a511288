"""From a YAML file and overrides to one resolved config, or to an error that says what to change.

A file names the keys that differ from the defaults, or all of them.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bnrun.config import yaml_text
from bnrun.config.norm_call import parse_norm_call
from bnrun.config.packaged import find_config, packaged_configs
from bnrun.config.requirement import key_requirement
from bnrun.config.schema import KEYS, SECTIONS, Config
from bnrun.errors import ConfigError, did_you_mean

_OPTIONS = "model.norm_options"

MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Assignment:
    """A value for a dotted key, and where it came from: `file:line`, or an option."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class Resolved:
    """A config, a name for it, and the source of each dotted key: `default`, or an assignment's."""

    config: Config
    name: str
    sources: Mapping[str, str]

    def rows(self) -> list[tuple[str, Any, str]]:
        """Return (dotted key, value, source) for every key, in the schema's order."""
        values = self.config.to_dict()
        return [
            (key, values[section][name], self.sources[key])
            for key, (section, name) in ((key, key.split(".")) for key in KEYS)
        ]


def resolve(path: Path | None, overrides: Iterable[Assignment] = ()) -> Resolved:
    """Apply a config file to the defaults, and overrides to that; the last value of a key wins.

    Args:
        path: a YAML file, or the name of a config that comes with bnrun. Without one, the config is
            named after configs/lenet_bn.yaml, which equals the defaults.
        overrides: assignments over it.

    Raises:
        ConfigError: a file cannot be read, or a key or value is not acceptable. The error has
            every unacceptable value.
    """
    given = [*(read_file(path) if path else ()), *overrides]
    assignments = list(_norm_keys_apart(given))
    for assignment in assignments:
        _require_known_key(assignment)
    last = {assignment.key: assignment for assignment in assignments}
    nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, assignment in last.items():
        section, name = key.split(".")
        nested[section][name] = assignment.value
    try:
        config = Config.model_validate(nested)
    except ValidationError as error:
        raise _config_error(error, last) from error
    sources = {key: last[key].source if key in last else "default" for key in KEYS}
    return Resolved(config, path.stem if path else "lenet_bn", sources)


def _norm_keys_apart(assignments: Iterable[Assignment]) -> Iterator[Assignment]:
    """Yield assignments with a norm and its options under a key each, however they are written.

    `model.norm=builtin(eps=1)` assigns both. `model.norm_options.eps=1` assigns one option, and
    keeps those that were assigned before.
    """
    options: Any = {}
    for one in assignments:
        assigned = [one]
        if one.key == "model.norm" and isinstance(one.value, str):
            norm, written = parse_norm_call(one.value, one.source)
            assigned = [replace(one, value=norm)]
            if written is not None:
                assigned.append(Assignment(_OPTIONS, written, one.source))
        elif one.key.startswith(f"{_OPTIONS}.") and isinstance(options, dict):
            name = one.key.removeprefix(f"{_OPTIONS}.")
            assigned = [Assignment(_OPTIONS, {**options, name: one.value}, one.source)]
        yield from assigned
        if assigned[-1].key == _OPTIONS:
            options = assigned[-1].value


def config_assignments(config: Mapping[str, Any], source: str) -> list[Assignment]:
    """Return the assignments that make up a config, given as a dict, all from one source."""
    return [
        Assignment(f"{section}.{name}", value, source)
        for section, values in config.items()
        for name, value in values.items()
    ]


def read_file(path: Path) -> list[Assignment]:
    """Read a config file, or a config that comes with bnrun, as assignments.

    Raises:
        ConfigError: it is missing, unreadable, not YAML, or not a mapping of sections.
    """
    file, source = find_config(path)
    document = yaml_text.parse(_read_text(file), source)
    if document.value is None:
        raise ConfigError(
            "the file is empty. Set at least one key, for example `model: {norm: scratch}`; "
            "without a config file, a run takes every default.",
            source=source,
        )
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"the top level is a {type(document.value).__name__}; it must be a mapping with the "
            f"sections {', '.join(SECTIONS)}.",
            source=source,
        )
    return [
        assignment
        for name, section in document.value.items()
        for assignment in _flatten(str(name), section, source, document.lines)
    ]


def parse_override(text: str, source: str = "--set") -> list[Assignment]:
    """Parse `KEY=VALUE`: a dotted key, or a section, and a value in YAML.

    Args:
        text: the override.
        source: where it comes from.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            "this must be KEY=VALUE with a dotted key, for example optimizer.lr=0.5.",
            source=f"{source} {text}",
        )
    return _flatten(key.strip(), yaml_text.parse(value, f"{source} {text}").value, source, {})


def _read_text(path: Path) -> str:
    """Read a config file.

    Raises:
        ConfigError: it is missing, unreadable, far too large, or not UTF-8.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no such config file.{_similar_file(path)}", source=source
        ) from error
    except OSError as error:
        reason = f"this config file can't be read: {error.strerror}."
        raise ConfigError(reason, source=source) from error
    if len(raw) > MAX_FILE_BYTES:
        reason = f"over {MAX_FILE_BYTES:,} bytes, too large to be a config."
        raise ConfigError(reason, source=source)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8 text; a config is a YAML text file."
        raise ConfigError(reason, source=source) from error


def _similar_file(path: Path) -> str:
    """Return ' Did you mean …?' for a missing file: one beside it, or one of bnrun's configs."""
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.y*ml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f" Did you mean '{folder / near[0]}'?"
    known = difflib.get_close_matches(path.stem, packaged_configs(), n=1)
    return f" Did you mean '{known[0]}', which comes with bnrun?" if known else ""


def _flatten(key: str, value: Any, source: str, lines: Mapping[str, int]) -> list[Assignment]:
    """Return the assignments of a key, or of each key in a section; an empty section has none."""
    if key in SECTIONS and value is None:
        return []
    if key in SECTIONS and isinstance(value, dict):
        return [
            assignment
            for name, inner in value.items()
            for assignment in _flatten(f"{key}.{name}", inner, source, lines)
        ]
    line = lines.get(key)
    return [Assignment(key, value, f"{source}:{line}" if line else source)]


def _require_known_key(assignment: Assignment) -> None:
    """Refuse a key that the schema does not have, and suggest the one that was meant.

    Raises:
        ConfigError: there is no such key, or it is a section.
    """
    key, source = assignment.key, assignment.source
    if key in KEYS:
        return
    if key in SECTIONS:
        raise ConfigError(
            f"received {reprlib.repr(assignment.value)}; this is a section with the keys "
            f"{', '.join(SECTIONS[key].model_fields)}.",
            key=key,
            source=source,
        )
    section, _, name = key.partition(".")
    if section in SECTIONS:
        keys = SECTIONS[section].model_fields
        near = did_you_mean(name, keys)
        known = f"The keys of {section}: {', '.join(keys)}."
    else:
        near = did_you_mean(key, [*KEYS, *SECTIONS])
        if not near:  # a key without its section, such as `lr: 0.1`
            near = next((f" Did you mean '{k}'?" for k in KEYS if k.endswith(f".{key}")), "")
        known = f"The sections: {', '.join(SECTIONS)}."
    raise ConfigError(f"there is no key '{key}'.{near} {known}", source=source)


def _config_error(error: ValidationError, assignments: Mapping[str, Assignment]) -> ConfigError:
    """Convert pydantic's error into a ConfigError, with one error per key and its source."""
    details: dict[str, ErrorDetails] = {}
    for detail in error.errors():
        details.setdefault(_key_of(detail), detail)  # a list may have several
    first, *others = (
        ConfigError(_describe(detail), key=key, source=assignments[key].source)
        for key, detail in details.items()
    )
    return ConfigError(first.reason, first.key, first.source, others)


def _describe(detail: ErrorDetails) -> str:
    """Write what pydantic found: the value received, what is required, what the key means."""
    section, name = _key_of(detail).split(".")
    field = SECTIONS[section].model_fields[name]
    received = detail["input"]
    if detail["type"] in _NUMBER_ERRORS:
        required = f"be {key_requirement(_key_of(detail))}"
    elif detail["type"] == "tuple_type":
        required = f"be a list, such as {yaml_text.inline([*field.default])}"
    else:
        required = _REQUIRED.get(detail["type"]) or detail["msg"].removeprefix("Input should ")
    near = ""
    if detail["type"] == "literal_error" and isinstance(received, str):
        near = did_you_mean(received, re.findall("'([^']*)'", detail["ctx"]["expected"]))
    return (
        f"received {reprlib.repr(received)}; it must {required}.{near}\n"
        f"  {name}: {field.description}"
    )


def _key_of(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"][:2])


_NUMBER_ERRORS = {
    "float_type",
    "int_type",
    "int_from_float",
    "greater_than",
    "greater_than_equal",
    "less_than",
    "less_than_equal",
}
"""Pydantic's kinds of error where a value is not a number, or a number is out of range."""

_REQUIRED = {
    "bool_type": "be true or false",
    "string_type": "be text",
    "string_too_short": "not be empty",
    "string_pattern_mismatch": "be one of auto, cpu, cuda, cuda:N, mps",
    "too_short": "be a list with at least one entry",
    "norm_options": (
        "be a mapping from the names of options to numbers, true or false, text, null, or lists, "
        "such as {eps: 1e-3}"
    ),
    "value_error": "come with optimizer.momentum above 0, such as 0.9",
}
"""What is required of a value, by pydantic's kind of error, where its own words are not plain."""
