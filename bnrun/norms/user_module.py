"""A user's own norm: `path/to/file.py:Class`, `package.module:Class`, or a class object.

The class is built as `Class(num_features)`, or as `Class(num_features, num_dims)` where its
signature requires a second positional argument or calls it `num_dims`. Options are keyword
arguments: `Class(num_features, eps=0.001)`. Its output must be a tensor of its input's shape.
"""

import ast
import importlib
import importlib.util
import inspect
import linecache
import sys
import traceback
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bnrun.errors import NormError, did_you_mean
from bnrun.norms.options import arguments, check_options
from bnrun.paths import user_path

if TYPE_CHECKING:
    from torch import nn

    from bnrun.norms.registry import NormFactory

_PREFIX = "bnrun_user_"
"""Prefix of the module names under which users' files are imported."""

_LIBRARIES = ("torch", "bnrun", "builtins")
"""Packages whose lines are not a user's own."""

MOST_NAMES = 8
"""Names of a module that an error lists; more are counted."""

_user_files: set[str] = set()
"""Files that users' norms were loaded from: errors quote their lines."""

_contents: dict[Path, bytes] = {}
"""What was imported of each user's file, the last time: it may have changed on disk since."""

_module_specs: dict[Path, Any] = {}
"""The spec of each module whose content is known: a notebook's reload gives the module another."""


class WrongOutput(TypeError):
    """A layer's output is not a tensor of its input's shape."""


def is_user_norm(norm: "str | type[nn.Module]") -> bool:
    """Return whether a norm is a class, or text that says where one is, and not a name."""
    return not isinstance(norm, str) or ":" in norm or "/" in norm or norm.endswith(".py")


def check(norm: "str | type[nn.Module]") -> None:
    """Check that the file or module of a norm exists, without running it; a class passes.

    Raises:
        NormError: it does not exist, or is not valid Python: then with the offending line.
    """
    if not isinstance(norm, str):
        return
    source, _ = _split(norm)
    if source.endswith(".py"):
        _check_file(norm, user_path(source))
    else:
        _check_module(norm, source)


def absolute(norm: str) -> str:
    """Return the text of a norm with the absolute path of its file, if it has one."""
    source, colon, name = norm.rpartition(":")
    if not source.endswith(".py"):
        return norm
    return f"{user_path(source).resolve()}{colon}{name}"


def file_of(norm: str) -> Path | None:
    """Return the absolute path of a user's file that a norm's class is imported from.

    It is None for a norm without one; for a class of a notebook or a library; and for a module that
    is not loaded yet.
    """
    source = norm.rpartition(":")[0]
    if source.endswith(".py"):
        return user_path(source).resolve()
    if source == "__main__" or source.partition(".")[0] in _LIBRARIES:
        return None
    file = getattr(sys.modules.get(source), "__file__", None)
    return None if file is None else Path(file).resolve()


def content_of(file: Path) -> bytes:
    """Return what this process imported of a user's file; of another file, what it contains.

    Raises:
        OSError: it cannot be read.
    """
    file = file.resolve()
    return _contents[file] if file in _contents else file.read_bytes()


def class_of(norm: "str | type[nn.Module]", copy: str | None = None) -> "type[nn.Module]":
    """Import the module of a norm's class, and return the class.

    Args:
        norm: see `bnrun.norms.check_norm`.
        copy: a file to import in place of the one that `norm` names.

    Raises:
        NormError: the import fails, or the class does not exist or is no `nn.Module`.
    """
    if copy is None:
        check(norm)
    cls: type[nn.Module] = _find(norm, copy) if isinstance(norm, str) else norm
    _require_module_class(norm, cls)
    return cls


def attribute_of(target: str, what: str, key: str) -> Any:
    """Import `path/to/file.py:NAME` or `package.module:NAME`, and return what is called so.

    Args:
        target: where it is.
        what: how errors call it: "function or class".
        key: the option that errors name.

    Raises:
        NormError: it cannot be imported, or does not exist. The reason shows the user's own line.
    """
    try:
        check(target)
        return _find(target, None, what)
    except NormError as error:
        raise NormError(error.reason, key) from error


def load(
    norm: "str | type[nn.Module]", options: Mapping[str, Any], copy: str | None = None
) -> "NormFactory":
    """Import the module of a norm's class, and return a factory that builds the class.

    Args:
        norm: see `bnrun.norms.check_norm`.
        options: keyword arguments for every layer's constructor.
        copy: a file to import in place of the one that `norm` names.

    Raises:
        NormError: the import fails, the class does not exist, is no `nn.Module` or takes no such
            option. The factory raises it where the constructor raises, or builds something else.
            The reason shows the user's own line.
    """
    from torch import nn

    cls = class_of(norm, copy)
    check_options(cls.__name__, cls, options)
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            _user_files.update(_files(base))

    def build(num_features: int, num_dims: int, **more: Any) -> nn.Module:
        place, keywords = arguments(cls, (num_features, num_dims), {**options, **more})
        try:
            layer: nn.Module = cls(*place, **keywords)
            layer.register_forward_hook(_check_output)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too
            named = [f"{option}={value}" for option, value in keywords.items()]
            call = f"{cls.__name__}({', '.join([*map(str, place), *named])})"
            raise _error(
                f"{call} refused: {type(error).__name__}: {error}"
                f"{own_line(error) or _definition(cls)}"
            ) from error
        return layer

    return build


def _require_module_class(norm: "str | type[nn.Module]", found: Any) -> None:
    """Refuse what is no class of layers.

    Raises:
        NormError: it is not; the reason says what it is.
    """
    from torch import nn

    if inspect.isclass(found) and issubclass(found, nn.Module):
        return
    source, _, name = norm.rpartition(":") if isinstance(norm, str) else ("", "", repr(norm))
    where = f"{source}: " if source else ""
    if inspect.isclass(found):
        raise _error(f"{where}class {found.__name__} does not derive from torch.nn.Module.")
    if isinstance(found, nn.Module):
        cls = type(found).__name__
        raise _error(
            f"{where}'{name}' is one layer, of class {cls}. A norm is the class itself, of which "
            "each place in the network gets a layer of its own."
        )
    what = "None" if found is None else _a(found)
    raise _error(f"{where}'{name}' is {what}; a norm is a class that derives from torch.nn.Module.")


def text_of(cls: type) -> str:
    """Return the text that says where a class is: `package.module:Class`, or its file.

    Raises:
        NormError: it is not a class; or Python cannot find it by that text, since it is defined
            inside a function or a class, or since its module has another class of that name now.
    """
    if not inspect.isclass(cls):
        raise _error(
            f"received {_a(cls)}. A norm is a name, path/to/file.py:Class, or a class, of which "
            "each place in the network gets a layer of its own."
        )
    module = sys.modules.get(cls.__module__)
    if module is not None and cls.__module__.startswith(_PREFIX):
        return f"{module.__file__}:{cls.__name__}"
    if module is None or getattr(module, cls.__name__, None) is not cls:
        raise _error(
            f"the class {cls.__qualname__} can't be found again as {cls.__module__}:{cls.__name__}."
            " Define it at the top level of a module or of a notebook."
        )
    return f"{cls.__module__}:{cls.__name__}"


def own_line(error: BaseException) -> str:
    """Return the deepest line of a user's file in an error's traceback, ready to append."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in _user_files:
            return f"\n  {frame.filename}:{frame.lineno}: {frame.line}"
    return ""


def _error(reason: str) -> NormError:
    return NormError(reason, key="model.norm")


def _split(spec: str) -> tuple[str, str]:
    """Return a file or a module's dotted name, and the name of the class in it.

    Raises:
        NormError: the text has another form.
    """
    source, _, name = spec.rpartition(":")
    is_module = all(part.isidentifier() for part in source.split("."))
    if not name.isidentifier() or not (source.endswith(".py") or is_module):
        file = spec.removesuffix(":")
        layers = _layers_in(user_path(file)) if file.endswith(".py") else []
        if layers:
            written = " or ".join(f"{file}:{layer}" for layer in layers)
            raise _error(f"received '{spec}', which names no class. Write {written}.")
        raise _error(
            f"received '{spec}'; a norm of your own is written path/to/file.py:Class, or "
            "package.module:Class where Python can import it."
        )
    return source, name


def _layers_in(file: Path) -> list[str]:
    """Return the classes of a file that look like layers, without running it.

    They derive from something that is imported from torch or bnrun, or from another one of them.
    """
    try:
        body = ast.parse(file.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # see `_check_file`
        return []
    known, layers = set(), []
    for statement in body:
        match statement:
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                modules = [getattr(statement, "module", None) or one.name for one in names]
                known |= {
                    one.asname or one.name.partition(".")[0]
                    for one, module in zip(names, modules, strict=True)
                    if module.partition(".")[0] in ("torch", "bnrun")
                }
            case ast.ClassDef(name=name, bases=bases):
                if any(ast.unparse(base).partition(".")[0] in known for base in bases):
                    known.add(name)
                    layers.append(name)
    return layers


def _check_file(spec: str, path: Path) -> None:
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise _error(f"{spec}: {path} is {what} (seen from {Path.cwd()}).")
    try:
        ast.parse(path.read_bytes(), str(path))
    except OSError as error:
        raise _error(f"{path} can't be read: {error.strerror}.") from error
    except SyntaxError as error:
        shown = f"\n  {path}:{error.lineno}: {(error.text or '').strip()}" if error.lineno else ""
        raise _error(f"{path} is not valid Python: {error.msg}.{shown}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; absurd nesting
        raise _error(f"{path} is not valid Python: {error or type(error).__name__}.") from error


def _check_module(spec: str, module: str) -> None:
    """Check that Python finds the outermost package; a deeper look would import it."""
    package = module.partition(".")[0]
    loaded = module in sys.modules or package in sys.modules
    if loaded or importlib.util.find_spec(package) is not None:
        return
    raise _error(
        f"received '{spec}', and Python finds no module '{package}' to import. A class in a file "
        "is written path/to/file.py:Class."
    )


def _find(spec: str, copy: str | None, what: str = "class") -> Any:
    """Import a file, a copy of it or a module, and return its attribute of the class's name.

    Raises:
        NormError: the import fails, or there is no such name.
    """
    source, name = _split(spec)
    is_file = source.endswith(".py")
    module = _import_file(user_path(source), copy) if is_file else _import_module(source)
    if not hasattr(module, name):
        names = _names_in(module)
        shown = ", ".join(names[:MOST_NAMES]) or "nothing"
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        verb = "has" if _is_package(module) else "defines"
        raise _error(
            f"{user_path(source) if is_file else source} has no {what} '{name}'."
            f"{did_you_mean(name, names)} It {verb}: {shown}{more}."
        )
    return getattr(module, name)


def _names_in(module: ModuleType) -> list[str]:
    """Return the names that a module defines; a package offers functions and classes it imports."""
    is_package = _is_package(module)
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__
        or (is_package and (inspect.isfunction(value) or inspect.isclass(value)))
    ]


def _is_package(module: ModuleType) -> bool:
    return hasattr(module, "__path__")


def _import_module(name: str) -> ModuleType:
    try:
        if name not in sys.modules and name.partition(".")[0] not in _LIBRARIES:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None:
                _user_files.add(spec.origin)
        module = importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script may call sys.exit() when imported
        raise _error(
            f"importing {name} failed: {type(error).__name__}: {error}{own_line(error)}"
        ) from error
    file = file_of(f"{name}:")
    if file is not None and file.is_file() and _module_specs.get(file) is not module.__spec__:
        _module_specs[file], _contents[file] = module.__spec__, file.read_bytes()
    return module


def _import_file(original: Path, copy: str | None) -> ModuleType:
    """Import a file, or a copy, under a name of its own.

    Files beside the original may be imported while it loads. Errors quote the original as long as
    it is the same as the copy.

    Raises:
        NormError: the import fails.
    """
    file = Path(copy) if copy else original
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _error(f"{file} can't be read: {error.strerror}.") from error
    path = original if _contains(original, content) else file
    name = f"{_PREFIX}{path.stem}_{zlib.crc32(str(path.resolve()).encode()):08x}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    module = importlib.util.module_from_spec(module_spec)
    _contents[file.resolve()] = content
    _user_files.add(str(path))
    lines = content.decode(errors="replace").splitlines(keepends=True)
    linecache.cache[str(path)] = (len(content), None, lines, str(path))  # None: not read again
    path_list, entries, loaded = sys.path, list(sys.path), set(sys.modules)
    sys.modules[name] = module  # pickle and dataclasses look up a class's module here
    folder = original.resolve().parent
    sys.path.insert(0, str(folder))
    try:
        # Not by the spec's loader: it takes bytecode of a file that was as long in this second.
        exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script may call sys.exit() when imported
        del sys.modules[name]
        raise _error(
            f"importing {path} failed: {type(error).__name__}: {error}{own_line(error)}"
            f"{_missing_sibling(error, folder) if path != original else ''}"
        ) from error
    finally:
        sys.path = path_list
        sys.path[:] = entries
        for sibling in set(sys.modules) - loaded - {name}:
            if _is_beside(sibling, folder):
                del sys.modules[sibling]  # another user's file may import one of the same name
    return module


def _contains(file: Path, content: bytes) -> bool:
    try:
        return file.read_bytes() == content
    except OSError:
        return False


def _missing_sibling(error: BaseException, folder: Path) -> str:
    """Return a sentence on what a copy cannot import, ready to append."""
    if not isinstance(error, ImportError):
        return ""
    return (
        f"\n  The file is a copy. What it imports from beside it is looked for in {folder}, where "
        "the original was: put it back there."
    )


def _is_beside(module: str, folder: Path) -> bool:
    """Return whether a loaded module, or its outermost package, lies directly in a folder.

    A library in a virtual environment below the folder does not.
    """
    file = getattr(sys.modules[module], "__file__", None)
    if file is None or folder not in Path(file).parents:
        return False
    outermost = Path(file).relative_to(folder).parts[0]  # helper.py, or the package helper
    return outermost.partition(".")[0] == module.partition(".")[0]


def _files(cls: type) -> set[str]:
    """Return the files that a class's methods are written in; a notebook's cells count as files."""
    codes = (getattr(value, "__code__", None) for value in vars(cls).values())
    return {code.co_filename for code in codes if code is not None}


def _definition(cls: type) -> str:
    """Return the line on which a class's constructor is defined, ready to append."""
    constructors = [vars(base)["__init__"] for base in cls.__mro__ if "__init__" in vars(base)]
    code = getattr(constructors[0], "__code__", None)
    if code is None or code.co_filename not in _user_files:
        return ""
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"\n  {code.co_filename}:{code.co_firstlineno}: {line}"


def _check_output(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Check, as a forward hook, that the output is a tensor of the input's shape.

    Raises:
        WrongOutput: it is not.
    """
    shape = getattr(output, "shape", None)
    if inputs and shape != inputs[0].shape:
        got = _a(output) if shape is None else f"a tensor of shape {tuple(shape)}"
        raise WrongOutput(
            f"{type(layer).__name__}.forward returned {got} for an input of shape "
            f"{tuple(inputs[0].shape)}; it must return one tensor of that shape"
        )


def _a(thing: Any) -> str:
    """Return the type of a value, for a message: 'a list', 'an Identity', 'nothing' for None."""
    if thing is None:
        return "nothing"
    name = type(thing).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
