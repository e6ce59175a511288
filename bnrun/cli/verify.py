"""`bnrun verify`: is this normalization right, and if not, what is wrong with it?"""

from typing import Annotated, Any

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import DEVICES, JsonOption, QuietOption
from bnrun.errors import WORK_FAILED, ConfigError, known_value
from bnrun.verification.fault import FAMILIES, Family
from bnrun.verification.report import (
    CONTRACTS,
    DTYPES,
    ENGINES,
    SHAPES,
    TIME_LIMIT,
    Report,
)


def verify(
    implementation: Annotated[
        str | None,
        typer.Argument(
            metavar="IMPL",
            help="A norm's name, or path/to/file.py:Class; or NORM(OPTION=VALUE).",
            autocompletion=completion.norms,
        ),
    ] = None,
    contract: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What counts as right: torch or textbook.",
            autocompletion=completion.one_of(*CONTRACTS),
        ),
    ] = "torch",
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="DTYPE",
            help="float64 (the default), float32, bfloat16, float16.",
            autocompletion=completion.one_of(*DTYPES),
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps.", autocompletion=DEVICES
        ),
    ] = "cpu",
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="eager or compiled.  [default: both, where kernels exist]",
            autocompletion=completion.one_of(*ENGINES),
        ),
    ] = None,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="For each experiment.")
    ] = TIME_LIMIT,
    family: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="batch, layer, group, instance or rms.  [default: recognized]",
            autocompletion=completion.one_of(*FAMILIES),
        ),
    ] = None,
    shapes: Annotated[
        str | None,
        typer.Option(
            metavar="DIMS",
            help="The inputs that it is for: 2d,4d are (N, C) and (N, C, H, W).  [default: all]",
            autocompletion=completion.one_of(*SHAPES),
        ),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the checks, and the mistakes known by name.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="CHECK",
            help="Explain one check: what it does, its formula, a small input, the fix.",
            autocompletion=completion.checks,
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check whether a layer is right, and name its faults.

    For example: bnrun verify my_batchnorm.py:BatchNorm

    The class runs in a process of its own, so it may hang, print or exit. That is no sandbox: it
    runs with all your rights. Verify only code that you would run.
    """
    options: dict[str, Any] = {
        "contract": known_value("--contract", contract, CONTRACTS),
        "dtype": None if dtype is None else known_value("--dtype", dtype, DTYPES),
        "engine": None if engine is None else known_value("--engine", engine, ENGINES),
        "time_limit": time_limit,
        "shapes": shapes,
        "family": None if family is None else known_value("--family", family, FAMILIES),
    }
    if list_:
        _show_list(implementation, options["family"], json)
        return
    if implementation is None and explain is not None:
        _show_explanation(explain, options["family"], json)
        return
    norm, options["options"] = _parse_implementation(implementation)
    report = _run(norm, device, quiet, options, explain)
    if explain is None:
        _show(report, json)
        failed = report.verdict == "fail"
    else:
        failed = _show_explanation(explain, options["family"], json, report)
    if failed:
        raise typer.Exit(WORK_FAILED)


def _parse_implementation(implementation: str | None) -> tuple[str, dict[str, Any]]:
    """Return the norm and the options of IMPL, if there is such a norm.

    This imports no torch and runs no code of the user.
    """
    from bnrun.cli.overrides import renamed_keys
    from bnrun.config.norm_call import parse_norm_call
    from bnrun.norms import check_norm

    if implementation is None:
        raise ConfigError("name a norm, or your own as path/to/file.py:Class.", "IMPL")
    with renamed_keys({"model.norm": "IMPL"}):
        norm, options = parse_norm_call(implementation, "IMPL")
        check_norm(norm, options or {})
    return norm, options or {}


def _run(
    norm: str, device: str, quiet: bool, options: dict[str, Any], explain: str | None
) -> Report:
    """Verify, and show the progress; a check to explain must exist."""
    from bnrun.cli.overrides import option_names, renamed_keys
    from bnrun.events import drain
    from bnrun.show.console import stderr
    from bnrun.show.progress import open_screen

    keys = {name: f"--{name}" for name in ("dtype", "engine", "shapes")} | {"model.norm": "IMPL"}
    with renamed_keys(keys), open_screen(stderr(), quiet=quiet) as screen:
        with loading(screen, "torch"):
            import torch

            from bnrun.training import pick_device
            from bnrun.verification.explanations import find_check
            from bnrun.verification.topics import CHECKS
            from bnrun.verification.verify import verify
        if explain is not None:
            find_check(explain, CHECKS)
            options["examples"] = True
        with option_names(device=device):
            options["device"] = str(pick_device(device))
        if options["dtype"] is not None:
            options["dtype"] = getattr(torch, options["dtype"])
        return drain(verify(norm, **options), screen.show)


def _show(report: Report, json: bool) -> None:
    from bnrun.show.console import show_json, show_view
    from bnrun.show.verify_tables import report_view

    if json:
        show_json(report.to_dict())
    else:
        show_view(report_view(report))


def _show_explanation(
    name: str, family: Family | None, json: bool, report: Report | None = None
) -> bool:
    """Show what a check does and, with a report, what came of it; return whether it failed."""
    from bnrun.show.console import show_json, show_view, stderr
    from bnrun.show.progress import open_screen

    with open_screen(stderr(), quiet=False) as screen, loading(screen, "torch"):
        from bnrun.show.verify_tables import explanation_view
        from bnrun.verification.explanations import explain
        from bnrun.verification.topics import CHECKS
    explanation = explain(name, CHECKS, report.family if report else family or "batch", report)
    if json:
        show_json(explanation.to_dict())
    else:
        show_view(explanation_view(explanation))
    return any(result.status == "fail" for result in explanation.results)


def _show_list(implementation: str | None, family: Family | None, json: bool) -> None:
    """Show all checks and known mistakes, or those of one family."""
    if implementation is not None:
        raise ConfigError("this lists everything, whatever the norm: leave IMPL out.", "--list")

    from bnrun.show.console import show_json, show_view, stderr
    from bnrun.show.progress import open_screen
    from bnrun.show.verify_tables import catalogue_view

    with open_screen(stderr(), quiet=False) as screen, loading(screen, "torch"):
        from bnrun.verification.catalogue import known_faults
        from bnrun.verification.topics import CHECKS
    faults = known_faults(family)
    checks = [one for one in CHECKS if family is None or family in one.families]
    if json:
        listed = [{"name": c.name, "group": c.group, "about": c.about} for c in checks]
        show_json({"checks": listed, "known": [fault.to_dict() for fault in faults]})
    else:
        show_view(catalogue_view(checks, faults))
