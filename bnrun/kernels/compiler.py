"""The C++ compiler: the one that the environment variable CXX names, or the system's.

CXX may be a path with spaces, or a command with arguments, such as `ccache g++`.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from bnrun.errors import EngineError

COMPILERS = ("c++", "g++")
"""What is looked for where CXX is not set."""
COMPILER_SECONDS = 120
"""Time limit of one run of the compiler."""


def engine_error(reason: str) -> EngineError:
    """Return the error of an engine that this machine cannot run."""
    return EngineError(reason, "training.engine")


def compiler_command() -> tuple[str, ...]:
    """Return the path of the compiler, and the arguments that CXX adds to it.

    Raises:
        EngineError: the machine has no C++ compiler, or not the one that CXX names.
    """
    wanted = os.environ.get("CXX", "").strip()
    try:
        commands = [[wanted], shlex.split(wanted)] if wanted else [[name] for name in COMPILERS]
    except ValueError as error:
        raise engine_error(f"the environment variable CXX is '{wanted}': {error}.") from None
    for name, *arguments in commands:
        path = shutil.which(name)
        if path is not None:
            return path, *arguments
    if wanted:
        raise engine_error(
            f"the environment variable CXX is '{wanted}', and there is no {name}. Name a C++ "
            "compiler there, or unset it, or take the engine eager."
        )
    raise engine_error(
        "compiling needs a C++ compiler, and there is no c++. On Debian and Ubuntu: "
        "apt install g++. Or name yours in the environment variable CXX, or take the engine eager."
    )


def run_compiler(*arguments: str, output: Path) -> None:
    """Run the compiler; the path of its output is its last argument.

    Raises:
        EngineError: it cannot be started, fails, takes too long, or writes nothing.
    """
    command = compiler_command()
    compiler = shlex.join(command)
    try:
        done = subprocess.run(
            [*command, *arguments, str(output)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise engine_error(
            f"{compiler} has not compiled the kernels in {COMPILER_SECONDS} s."
        ) from None
    except OSError as error:
        raise engine_error(f"{compiler} can't be started: {error.strerror or error}.") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it gives no reason"]
        errors = (line for line in lines if "error: " in line and "ld returned" not in line)
        message = next(errors, lines[0])
        raise engine_error(f"{compiler} can't compile the kernels: {message}.")
    if not output.is_file():
        raise engine_error(f"{compiler} ends without an error, and has compiled nothing.")
