"""`bnrun data`: where Fashion-MNIST is and whether it is verified; `bnrun data fetch` gets it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnrun.cli.help import Command, Group
from bnrun.cli.interruption import interruptible
from bnrun.cli.options import JsonOption
from bnrun.errors import DataError

if TYPE_CHECKING:
    from bnrun.data.places import Place

app = typer.Typer(cls=Group, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def data(
    context: typer.Context,
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Show what a training with data.root=DIR would use."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show where Fashion-MNIST is, and whether it is verified."""
    if context.invoked_subcommand is not None:
        if root is not None or json:
            raise typer.BadParameter("write the options of `bnrun data fetch` after it.")
        return
    from bnrun.data import places
    from bnrun.show.console import show_json, show_line, show_view
    from bnrun.show.training_tables import places_table

    looked = [places.configured(root)] if root is not None else []
    looked += [places.cache(), places.debian_package()]
    used, verdict = None, "Not ready yet: `bnrun data fetch` gets it; so does the first training."
    try:
        used = places.find(root)
    except DataError as error:
        verdict = f"Training would refuse this. {error}"
    if json:
        folder = str(used.folder) if used else None
        show_json({"used": folder, "places": list(map(_document, looked))})
        return
    if used:
        verdict = f"Used: {used.folder}" + (f" (from {used.origin})" if used.origin else "")
    show_view(places_table((p.source, p.state, str(p.folder)) for p in looked))
    show_line(verdict)


@app.command(cls=Command)
def fetch(
    root: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Put it into DIR, for data.root=DIR, instead."),
    ] = None,
) -> None:
    """Get Fashion-MNIST into bnrun's cache, verified.

    With --root DIR, the images go to DIR/FashionMNIST/raw, which is made if needed. Nothing that
    is there already is replaced.
    """
    from bnrun.data.fetch import fetch as fetch_data
    from bnrun.events import drain
    from bnrun.show.console import show_line, stderr
    from bnrun.show.progress import open_screen

    again = "no file was changed in part; run `bnrun data fetch` again to start over."
    with interruptible(lambda: again), open_screen(stderr(), quiet=False) as screen:
        place = drain(fetch_data(root), screen.show)
    show_line(f"{place.folder}: {place.state}")


def _document(place: "Place") -> dict[str, Any]:
    return {
        "source": place.source,
        "folder": str(place.folder),
        "origin": place.origin,
        "state": place.state,
        "problems": place.problems if place.state != "absent" else "",
    }
