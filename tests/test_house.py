"""The architecture is what the folders say: imports run one way, and each rule has its place."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import bnrun

HOUSE = Path(bnrun.__file__).parent

# Ground floor first. A module imports only from floors below it, or from its own folder.
FLOORS = [
    {"__init__"},  # the version, and the names that it finds in other rooms when they are used
    {"errors", "events", "guide", "locks", "paths"},
    {"workers", "environment", "learning", "processes"},
    {"side_by_side"},
    {"config", "kernels"},
    {"norms", "training_summary"},
    {"data", "networks"},
    {"training", "verification"},
    {"comparison", "health"},
    {"benchmark", "studies"},
    {"runs"},
    {"show"},
    {"report"},
    {"api"},
    {"cli", "testing"},
    {"__main__"},
]
FRONT_DOOR = HOUSE / "__init__.py"
MODULES = sorted(HOUSE.rglob("*.py"))


def _room(path: Path) -> str:
    """The file or folder directly below bnrun/ that a module belongs to."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


@functools.cache  # several tests read each file
def _imports_and_calls(path: Path) -> list[ast.Import | ast.ImportFrom | ast.Call]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file."""
    for node in _imports_and_calls(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _name(path: Path) -> str:
    return str(path.relative_to(HOUSE))


def test_every_room_has_a_floor() -> None:
    assert {_room(path) for path in MODULES} == set().union(*FLOORS)


def _imports_upwards(path: Path) -> Iterator[str]:
    """Yield what a module imports from above, or from its own floor's other rooms."""
    for imported in _imports(path):
        top, _, rest = imported.partition(".")
        room = rest.partition(".")[0]
        is_room = (HOUSE / room).is_dir() or (HOUSE / f"{room}.py").is_file()
        if top != "bnrun" or not is_room or room == _room(path):
            continue
        if _floor(room) >= _floor(_room(path)):
            yield f"{_name(path)} imports {imported}"


def test_imports_run_downwards() -> None:
    assert [
        wrong for path in MODULES if path != FRONT_DOOR for wrong in _imports_upwards(path)
    ] == []


def _knows_rich_or_prints(path: Path) -> bool:
    calls = (node.func for node in _imports_and_calls(path) if isinstance(node, ast.Call))
    return any(name.partition(".")[0] in ("rich", "matplotlib") for name in _imports(path)) or any(
        isinstance(call, ast.Name) and call.id == "print" for call in calls
    )


def test_only_the_view_knows_rich_and_prints() -> None:
    assert {_room(path) for path in MODULES if _knows_rich_or_prints(path)} == {"show"}
