"""From a YAML file and overrides to one resolved config, or to an error that says what to mend.

A file states only what differs from the defaults, or all of it.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bnrun.config import yaml_text
from bnrun.config.schema import KEYS, SECTIONS, Config
from bnrun.errors import ConfigError, did_you_mean

MAX_FILE_BYTES = 1_000_000


@dataclass(frozen=True)
class Assignment:
    """A value for a dotted key, and where it came from (`file:line`, or an option's name)."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class Resolved:
    """A config, a name for it, and the source of each dotted key."""

    config: Config
    name: str
    sources: Mapping[str, str]

    def rows(self) -> list[tuple[str, Any, str]]:
        """Return (dotted key, value, source) for every key, in the schema's order."""
        document = self.config.to_dict()
        return [
            (key, document[key.split(".")[0]][key.split(".")[1]], self.sources[key]) for key in KEYS
        ]


def resolve(path: Path | None, overrides: Iterable[Assignment] = ()) -> Resolved:
    """Lay a config file over the defaults, and overrides over the file; the last one wins.

    Without a file, the defaults stand alone, and are named after the file that equals them.

    Raises:
        ConfigError: naming each key or file, the value received, and what is required.
    """
    stated = [*(read_file(path) if path else ()), *overrides]
    for assignment in stated:
        _refuse_unknown(assignment)
    last = {assignment.key: assignment for assignment in stated}
    nested: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    for key, assignment in last.items():
        section, name = key.split(".")
        nested[section][name] = assignment.value
    try:
        config = Config.model_validate(nested)
    except ValidationError as error:
        first = {_key_of(detail): detail for detail in reversed(error.errors())}
        problems = [_describe(detail, last) for detail in reversed(first.values())]
        raise ConfigError("\n".join(problems)) from error
    sources = {key: last[key].source if key in last else "default" for key in KEYS}
    return Resolved(config, path.stem if path else "lenet_bn", sources)


def read_file(path: Path) -> list[Assignment]:
    """Read a config file as assignments.

    Raises:
        ConfigError: it is missing, unreadable, not YAML, or not a mapping of sections.
    """
    document = yaml_text.parse(_read_text(path), str(path))
    if document.value is None:
        raise ConfigError(
            f"{path}: the file is empty. State at least one key, for example `model: {{norm: "
            "scratch}`; a run without a config file takes every default."
        )
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{path}: the top level is a {type(document.value).__name__}; it must be a mapping "
            f"with the sections {', '.join(SECTIONS)}."
        )
    return [
        assignment
        for name, section in document.value.items()
        for assignment in _flatten(str(name), section, str(path), document.lines)
    ]


def parse_override(text: str, source: str = "--set") -> list[Assignment]:
    """Parse `KEY=VALUE`: a dotted key, and a value read as YAML; `source` is where it stood.

    Raises:
        ConfigError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"{source} {text}: this must be KEY=VALUE with a dotted key, for example "
            "optimizer.lr=0.5"
        )
    return _flatten(key.strip(), yaml_text.parse(value, f"{source} {text}").value, source, {})


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        folder = path.parent
        names = sorted(p.name for p in folder.glob("*.y*ml")) if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f" Did you mean '{folder / near[0]}'?" if near else ""
        raise ConfigError(f"{path}: there is no such config file.{hint}") from error
    except OSError as error:
        raise ConfigError(f"{path}: this config file can't be read: {error.strerror}.") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: over {MAX_FILE_BYTES:,} bytes, too large to be a config.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: byte {error.start} is not UTF-8 text; a config is a YAML text file."
        ) from error


def _flatten(
    key: str, value: Any, source: str, lines: Mapping[tuple[str, ...], int]
) -> list[Assignment]:
    """Split a section into its keys; an empty section states nothing."""
    if key in SECTIONS and value is None:
        return []
    if key in SECTIONS and isinstance(value, dict):
        return [
            assignment
            for name, inner in value.items()
            for assignment in _flatten(f"{key}.{name}", inner, source, lines)
        ]
    line = lines.get(tuple(key.split(".")))
    return [Assignment(key, value, f"{source}:{line}" if line else source)]


def _refuse_unknown(assignment: Assignment) -> None:
    key, source = assignment.key, assignment.source
    if key in KEYS:
        return
    if key in SECTIONS:
        raise ConfigError(
            f"{source}: {key}: received {reprlib.repr(assignment.value)}; this is a section with "
            f"the keys {', '.join(SECTIONS[key].model_fields)}."
        )
    section, _, name = key.partition(".")
    if section in SECTIONS:
        keys = SECTIONS[section].model_fields
        near = did_you_mean(name, keys)
        known = f"The keys of {section}: {', '.join(keys)}."
    else:
        near = did_you_mean(key, [*KEYS, *SECTIONS])
        if not near:  # a bare key from some section, `lr: 0.1`
            near = next((f" Did you mean '{k}'?" for k in KEYS if k.endswith(f".{key}")), "")
        known = f"The sections: {', '.join(SECTIONS)}."
    raise ConfigError(f"{source}: there is no key '{key}'.{near} {known}")


def _describe(detail: ErrorDetails, stated: Mapping[str, Assignment]) -> str:
    """Turn one of pydantic's findings into: source, key, value received, what is required."""
    key = _key_of(detail)
    received = detail["input"]
    kind, message = detail["type"], detail["msg"]
    required = _REQUIRED.get(kind) or message.removeprefix("Input should ")
    near = ""
    if kind == "literal_error" and isinstance(received, str):
        near = did_you_mean(received, re.findall("'([^']*)'", detail["ctx"]["expected"]))
    section, name = key.split(".")
    meaning = SECTIONS[section].model_fields[name].description
    return (
        f"{stated[key].source}: {key}: received {reprlib.repr(received)}; it must {required}."
        f"{near}\n  {name}: {meaning}"
    )


def _key_of(detail: ErrorDetails) -> str:
    return ".".join(str(part) for part in detail["loc"][:2])


_REQUIRED = {
    "float_type": "be a number",
    "int_type": "be a whole number",
    "int_from_float": "be a whole number",
    "bool_type": "be true or false",
    "string_type": "be text",
    "string_too_short": "not be empty",
    "string_pattern_mismatch": "be one of auto, cpu, cuda, cuda:N, mps",
    "tuple_type": "be a list, such as [moving]",
    "too_short": "be a list with at least one entry",
    "value_error": "come with optimizer.momentum above 0, such as 0.9",
}
