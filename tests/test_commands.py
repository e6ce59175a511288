"""A command that is forked is the command that a fresh interpreter would run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

Run = Callable[..., subprocess.CompletedProcess[str]]

# Stands in for the command line: it writes down what a process can be told apart by, and ends.
PROBE = """
import json, os, signal, sys
import bnrun.cli

def probe(**_):
    main = sys.modules["__main__"]
    print(json.dumps({
        "argv": sys.argv,
        "main": (main.__name__, main.__spec__.name),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "terminals": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "encodings": [stream.encoding for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "errors": [stream.errors for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "SIGINT": getattr(signal.getsignal(signal.SIGINT), "__name__", "ignored"),
        "SIGTERM": str(signal.getsignal(signal.SIGTERM)),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "leads a session": os.getsid(0) == os.getpgid(0) == os.getpid(),
    }))
    print("γ", file=sys.stderr)
    sys.exit({code})

bnrun.cli.app = probe
"""


def _probe(bnrun: Run, code: str = "3", **how: Any) -> tuple[dict[str, Any], int, str]:
    done = bnrun("train", "a b", before=PROBE.replace("{code}", code), **how)
    return json.loads(done.stdout), done.returncode, done.stderr


@pytest.mark.parametrize("ignore_sigint", [False, True])
def test_its_process_looks_the_same(bnrun: Run, tmp_path: Path, ignore_sigint: bool) -> None:
    document, status, stderr = _probe(bnrun, ignore_sigint=ignore_sigint)
    fresh, *_ = _probe(bnrun, ignore_sigint=ignore_sigint, fresh=True)
    for key, value in fresh.items():
        assert document[key] == value, key
    assert document["argv"][1:] == ["train", "a b"]
    assert document["folder"] == str(tmp_path)
    assert (status, stderr) == (3, "γ\n")


@pytest.mark.parametrize("code", ["None", "0", "300", "'a reason'"])
def test_its_exit_status_is_an_interpreters(bnrun: Run, code: str) -> None:
    """Without bnrun, an interpreter starts in a tenth of the time."""
    ends = f"import sys; print('γ', file=sys.stderr); sys.exit({code})"
    fresh = subprocess.run([sys.executable, "-c", ends], capture_output=True, text=True)
    assert _probe(bnrun, code)[1:] == (fresh.returncode, fresh.stderr)


def test_its_uncaught_errors_are_the_same(bnrun: Run) -> None:
    for error in ("ValueError('no')", "KeyboardInterrupt"):
        before = f"import bnrun.cli\ndef fail(**_):\n    raise {error}\nbnrun.cli.app = fail\n"
        forked, fresh = bnrun(before=before), bnrun(before=before, fresh=True)
        assert forked.returncode == fresh.returncode
        assert forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]
