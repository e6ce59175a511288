"""`bnrun data`: where Fashion-MNIST is, from which source, verified or not; and getting it."""

from typing import Annotated

import typer

from bnrun.errors import DataError

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
        if root is not None or json:
            raise typer.BadParameter("--root and --json belong to `bnrun data` alone")
        return
    from bnrun.data import places
    from bnrun.show.console import show_json, stdout
    from bnrun.show.training_tables import places_table

    looked = [places.configured(root)] if root is not None else []
    looked += [places.cache(), places.debian_package()]
    used, verdict = None, "Not ready yet: `bnrun data fetch` gets it; so does the first training."
    try:
        used = places.find(root)
    except DataError as error:
        verdict = f"Training would refuse this. {error}"

    if json:
        document = {
            "used": str(used.folder) if used else None,
            "places": [
                {
                    "source": place.source,
                    "folder": str(place.folder),
                    "origin": place.origin,
                    "state": place.state,
                    "problems": place.problems if place.state != "absent" else "",
                }
                for place in looked
            ],
        }
        show_json(document)
        return
    stdout().print(places_table((p.source, p.state, str(p.folder)) for p in looked))
    stdout().print(
        f"Used: {used.folder}{_came(used.origin)}" if used else verdict,
        soft_wrap=True,
        markup=False,
    )


def _came(origin: str) -> str:
    return f" (from {origin})" if origin else ""


@app.command()
def fetch() -> None:
    """Get Fashion-MNIST into bnrun's cache, verified."""
    from bnrun.data.fetch import fetch as fetch_data
    from bnrun.show.console import stderr, stdout
    from bnrun.show.progress import open_screen

    with open_screen(stderr(), quiet=False) as screen:
        place = fetch_data(screen.show)
    stdout().print(f"{place.folder}: {place.state}", soft_wrap=True, markup=False)
