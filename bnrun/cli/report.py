"""`bnrun report`: results as one HTML page to hand out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import interruptible, loading
from bnrun.cli.options import RUNS, JsonOption, OutOption, QuietOption
from bnrun.errors import RunError

if TYPE_CHECKING:
    from bnrun.runs.kept_results import KeptResults

PAGE = Path("report.html")


def report(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="WHAT",
            help="Runs, comparisons, studies; or what verify or audit printed with --json.",
            autocompletion=completion.reportable,
        ),
    ] = None,
    file: Annotated[Path, typer.Option("--file", "-o", metavar="FILE", help="The page.")] = PAGE,
    out: OutOption = RUNS,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write results as one HTML page to hand out, offline and in print.

    Without WHAT: of each study the newest, the five newest comparisons and runs, and the documents
    of verify and audit (*.json) in the folder of the runs. Nothing is trained.
    """
    from bnrun.runs.kept_results import find_results, newest_results
    from bnrun.show.console import show_json, show_line, show_notice

    _refuse_foreign(file)
    results = find_results(what, out) if what else newest_results(out)
    for remark in results.remarks:
        show_notice(remark)
    page = _page(results, quiet)
    _write(file, page)
    if json:
        document = {"file": str(file), "bytes": len(page), "contents": dict(results.counts)}
        show_json(document)
    else:
        counts = ", ".join(f"{name}: {many}" for name, many in results.counts.items())
        show_line(f"{file}  {len(page) / 1e6:.2f} MB  ({counts})")
    if open_:
        _open(file)


def _refuse_foreign(file: Path) -> None:
    """Refuse to write over a file that is no report, or into a folder that is not there.

    Raises:
        RunError: it is so.
    """
    if file.is_dir() or not file.parent.is_dir():
        what = "is a folder; name a file"
        if not file.is_dir():
            what = f"is in a folder that does not exist; make it first: mkdir -p {file.parent}"
        raise RunError(f"received {file}, which {what}.", key="--file")
    marker = b'<meta name="generator" content="bnrun '
    if file.exists() and marker not in file.read_bytes()[:4096]:
        raise RunError(
            f"{file} is there, and is no report of bnrun. Name another file.", key="--file"
        )


def _page(results: "KeptResults", quiet: bool) -> bytes:
    from bnrun.events import drain
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    with interruptible(lambda: None), open_screen(stderr(), quiet=quiet) as screen:
        with loading(screen, "matplotlib"):
            from bnrun.report.page import build_page
        return drain(build_page(results), screen.show).encode()


def _write(file: Path, page: bytes) -> None:
    from bnrun.runs.atomic_write import write_atomically

    try:
        write_atomically(file, page)
    except OSError as error:
        raise RunError(
            f"{file} can't be written: {error.strerror or error}.", key="--file"
        ) from error


def _open(file: Path) -> None:
    """Open the page in the user's browser; say so where no browser is found."""
    import webbrowser

    from bnrun.show.console import show_notice

    if not webbrowser.open(file.resolve().as_uri()):
        show_notice(f"no browser was found; open {file.resolve()} in one.")
