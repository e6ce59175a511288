"""YAML text to plain values, strictly: by the core schema of YAML 1.2, without duplicate keys.

PyYAML reads YAML 1.1, in which `1e-3` is text, `no` is a boolean, `010` is eight, `1:30` is ninety,
and the second of two equal keys silently wins. This module has none of these surprises.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from bnrun.errors import ConfigError


@dataclass(frozen=True)
class Document:
    """A YAML document: its value, and the lines of its keys on two levels, by dotted name."""

    value: Any
    lines: dict[str, int] = field(default_factory=dict)


def parse(text: str, source: str) -> Document:
    """Parse YAML text.

    Args:
        text: the text.
        source: what errors call it.

    Raises:
        ConfigError: the text is not one YAML document, or a mapping has a key twice.
    """
    try:
        loader = _CoreLoader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None)
        return Document(loader.construct_document(node), _key_lines(node))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"this is not valid YAML: {error.problem}.", source=place) from error
    except yaml.YAMLError as error:
        reason = f"this is not a YAML text file: {_first_line(error)}."
        raise ConfigError(reason, source=source) from error
    except (ValueError, KeyError, AttributeError) as error:  # what PyYAML raises for `!!int x`
        reason = f"a value is not what its tag says: {error}."
        raise ConfigError(reason, source=source) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply to be a config.", source=source) from error


def dump(value: Any) -> str:
    """Write plain values as YAML that `parse` and readers of YAML 1.1 read back to the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False)


def inline(value: Any) -> str:
    """Write a plain value on one line for people to read; unlike `dump`, quote no text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {inline(one)}' for key, one in value.items())}}}"
    return "null" if value is None else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _key_lines(document: yaml.Node) -> dict[str, int]:
    """Return the line of each key and of the keys one level below it, by dotted name.

    Raises:
        ConstructorError: a name is there twice: as the key `a.b`, and as `b` below `a`.
    """
    lines: dict[str, int] = {}
    for section, value in _items(document):
        keys = [(section.value, section)]
        keys += [(f"{section.value}.{key.value}", key) for key, _ in _items(value)]
        for name, key in keys:
            if name in lines:
                raise _duplicate(name, lines[name], key)
            lines[name] = key.start_mark.line + 1
    return lines


def _items(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else []


def _duplicate(name: str, line: int, key: yaml.Node) -> yaml.constructor.ConstructorError:
    problem = f"the key '{name}' stands here and on line {line}; keep one of them"
    return yaml.constructor.ConstructorError(None, None, problem, key.start_mark)


class _CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's rules for plain scalars (section 10.3.2)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in seen:
                raise _duplicate(key, seen[key], key_node)
            seen[key] = line
        return super().construct_mapping(node, deep)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base)

    def construct_core_float(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node)).lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper, which quotes text that either version of YAML would read otherwise."""


def _add_plain_scalar(kind: str, pattern: str, first: str) -> None:
    """Read unquoted text that matches as this kind; `first` has its possible first characters."""
    for side in (_CoreLoader, _Dumper):
        side.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first))


_add_plain_scalar("null", r"^(?:null|Null|NULL|~)$", "nN~")
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_add_plain_scalar("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_add_plain_scalar("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789")
_add_plain_scalar(
    "float",
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
    "-+0123456789.",
)
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _CoreLoader.construct_core_int)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _CoreLoader.construct_core_float)
