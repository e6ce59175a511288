"""What README.md and the guide say is what the program does."""

import ast
import doctest
import io
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from renew import (
    ENVIRONMENT,
    HOME,
    PAGES,
    ROOT,
    examples,
    generated,
    keys_table,
    prepare,
    today,
    trimmed,
)

from bnrun import kernels
from bnrun.cli import app
from bnrun.comparison import parity
from bnrun.config import parse_override, resolve
from bnrun.data import synthetic
from bnrun.errors import EngineError
from bnrun.guide import TOPICS, subject
from bnrun.verification.catalogue import known_faults

HOUSE = ROOT / "bnrun"
GUIDE = HOUSE / "guide"
NEED_KERNELS = ("bnrun verify scratch",)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!http)([^)#\s]*)(?:#([^)\s]*))?\)")


def _name(page: Path) -> str:
    return page.name


def _blocks(page: Path, kind: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text()) if language == kind]


def _commands(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield the arguments of every `bnrun` command in lines of a shell."""
    for part in (part for line in lines for part in re.split("&&|[|>]", line)):
        words = shlex.split(part, comments=True)
        if words and words[0] == "bnrun":
            yield words[1:]


def _accidental_numbers(text: str) -> Iterator[str]:
    """Yield the lines of sentences that begin with a number and a period: a list, in Markdown."""
    before, last = "", 0
    for line in _BLOCK.sub("", text).splitlines():
        if match := re.match(r"\s*(\d+)[.)]\s", line):
            number = int(match[1])
            if number == last + 1 and (last or not before.strip()):
                last = number
            else:
                yield line
        elif line.startswith("#"):
            last = 0
        before = line


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_no_sentence_of_a_page_is_shown_as_a_list(page: Path) -> None:
    assert list(_accidental_numbers(page.read_text())) == []
    assert list(_accidental_numbers("It ends with\n  1. A word.")) == ["  1. A word."]


def _every_command(group: Any) -> Iterator[Any]:
    yield group
    for command in getattr(group, "commands", {}).values():
        yield from _every_command(command)


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Parse a command line as bnrun does, without running it; return its parameters."""
    group, parameters = typer.main.get_command(app), {}
    with pytest.MonkeyPatch.context() as patch:
        for command in _every_command(group):
            patch.setattr(command, "callback", lambda **given: parameters.update(given))
        code = group.main(args=arguments, prog_name="bnrun", standalone_mode=False)
    assert not code
    return parameters


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_of_a_page_is_one(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(page.read_text(), tmp_path)
    monkeypatch.chdir(tmp_path)
    for example in examples(page.read_text()):  # its output says whether its values are right
        _parse(*_commands([example.command]))
    for arguments in _commands("".join(_blocks(page, "bash")).splitlines()):
        given = _parse(arguments)
        overrides = [one for text in given.get("set_") or () for one in parse_override(text)]
        resolve(given.get("config"), overrides)  # the file exists, and so does each key


def _can_compile_kernels() -> bool:
    try:
        kernels.is_compiled()
    except EngineError:
        return False
    return True


_printed: dict[tuple[str, str], str] = {}


def _run(command: str, folder: Path) -> str:
    """Run a command in this process: starting one for each would take half a minute.

    Several pages show the same commands on the same files; each is run once.
    """
    files = "".join(file.read_text() for file in sorted(folder.glob("*.py")))
    if (command, files) not in _printed:
        printed = io.StringIO()  # typer's CliRunner would pretend another width
        with redirect_stdout(printed), redirect_stderr(printed), pytest.raises(SystemExit):
            app(shlex.split(command)[1:], prog_name="bnrun")
        _printed[command, files] = trimmed(printed.getvalue().replace(str(folder), HOME))
    return _printed[command, files]


@pytest.mark.filterwarnings("ignore:var\\(\\):UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_output_of_a_page_is_what_its_command_prints(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(page.read_text(), tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for example in examples(page.read_text()):
        if example.command in NEED_KERNELS and not _can_compile_kernels():
            continue
        assert today(example.command, example.output, tmp_path, _run) == example.output


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "pycon")], ids=_name)
def test_every_python_session_of_a_page_shows_what_python_answers(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(page.read_text(), tmp_path)
    monkeypatch.chdir(tmp_path)
    # A module, as a notebook is one: classes that are defined in it can be found by their names.
    monkeypatch.setattr(synthetic, "TRAIN_IMAGES", 300)  # as many as are needed
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 100)
    monkeypatch.setattr(parity, "STEPS", 2)
    monkeypatch.setitem(sys.modules, "notebook", notebook := ModuleType("notebook"))
    session = "\n".join(_blocks(page, "pycon"))
    example = doctest.DocTestParser().get_doctest(session, {}, page.name, None, None)
    example.globs = vars(notebook)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_python_file_of_a_page_is_python(page: Path) -> None:
    for block in _blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_config_of_a_page_is_one(page: Path, tmp_path: Path) -> None:
    for block in _blocks(page, "yaml"):
        (tmp_path / "config.yaml").write_text(block)
        resolve(tmp_path / "config.yaml")


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for path, heading in _LINK.findall(page.read_text()):
        target = page if path == "" else page.parent / path
        assert target.exists(), path
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = [
                re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles
            ]
            assert heading in slugs


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_has_no_output_that_nothing_checks(page: Path) -> None:
    kinds = {language for language, _ in _BLOCK.findall(page.read_text())}
    assert kinds <= {"bash", "console", "pycon", "python", "yaml", "text"}


def test_as_many_mistakes_are_known_as_the_guide_says() -> None:
    faults = known_faults()
    dialects = sum(fault.is_dialect for fault in faults)
    claim = f"{len(faults) - dialects} mistakes and {dialects} dialects"
    assert claim in (GUIDE / "verify.md").read_text()


def test_the_readme_lists_every_page() -> None:
    rows = [f"| [{topic}](bnrun/guide/{topic}.md) | {subject(topic)} |" for topic in TOPICS]
    assert "\n".join(rows) in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_generated_table_of_a_page_is_what_is_generated(page: Path) -> None:
    assert generated(page.read_text()) == page.read_text()


def test_the_table_of_config_keys_is_generated() -> None:
    assert keys_table() in (GUIDE / "config.md").read_text()


def test_the_listing_of_the_house_names_every_room() -> None:
    (listing,) = _blocks(GUIDE / "develop.md", "text")
    rooms = {path.name for path in HOUSE.iterdir() if path.suffix in ("", ".py")} - {
        "__init__.py",
        "__main__.py",
        "__pycache__",
    }
    assert set(re.findall(r"[a-z_]+(?:\.py\b|(?=/))", listing)) - {"bnrun"} == rooms


def test_the_code_quoted_from_the_program_is_there() -> None:
    (quoted,) = _blocks(GUIDE / "develop.md", "python")
    source = (HOUSE / "cli" / "train.py").read_text().splitlines()
    places = (textwrap.dedent("\n".join(source[i : i + 3])) for i in range(len(source)))
    assert quoted.strip() in places
