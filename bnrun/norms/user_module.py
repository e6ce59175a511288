"""A user's own norm, `path/to/file.py:Class`: import the file, find the class, build it.

The class is built as `Class(num_features)`, or as `Class(num_features, num_dims)` where its
signature asks for a second positional argument. Its output must be a tensor of its input's shape.
"""

import ast
import importlib.util
import inspect
import linecache
import sys
import traceback
import zlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bnrun.errors import NormError, did_you_mean
from bnrun.paths import user_path

if TYPE_CHECKING:
    from bnrun.norms.factory import NormFactory

_PREFIX = "bnrun_user_"  # of the modules that users' files become


class WrongOutput(TypeError):
    """A layer's output is not a tensor of its input's shape."""


def is_spec(norm: str) -> bool:
    """Tell whether a norm is written as a file rather than as a name."""
    return ":" in norm or "/" in norm or norm.endswith(".py")


def check(spec: str) -> None:
    """Check that the file exists and is Python, without running it.

    Raises:
        NormError: with the offending line, where there is one.
    """
    path, _ = _split(spec)
    if not path.is_file():
        hint = "a folder" if path.is_dir() else "no such file"
        raise NormError(f"model.norm: {spec}: {path} is {hint} (seen from {Path.cwd()}).")
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise NormError(f"model.norm: {path} can't be read: {error.strerror}.") from error
    except SyntaxError as error:
        shown = f"\n  {path}:{error.lineno}: {(error.text or '').strip()}" if error.lineno else ""
        raise NormError(f"model.norm: {path} is not valid Python: {error.msg}.{shown}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; absurd nesting
        raise NormError(
            f"model.norm: {path} is not valid Python: {error or type(error).__name__}."
        ) from error


def load(spec: str) -> "NormFactory":
    """Import the user's file and return a factory that builds its class.

    Raises:
        NormError: the import fails or the name is not a class; and, from the factory, the
            constructor refuses or builds something that is not an `nn.Module`. The message
            shows the user's own line.
    """
    from torch import nn

    check(spec)
    path, name = _split(spec)
    module = _import(path)
    if not hasattr(module, name):
        own = [
            n for n, c in vars(module).items() if getattr(c, "__module__", "") == module.__name__
        ]
        raise NormError(
            f"model.norm: {path} has no class '{name}'.{did_you_mean(name, own)} "
            f"It defines: {', '.join(own) or 'nothing'}."
        )
    found = getattr(module, name)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise NormError(
            f"model.norm: {spec}: '{name}' is {_a(found)}; it must be a class derived from "
            "torch.nn.Module."
        )

    def build(num_features: int, num_dims: int, **options: Any) -> nn.Module:
        arguments = (num_features, num_dims)[: positional(found)]
        try:
            layer = found(*arguments, **options)
            layer.register_forward_hook(_check_output)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too
            named = [f"{option}={value}" for option, value in options.items()]
            call = f"{name}({', '.join([*map(str, arguments), *named])})"
            raise NormError(
                f"model.norm: {call} refused: {type(error).__name__}: {error}"
                f"{own_line(error) or _definition(found)}"
            ) from error
        return layer

    return build


def own_line(error: BaseException) -> str:
    """Return the deepest line of a user's file in an error's traceback, ready to append."""
    files = _user_files()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in files:
            return f"\n  {frame.filename}:{frame.lineno}: {frame.line}"
    return ""


def _user_files() -> set[str | None]:
    return {m.__file__ for name, m in list(sys.modules.items()) if name.startswith(_PREFIX)}


def _definition(cls: type) -> str:
    """Return the line on which a class's constructor is defined, ready to append."""
    constructors = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    code = getattr(constructors[0], "__code__", None)
    if code is None or code.co_filename not in _user_files():
        return ""
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"\n  {code.co_filename}:{code.co_firstlineno}: {line}"


def _split(spec: str) -> tuple[Path, str]:
    file, _, name = spec.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise NormError(
            f"model.norm: received '{spec}'; a norm of your own is written path/to/file.py:Class."
        )
    return user_path(file), name


def _import(path: Path) -> ModuleType:
    """Import a file under a name of its own; files beside it may be imported while it loads."""
    name = f"{_PREFIX}{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    path_list, entries, loaded = sys.path, list(sys.path), set(sys.modules)
    sys.modules[name] = module  # pickle and dataclasses look a class's module up here
    folder = path.resolve().parent
    sys.path.insert(0, str(folder))
    try:
        module_spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script may call sys.exit() when imported
        where = own_line(error)
        del sys.modules[name]
        raise NormError(
            f"model.norm: importing {path} failed: {type(error).__name__}: {error}{where}"
        ) from error
    finally:
        sys.path = path_list
        sys.path[:] = entries
        for sibling in set(sys.modules) - loaded - {name}:
            file = getattr(sys.modules[sibling], "__file__", None)
            if file is not None and folder in Path(file).parents:
                del sys.modules[sibling]  # another user's file may have one of the same name
    return module


def positional(cls: type) -> int:
    """Return how many of (num_features, num_dims) the constructor asks for."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except ValueError:
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    second = [p for p in parameters if p.kind in kinds][1:2]
    return 1 + sum(p.default is p.empty or p.name == "num_dims" for p in second)


def _check_output(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Refuse, as a forward hook, an output that is not a tensor of the input's shape."""
    shape = getattr(output, "shape", None)
    if inputs and shape != inputs[0].shape:
        got = _a(output) if shape is None else f"a tensor of shape {tuple(shape)}"
        raise WrongOutput(
            f"{type(layer).__name__}.forward returned {got} for an input of shape "
            f"{tuple(inputs[0].shape)}; it must return one tensor of that shape"
        )


def _a(thing: Any) -> str:
    if thing is None:
        return "nothing"
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
