"""`bnrun data`: where Fashion-MNIST is, from which source, verified or not; and getting it."""

from typing import Annotated

import typer

from bnrun.events import Notice
from bnrun.show.console import show_json, stderr, stdout
from bnrun.show.screen import open_screen
from bnrun.show.tables import places_table

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def data(
    context: typer.Context,
    root: Annotated[
        str | None, typer.Option(metavar="DIR", help="Look there first, as data.root would.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show where Fashion-MNIST is, and whether it is verified."""
    if context.invoked_subcommand is not None:
        return
    from bnrun.data import places

    looked = [places.configured(root)] if root else []
    looked += [places.cache(), places.debian_package()]
    sound = [place for place in looked if place.state in ("verified", "unpublished")]
    if json:
        document = {
            "used": str(sound[0].folder) if sound else None,
            "places": [
                {
                    "source": place.source,
                    "folder": str(place.folder),
                    "state": place.state,
                    "problems": place.problems if place.state != "absent" else "",
                }
                for place in looked
            ],
        }
        show_json(document)
        return
    stdout().print(places_table((p.source, p.state, str(p.folder)) for p in looked))
    for place in looked:
        if place.state in ("damaged", "incomplete"):
            stdout().print(f"{place.source}: {place.problems}", soft_wrap=True, markup=False)
    if sound:
        stdout().print(f"Used: {sound[0].folder}", soft_wrap=True, markup=False)
    else:
        stdout().print("Fashion-MNIST is not here yet; `bnrun data fetch` gets it.")


@app.command()
def fetch() -> None:
    """Get Fashion-MNIST into bnrun's cache, verified."""
    from bnrun.data.fetch import fetch as fetch_data

    with open_screen(stderr(), quiet=False) as screen:
        place = fetch_data(screen.show)
        screen.show(Notice("nothing is left to do"))
    stdout().print(f"{place.folder}: {place.state}", soft_wrap=True, markup=False)
