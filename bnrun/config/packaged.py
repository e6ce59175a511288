"""The configs that come with bnrun, by name: `lenet_bn` is configs/lenet_bn.yaml.

They lie in the package where it is installed, and beside it in the repository.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from bnrun.errors import ConfigError, did_you_mean

PACKAGE = Path(__file__).parents[1]

_NAME = re.compile(r"[\w-]+")


def packaged_configs(package: Path = PACKAGE) -> Mapping[str, Path]:
    """Return the file of each config that comes with bnrun, by its name."""
    folders = (package / "configs", package.parent / "configs")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def packaged_config(name: str) -> Path:
    """Return the file of a config that comes with bnrun.

    Raises:
        ConfigError: no config that comes with bnrun has this name.
    """
    known = packaged_configs()
    if name not in known:
        near = did_you_mean(name, known)
        reason = f"bnrun has no config of this name.{near} It has {', '.join(known)}."
        raise ConfigError(reason, source=name)
    return known[name]


def find_config(path: Path) -> tuple[Path, str]:
    """Return the file that a path or a name means, and how errors and records call it.

    An existing file wins over the name of a config that comes with bnrun.

    Raises:
        ConfigError: the text can only be a name, and there is neither a file nor a config of it.
    """
    name = str(path)
    known = packaged_configs()
    if name in known and not path.is_file():
        return known[name], f"bnrun's {known[name].name}"
    if _NAME.fullmatch(name) and len(name) < 256 and not path.exists():  # longer is no file name
        near = did_you_mean(name, [*known, *(file.name for file in Path().glob("*.y*ml"))])
        raise ConfigError(
            f"there is no config file and no config of bnrun of this name.{near} "
            f"bnrun has {', '.join(known)}.",
            source=name,
        )
    return path, name


def about(text: str) -> str:
    """Return what a config file says of itself: the first sentence of the comment at its top."""
    comment = re.match(r"(?:#[^\n]*\n)*", text)
    words = " ".join(re.sub(r"^#", "", comment[0] if comment else "", flags=re.M).split())
    return re.split(r"(?<=\.)\s", words)[0]
