"""The file of a user's own norm, in the directory of a run, or of a comparison for each arm.

    norm/mine.py      a copy of the file, as the run began
    norm/files.json   where it was, its SHA-256, and each other file that the run continued with

A run loads the file where it was, as long as it is the same. Otherwise it loads the copy: the file
moved or changed, and the weights belong to what it was. A comparison loads the copy in any case,
since the file may change while its trials train. Files that a norm imports from beside it are not
copied; they are looked for where the norm's file was.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bnrun.config import Config
from bnrun.config.norm_call import norm_call, parse_norm_call
from bnrun.config.schema import NormSource
from bnrun.errors import ConfigError, RunError
from bnrun.norms import check_norm
from bnrun.norms.user_module import absolute, content_of, file_of, is_user_norm
from bnrun.paths import folder_name
from bnrun.runs.atomic_write import write_atomically

FOLDER = "norm"
RECORD = "files.json"


def norm_folder(comparison: Path, arm: str) -> Path:
    """Return the folder in a comparison's directory that has the file of an arm's norm."""
    return comparison / "arms" / folder_name(arm)


@dataclass(frozen=True)
class NormFile:
    """A file that a run trained with.

    Attributes:
        norm: the norm that names it.
        file: where it was.
        sha256: of its content.
        copy: the name of the copy; None for a module that Python imports by its name.
        epoch: how many epochs were finished when the run began to train with it.
    """

    norm: str
    file: str
    sha256: str
    copy: str | None
    epoch: int


def keep_norm(path: Path, config: Config, epoch: int = 0) -> None:
    """Copy the file that a config loads its norm from, unless it is the last one that was copied.

    The copy is what this process imported: on disk, the file may have changed since. A norm without
    a file of its own leaves nothing.

    Args:
        path: the directory.
        config: of the run.
        epoch: how many epochs are finished.

    Raises:
        OSError: a file cannot be read or written.
        RunError: the record of earlier files is damaged.
    """
    source = config.model.norm_source
    original = file_of(source.norm)
    if original is None:
        return
    file = Path(source.copy) if source.copy else original
    content = content_of(file)
    sha256 = hashlib.sha256(content).hexdigest()
    norm, known = absolute(source.norm), _read(path)
    if known and (known[-1].norm, known[-1].sha256) == (norm, sha256):
        return
    folder = path / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    copy = None
    if norm.rpartition(":")[0].endswith(".py"):
        copy = _copy_name(original, {one.copy for one in known})
        write_atomically(folder / copy, content)
    kept = NormFile(norm, str(original), sha256, copy, epoch)
    document = {"files": [asdict(one) for one in (*known, kept)]}
    write_atomically(folder / RECORD, (json.dumps(document, indent=2) + "\n").encode())


def find_norm(path: Path, config: Config, prefers_copy: bool = False) -> tuple[Config, str | None]:
    """Return a run's config with the file to load its norm from, and what became of that file.

    Args:
        path: the run's directory.
        config: of the run.
        prefers_copy: whether to load the copy although the file is the same.

    Returns:
        The config, and a sentence where the file is not as the run began with it.

    Raises:
        RunError: the record of the files is damaged.
    """
    known = _read(path)
    if not known:
        return config, None
    last, folder = known[-1], path / FOLDER
    file = Path(last.file)
    if last.norm != config.model.norm:  # a later file, which the user named
        config = config.with_norm_source(NormSource(last.norm))
    if last.copy is None:
        notice = _module_changed(last, file)
        return config.with_norm_source(NormSource(last.norm, notice=notice)), notice
    copy = folder / last.copy
    if not file.is_file():
        reason = f"{file} is not there any more"
    elif _sha256(file) != last.sha256:
        reason = f"{file} has changed since training began"
    elif not prefers_copy:
        return config, None
    else:
        return config.with_norm_source(NormSource(last.norm, str(copy.absolute()))), None
    notice = f"{reason}: the norm is taken from the copy, {copy}"
    return config.with_norm_source(NormSource(last.norm, str(copy.absolute()), notice)), notice


def config_with_norm(
    path: Path, config: Config, norm: str | None, on_notice: Callable[[str], object]
) -> Config:
    """Return a run's config with the file to load its norm from.

    Args:
        path: the run's directory.
        config: the config that it was trained with.
        norm: `path/to/file.py:Class`, to take this in any case; None finds the run's own.
        on_notice: is called with a sentence where the run's own is not the file as the run began.

    Raises:
        ConfigError, NormError: `norm` cannot stand for the run's.
        RunError: the run's own is gone, and there is no copy; or the record is damaged.
    """
    if norm is not None:
        return with_other_norm(config, norm)
    kept = path if _read(path) else _arm_folder(path)
    found, notice = find_norm(kept, config)
    if notice is not None:
        on_notice(notice)
    if not _read(kept):
        _require_file(path, config)
    return found


def _arm_folder(path: Path) -> Path:
    """Return where a trial's comparison has the file of its norm; elsewhere, nothing is there."""
    path = path.absolute()
    return norm_folder(path.parents[1], path.name.rpartition("-s")[0])


def with_other_norm(config: Config, norm: str) -> Config:
    """Return a run's config with another place to load its norm from, as the user says.

    Raises:
        ConfigError, NormError: it cannot stand for the run's.
    """
    other, options = parse_norm_call(norm, "norm")
    own = config.model
    if not is_user_norm(own.norm) or not is_user_norm(other):
        raise ConfigError(
            f"received '{norm}', and the run's norm is {own.norm_call}. Of a run, this can only "
            "name the file of a norm of your own: path/to/file.py:Class.",
            key="model.norm",
        )
    if options is not None and options != own.norm_options:
        raise ConfigError(
            f"received '{norm}', but the run's options are "
            f"{norm_call('', own.norm_options) or 'none'}, and stay so. Leave the brackets out.",
            key="model.norm",
        )
    check_norm(other)
    return config.with_norm_source(NormSource(absolute(other)))


def _require_file(path: Path, config: Config) -> None:
    """Refuse a run of an older version, which has no copy, if the file is gone.

    Raises:
        RunError: it is.
    """
    norm = config.model.norm
    file = file_of(norm) if norm.rpartition(":")[0].endswith(".py") else None
    if file is not None and not file.is_file():
        raise RunError(
            f"{path} was trained with {norm}; {file} is not there, and the run has no copy of it. "
            "Put it back, or name the file to take: --norm path/to/file.py:Class."
        )


def _module_changed(last: NormFile, file: Path) -> str | None:
    if file.is_file() and hashlib.sha256(content_of(file)).hexdigest() == last.sha256:
        return None
    return (
        f"{file}, of norm {last.norm}, has changed since training began; it is taken as it is now"
    )


def _copy_name(file: Path, taken: set[str | None]) -> str:
    """Return a name for one more copy: `mine.py`, or `mine-2.py` where that is taken."""
    name, number = file.name, 1
    while name in taken:
        number += 1
        name = f"{file.stem}-{number}{file.suffix}"
    return name


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


_FILES = TypeAdapter(dict[str, list[NormFile]])


def _read(path: Path) -> list[NormFile]:
    """Return the files that a run trained with, the last one last; none where there is no record.

    Raises:
        RunError: the record is damaged.
    """
    file = path / FOLDER / RECORD
    try:
        return _FILES.validate_json(file.read_bytes())["files"]
    except FileNotFoundError:
        return []
    except (OSError, ValidationError, KeyError) as error:
        raise RunError(f"{file} is damaged: it does not list the files of a norm.") from error
