"""A user's own norm: `path/to/file.py:Class`, `package.module:Class`, or a class."""

import copy
import pickle
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bnrun.errors import NormError
from bnrun.norms import check_norm, norm_factory, norm_text
from bnrun.norms.user_module import own_line

HEAD = "from torch import nn\n"
IDENTITY = f"{HEAD}class Norm(nn.Identity): ...\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a user's file and return its norm, ready to ask for."""
    monkeypatch.setattr(sys, "path", list(sys.path))  # whatever a test does to it, undo

    def write(source, file="mine.py", name="Norm"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
        return f"{path}:{name}"

    return write


def refusal(ask, *arguments):
    """The message of the NormError that asking ends in."""
    with pytest.raises(NormError) as error:
        ask(*arguments)
    return str(error.value)


def build(spec, num_features=6, num_dims=4):
    return norm_factory(spec)(num_features, num_dims)


# ---- building


@pytest.mark.parametrize(
    ("signature", "received"),
    [
        ("num_features", (6,)),
        ("num_features, eps=1e-5", (6,)),
        ("num_features, *, eps=1e-5", (6,)),
        ("num_features, *others", (6,)),
        ("num_features, **others", (6,)),
        ("num_features, num_dims", (6, 4)),
        ("num_features, num_dims=2", (6, 4)),
        ("num_features, eps=1e-5, num_dims=9", (6,)),
        ("num_features, *, num_dims=9", (6,)),
        ("width, rank", (6, 4)),
        ("num_features, num_dims, eps=1e-5", (6, 4)),
        ("num_features, /, num_dims", (6, 4)),
    ],
)
def test_the_signature_decides_what_the_class_is_built_with(write, signature, received):
    spec = write(
        f"{HEAD}class Norm(nn.Identity):\n"
        f"    def __init__(self, {signature}):\n"
        "        super().__init__()\n"
        "        self.received = {k: v for k, v in locals().items() if v in (6, 4, 2)}\n"
    )
    assert tuple(build(spec).received.values()) == received


@pytest.mark.parametrize(("num_dims", "shape"), [(4, (2, 6, 3, 3)), (2, (2, 6))])
def test_a_layer_from_a_file_is_used_like_any_other(write, num_dims, shape):
    layer = build(write(IDENTITY), 6, num_dims)
    x = torch.randn(shape)
    assert isinstance(layer, nn.Module)
    assert torch.equal(layer(x), x)


def test_a_relative_path_and_a_home_are_understood(write, tmp_path, monkeypatch):
    write(IDENTITY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spec in ["mine.py:Norm", "./mine.py:Norm", "~/mine.py:Norm"]:
        assert type(build(spec)).__name__ == "Norm"


def test_checking_does_not_run_the_file(write):
    check_norm(write("raise SystemExit('was run')\n"))


def test_layers_can_be_copied_and_pickled(write):
    layer = build(write(IDENTITY))
    x = torch.randn(2, 6, 3, 3)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer)
        assert torch.equal(twin(x), x)


def test_two_files_of_the_same_name_do_not_mix(write):
    specs = [
        write(f"{HEAD}class Norm(nn.Identity):\n    folder = {f!r}\n", file=f"{f}/mine.py")
        for f in ("a", "b")
    ]
    layers = [build(spec) for spec in specs]
    assert [layer.folder for layer in layers] == ["a", "b"]
    assert [pickle.loads(pickle.dumps(layer)).folder for layer in layers] == ["a", "b"]


def test_a_file_is_read_again_after_a_change(write):
    build(write(f"{HEAD}class Norm(nn.Identity):\n    version = 1\n"))
    again = write(f"{HEAD}class Norm(nn.Identity):\n    version = 'two'\n")  # another size
    assert build(again).version == "two"


# ---- sys.path


def test_a_file_can_import_a_file_beside_it(write):
    write("WIDTH = 7\n", file="beside_it_for_bnrun.py")
    spec = write(
        "from beside_it_for_bnrun import WIDTH\n"
        f"{HEAD}class Norm(nn.Identity):\n    width = WIDTH\n"
    )
    assert build(spec).width == 7


def test_files_beside_it_are_imported_anew_and_libraries_below_it_are_not(write, monkeypatch):
    """A virtual environment often lies in the folder of the user's own files."""
    before = set(sys.modules)
    for file in ("beside_it_for_bnrun.py", "own_package_for_bnrun/__init__.py"):
        write("", file=file)
    library = write("", file=".venv/library_for_bnrun.py").partition(":")[0]
    monkeypatch.syspath_prepend(str(Path(library).parent))
    build(
        write("import beside_it_for_bnrun, own_package_for_bnrun, library_for_bnrun\n" + IDENTITY)
    )
    added = {name for name in set(sys.modules) - before if name.endswith("for_bnrun")}
    monkeypatch.delitem(sys.modules, "library_for_bnrun")
    assert added == {"library_for_bnrun"}


@pytest.mark.parametrize("outcome", ["", "raise ValueError\n", "import sys; sys.exit(3)\n"])
@pytest.mark.parametrize(
    "change",
    [
        "",
        "sys.path.append('/nowhere')",
        "sys.path.insert(0, '/nowhere')",
        "sys.path.clear()",
        "sys.path = ['/nowhere']",
    ],
)
def test_sys_path_is_left_as_it_was(write, change, outcome):
    spec = write(f"{IDENTITY}import sys\n{change}\n{outcome}")
    path, content = sys.path, list(sys.path)
    if outcome:
        refusal(norm_factory, spec)
    else:
        norm_factory(spec)
    assert sys.path == content
    assert path == content
    assert sys.path is path


def test_a_failed_import_leaves_no_module_behind(write):
    before = set(sys.modules)
    refusal(norm_factory, write("1 / 0\n"))
    assert set(sys.modules) == before


# ---- what cannot be found or read, known before anything runs


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
def test_a_missing_file_is_named(ask, tmp_path):
    message = refusal(ask, f"{tmp_path}/none.py:Norm")
    assert f"{tmp_path}/none.py is no such file" in message


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
def test_a_folder_is_called_a_folder(ask, tmp_path):
    (tmp_path / "folder.py").mkdir()
    assert "folder.py is a folder" in refusal(ask, f"{tmp_path}/folder.py:Norm")


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
@pytest.mark.parametrize(
    "spec", ["mine.py", "mine.py:", "mine.txt:Norm", ":Norm", "a/b", "m.py:1", "a/b:Norm", "a..b:N"]
)
def test_a_misspelt_form_is_answered_with_the_form(ask, spec):
    message = refusal(ask, spec)
    assert f"'{spec}'" in message
    assert "path/to/file.py:Class" in message


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
def test_a_syntax_error_shows_the_line(ask, write):
    message = refusal(ask, write(f"{HEAD}\nclass Norm(nn.Identity:\n    pass\n"))
    assert "not valid Python" in message
    assert "mine.py:3: class Norm(nn.Identity:" in message


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
@pytest.mark.parametrize("source", [b"x = 1\0\n", b"x = '\xff\xfe'\n"], ids=["null", "not UTF-8"])
def test_bytes_that_are_not_text_are_refused(ask, write, source):
    message = refusal(ask, write(source))
    assert "mine.py is not valid Python" in message


# ---- what fails when the file is imported


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("undefined_name", "NameError: name 'undefined_name' is not defined"),
        ("raise RuntimeError('out of tea')", "RuntimeError: out of tea"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import no_such_module_for_bnrun", "ModuleNotFoundError: No module named"),
    ],
)
def test_an_import_that_fails_shows_why_and_where(write, line, reason):
    message = refusal(norm_factory, write(f"{IDENTITY}{line}\n"))
    assert reason in message
    assert f"mine.py:3: {line}" in message


def test_ctrl_c_during_an_import_is_not_an_error_of_the_file(write):
    spec = write("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        norm_factory(spec)


def test_a_missing_class_gets_a_suggestion(write):
    message = refusal(norm_factory, write(IDENTITY, name="Nrom"))
    assert "no class 'Nrom'" in message
    assert "Did you mean 'Norm'?" in message
    assert "It defines: Norm." in message


def test_a_package_offers_what_it_imports() -> None:
    message = refusal(norm_factory, "torch.nn:BatchNorm4d")
    assert "Did you mean 'BatchNorm" in message
    assert re.search(r" It has: (\w+, ){7}\w+ and \d+ more\.", message)


def test_an_empty_file_defines_nothing(write):
    assert "It defines: nothing." in refusal(norm_factory, write(""))


@pytest.mark.parametrize(
    ("source", "name", "what"),
    [
        ("class Norm: ...", "Norm", "class Norm does not derive from torch.nn.Module."),
        (
            "def norm(num_features): ...",
            "norm",
            "'norm' is a function; a norm is a class that derives from torch.nn.Module.",
        ),
        (
            "norm = nn.Identity()",
            "norm",
            "'norm' is one layer, of class Identity. A norm is the class itself, of which each "
            "place in the network gets a layer of its own.",
        ),
        (
            "norm = None",
            "norm",
            "'norm' is None; a norm is a class that derives from torch.nn.Module.",
        ),
    ],
)
def test_what_is_not_a_module_class_is_refused(write, source, name, what):
    spec = write(f"{HEAD}{source}\n", name=name)
    assert refusal(norm_factory, spec) == f"model.norm: {spec.rpartition(':')[0]}: {what}"


# ---- what fails when the class is built


def test_a_constructor_that_raises_shows_the_users_own_line(write):
    spec = write(
        f"{HEAD}class Norm(nn.Module):\n"
        "    def __init__(self, num_features):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter('gamma')\n"  # torch raises, deeper down
    )
    message = refusal(build, spec)
    assert "Norm(6) refused: " in message
    assert "mine.py:5: self.weight = nn.Parameter('gamma')" in message


@pytest.mark.parametrize(
    ("definition", "call"),
    [
        ("def __init__(self):", "Norm(6)"),
        ("def __init__(self, num_features, num_dims, depth):", "Norm(6, 4)"),
        ("def __init__(self, num_features, *, depth):", "Norm(6)"),
    ],
)
def test_a_constructor_of_another_signature_shows_its_definition(write, definition, call):
    spec = write(f"{HEAD}class Norm(nn.Module):\n    {definition}\n        super().__init__()\n")
    message = refusal(build, spec)
    assert f"{call} refused: TypeError" in message
    assert f"mine.py:3: {definition}" in message


def test_a_constructor_that_exits_is_refused(write):
    spec = write(
        f"{HEAD}class Norm(nn.Module):\n    def __init__(self, n):\n        raise SystemExit(3)\n"
    )
    message = refusal(build, spec)
    assert "Norm(6) refused: SystemExit" in message
    assert "mine.py:4: raise SystemExit(3)" in message


def test_a_constructor_that_forgets_super_is_refused(write):
    spec = write(f"{HEAD}class Norm(nn.Module):\n    def __init__(self, n):\n        self.n = n\n")
    message = refusal(build, spec)
    assert "Norm(6)" in message
    assert "mine.py:3: def __init__(self, n):" in message


def test_a_class_that_builds_something_else_is_refused(write):
    spec = write(f"{HEAD}class Norm(nn.Module):\n    def __new__(cls, n):\n        return 'no'\n")
    assert "Norm(6)" in refusal(build, spec)


# ---- what fails when the layer runs


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        ("x, x", "a tuple"),
        ("[x]", "a list"),
        ("None", "nothing"),
        ("x.flatten(1)", r"a tensor of shape \(2, 54\)"),
        ("x.mean()", r"a tensor of shape \(\)"),
    ],
)
def test_an_output_that_is_not_a_tensor_of_that_shape_is_refused(write, returned, got):
    layer = build(
        write(
            f"{HEAD}class Norm(nn.Module):\n"
            "    def __init__(self, num_features):\n"
            "        super().__init__()\n"
            "    def forward(self, x):\n"
            f"        return {returned}\n"
        )
    )
    x = torch.randn(2, 6, 3, 3)
    for each in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        with pytest.raises(TypeError, match=rf"^Norm\.forward returned {got} .*\(2, 6, 3, 3\)"):
            each(x)


# ---- package.module:Class


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a module of a package that Python can import, and return its norm."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(source, name="Norm"):
        folder = tmp_path / "package_for_bnrun"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "norms.py").write_text(source)
        return f"package_for_bnrun.norms:{name}"

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("package_for_bnrun"):
            del sys.modules[name]


def test_a_class_of_an_importable_module_is_built(package):
    spec = package(IDENTITY)
    layer = build(spec)
    assert type(layer).__module__ == "package_for_bnrun.norms"
    assert type(pickle.loads(pickle.dumps(layer))) is type(layer)


def test_a_class_of_torch_itself_is_built():
    assert type(build("torch.nn:BatchNorm2d")) is nn.BatchNorm2d


def test_checking_does_not_import_the_module(package):
    check_norm(package("raise SystemExit('was run')\n"))
    assert "package_for_bnrun" not in sys.modules


@pytest.mark.parametrize("ask", [check_norm, norm_factory])
def test_a_module_that_is_not_there_is_named(ask):
    message = refusal(ask, "no_such_package.norms:Norm")
    assert message.startswith("model.norm: received 'no_such_package.norms:Norm'")
    assert "no module 'no_such_package' to import" in message
    assert "path/to/file.py:Class" in message


def test_a_missing_submodule_is_named(package):
    package(IDENTITY)
    message = refusal(norm_factory, "package_for_bnrun.nroms:Norm")
    assert "importing package_for_bnrun.nroms failed: ModuleNotFoundError" in message


def test_a_missing_class_of_a_module_gets_a_suggestion(package):
    message = refusal(norm_factory, package(IDENTITY, name="Nrom"))
    assert "package_for_bnrun.norms has no class 'Nrom'. Did you mean 'Norm'?" in message


@pytest.mark.parametrize("line", ["undefined_name", "import sys; sys.exit('bye')"])
def test_a_module_that_cannot_be_imported_shows_its_line(package, line):
    message = refusal(norm_factory, package(f"{IDENTITY}{line}\n"))
    assert f"norms.py:3: {line}" in message


RAISES = f"{HEAD}class Norm(nn.Module):\n    def __init__(self, n):\n        raise ValueError(n)\n"


def test_a_constructor_in_a_module_shows_the_users_own_line(package):
    message = refusal(build, package(RAISES))
    assert "Norm(6) refused: ValueError: 6" in message
    assert "norms.py:4: raise ValueError(n)" in message


# ---- a class


class Ranked(nn.Module):
    """A class as a notebook may define it."""

    def __init__(self, num_features, num_dims, eps=1e-5):
        super().__init__()
        self.received = (num_features, num_dims, eps)
        if num_features == 13:
            raise ValueError("unlucky")

    def forward(self, x):
        return x.flatten(1)


def test_a_class_goes_through_the_same_door():
    check_norm(Ranked)
    layer = norm_factory(Ranked)(6, 4, eps=0.5)
    assert layer.received == (6, 4, 0.5)
    with pytest.raises(TypeError, match=r"^Ranked\.forward returned a tensor of shape \(2, 54\)"):
        layer(torch.randn(2, 6, 3, 3))
    assert norm_factory(nn.BatchNorm2d)(6, 4).num_features == 6


def test_a_class_whose_constructor_raises_shows_its_line():
    message = refusal(build, Ranked, 13)
    assert "Ranked(13, 4) refused: ValueError: unlucky" in message
    assert 'raise ValueError("unlucky")' in message


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (dict, "class dict does not derive from torch.nn.Module."),
        (len, "'<built-in function len>' is a builtin_function_or_method; a norm is a class"),
    ],
)
def test_a_class_that_is_no_module_is_refused(other, what):
    assert what in refusal(norm_factory, other)


def test_lines_of_torch_and_bnrun_are_not_shown_as_the_users():
    for norm in (nn.BatchNorm1d, "torch.nn:BatchNorm1d", "scratch"):
        layer = norm_factory(norm)(3, 2)
        with pytest.raises(ValueError, match="more than 1 value") as error:
            layer(torch.ones(1, 3))
        assert own_line(error.value).partition(":")[0].strip() in ("", __file__)


def test_a_class_has_a_text_by_which_a_config_names_it(write, package):
    for norm in (Ranked, nn.BatchNorm2d, type(build(package(IDENTITY)))):
        assert type(build(norm_text(norm))) is norm
    spec = write(IDENTITY)
    assert norm_text(type(build(spec))) == spec
    assert norm_text("scratch") == "scratch"


@pytest.mark.parametrize(
    ("other", "what"), [(nn.BatchNorm2d(3), "a BatchNorm2d"), (3, "an int"), (len, "a builtin_fun")]
)
def test_a_layer_in_place_of_its_class_has_no_such_text(other, what):
    message = refusal(norm_text, other)
    assert f"received {what}" in message
    assert "or a class, of which each place in the network gets a layer of its own" in message


def test_a_class_inside_a_function_has_no_such_text():
    class Local(nn.Identity): ...

    message = refusal(norm_text, Local)
    assert "Local can't be found again" in message
    assert "top level of a module or of a notebook" in message


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("class Norm(nn.Module): ...", "Write {0}:Norm."),
        ("class Base(nn.Module): ...\nclass Norm(Base): ...\nclass Sizes(dict): ...",
         "Write {0}:Base or {0}:Norm."),
        ("class Norm(nn.BatchNorm2d): ...\nimport numpy as np\nclass Other(np.ndarray): ...",
         "Write {0}:Norm."),
    ],
)  # fmt: skip
def test_of_a_file_without_a_class_the_layers_in_it_are_named(write, source, advice):
    file = write(HEAD + source).rpartition(":")[0]
    for spec in (file, f"{file}:"):
        assert refusal(check_norm, spec) == (
            f"model.norm: received '{spec}', which names no class. {advice.format(file)}"
        )


@pytest.mark.parametrize("source", ["class Sizes(dict): ...", "class ("])
def test_of_a_file_without_a_layer_the_form_is_told(write, source):
    file = write(HEAD + source).rpartition(":")[0]
    assert "a norm of your own is written path/to/file.py:Class" in refusal(check_norm, file)


def test_a_file_that_changes_in_a_moment_is_imported_as_it_is(write, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    for version in (1, 2):  # as long, in the same second: Python's bytecode would be that of 1
        spec = write(f"{HEAD}class Norm(nn.Identity):\n    version = {version}\n")
        assert build(spec).version == version


def test_errors_quote_the_file_that_was_imported(write, tmp_path):
    """The original as long as it is the same, otherwise the copy; and the line that ran."""
    source = f"{HEAD}class Norm(nn.Module):\n    def __init__(self, n):\n        raise ValueError\n"
    spec, copy = write(source), tmp_path / "copy.py"
    original = spec.rpartition(":")[0]
    copy.write_text(source)
    factory = norm_factory(spec, {}, str(copy))
    write("import nothing_like_it\n")
    assert f"{original}:4: raise ValueError" in refusal(factory, 6, 4)
    assert f"{copy}:4: raise ValueError" in refusal(norm_factory(spec, {}, str(copy)), 6, 4)
