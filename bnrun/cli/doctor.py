"""`bnrun doctor`: are torch's own norms right on this machine?"""

from typing import Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.interruption import loading
from bnrun.cli.options import DEVICES, JsonOption, QuietOption
from bnrun.errors import WORK_FAILED, known_value


def doctor(
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="One device alone.  [default: all that are here]",
            autocompletion=DEVICES,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="eager (seconds) or compiled (minutes) alone.",
            autocompletion=completion.one_of("eager", "compiled"),
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check whether torch's own norms are right on this machine."""
    from bnrun.verification.report import ENGINES

    engines = ENGINES if engine is None else (known_value("--engine", engine, ENGINES),)

    from bnrun.cli.overrides import option_names
    from bnrun.events import drain
    from bnrun.show.console import show_json, show_view, stderr
    from bnrun.show.doctor_tables import doctor_view
    from bnrun.show.progress import open_screen

    with open_screen(stderr(), quiet=quiet) as screen:
        with loading(screen, "torch"):
            import torch

            from bnrun.training.device import available, device_name, pick_device
            from bnrun.verification.doctor import examine
        with option_names(device=device):
            devices = available() if device is None else [str(pick_device(device))]
        machines = {name: device_name(torch.device(name)) for name in devices}
        examination = drain(examine(machines, engines), screen.show)
    if json:
        show_json(examination.to_dict())
    else:
        show_view(doctor_view(examination))
    if examination.verdict == "fail":
        raise typer.Exit(WORK_FAILED)
