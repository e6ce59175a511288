"""Usage errors that typer finds, as errors of bnrun.

error: --epochs: received 'two'; it must be a whole number, 1 or more.
error: --lr: bnrun train has no such option. To set this key: --set optimizer.lr=0.5
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from bnrun.cli.help import no_such_command
from bnrun.config import KEYWORDS
from bnrun.config.requirement import key_requirement, number_requirement
from bnrun.config.schema import KEYS
from bnrun.errors import BnrunError

OTHER_NAMES = {"learning-rate": "optimizer.lr", "dataset": "data.name"}
"""Options that other programs have, and the config keys that they stand for."""

CLOSE = 0.65
"""Least likeness, from 0 to 1, of a name to the one that may have been meant."""


def usage_error(error: Any, words: Sequence[str]) -> BnrunError:
    """Convert an error of usage.

    Args:
        error: what typer raised: a `UsageError`.
        words: the command line.
    """
    if hasattr(error, "option_name"):
        is_unknown = hasattr(error, "possibilities")
        return _no_such_option(error, words) if is_unknown else _value_is_missing(error)
    if isinstance(error, typer.BadParameter):
        return _bad_value(error)
    return _extra_or_unknown(error)


def _no_such_option(error: Any, words: Sequence[str]) -> BnrunError:
    """Name the option that may be meant, or the config key; else say where all are listed."""
    typed, command = error.option_name, error.ctx.command_path
    name = typed.strip("-").replace("_", "-")
    parameters = error.ctx.command.get_params(error.ctx)
    arguments = {
        text.lower(): one.metavar
        for one in parameters
        if one.param_type_name == "argument"
        for text in (one.name, one.metavar)
    }
    options = {
        text.strip("-"): text for one in parameters for text in one.opts if text.startswith("-")
    }
    keys = _key_names() if "set" in options else {}
    if name == "norm" and "arms" in arguments:
        value = _value_after(typed, words, "scratch")
        other = "scratch" if value == "builtin" else "builtin"
        advice = f"Arms are norms, as in: {command} {value} {other}"
    elif name in arguments:
        value = _value_after(typed, words, arguments[name])
        advice = f"It is an argument: {command} {value}"
    elif name not in keys and (near := _closest(name, options)):
        advice = f"Did you mean '{options[near]}'?"
    elif near := _closest(name, keys):
        advice = f"To set this key: --set {keys[near]}={_value_after(typed, words)}"
    else:
        advice = f"{command} --help lists them."
    return BnrunError(f"{command} has no such option. {advice}", key=typed)


def _closest(name: str, names: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(names), n=1, cutoff=CLOSE)
    return near[0] if near else None


def _key_names() -> dict[str, str]:
    """Return config keys by the option that a user may expect for each, without its dashes."""
    whole = {key.replace("_", "-"): key for key in KEYS}
    return whole | {name.partition(".")[2]: key for name, key in whole.items()} | OTHER_NAMES


def _value_after(option: str, words: Sequence[str], missing: str = "VALUE") -> str:
    """Return the value that was typed for an option, `--lr 0.5` or `--lr=0.5`, if there is one."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            value = value if equals else following
            return value if re.match(r"-?[^-\s]", value) else missing
    return missing


def _value_is_missing(error: Any) -> BnrunError:
    if "does not take" in error.message:
        return BnrunError("this option takes no value; leave it out.", key=error.option_name)
    return BnrunError("a value must follow this option.", key=error.option_name)


def _bad_value(error: Any) -> BnrunError:
    """Say which value was received, and what is required of it."""
    if error.param is None:
        return BnrunError(error.message)
    param = error.param
    name = max(param.opts, key=len) if param.param_type_name == "option" else param.metavar
    if not hasattr(error.__cause__, "errors"):  # from pydantic, which typer checks values with
        reason = error.message or f"this is missing. {param.help or ''}".rstrip()
        return BnrunError(reason, key=name)
    received = _value_text(error.__cause__.errors()[0]["input"])
    if param.name in KEYWORDS:
        required = key_requirement(KEYWORDS[param.name])
    else:
        whole = param.type_descriptor.annotation is int
        required = number_requirement(whole, {"ge": param.min, "le": param.max})
    return BnrunError(f"received {received}; it must be {required}.", key=name)


def _value_text(text: str) -> str:
    """Return a value as errors show it: a text in quotes, a number without."""
    try:
        float(text)
    except ValueError:
        return repr(text)
    return text


def _extra_or_unknown(error: Any) -> BnrunError:
    command = error.ctx.command_path
    if unknown := re.search(r"No such command '(.*?)'", error.message):
        return no_such_command(error.ctx, unknown[1])
    extra = re.search(r"unexpected extra argument\S* \((.*)\)", error.message)
    if not extra:
        return BnrunError(error.message)
    reason = f"{command} takes no further argument. {command} --help shows what it takes."
    if extra[1].partition("=")[0] in KEYS:
        reason = f"to set a config key: --set {extra[1]}"
    return BnrunError(reason, key=extra[1])
