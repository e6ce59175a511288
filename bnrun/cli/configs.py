"""`bnrun configs`: the configs that come with bnrun."""

from typing import Annotated

import typer

from bnrun.cli import completion
from bnrun.cli.options import JsonOption


def configs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Print this one; left out, they are listed.",
            autocompletion=completion.configs,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the configs that come with bnrun.

    To start one of your own from one of them: bnrun configs lenet_bn > my.yaml
    """
    from bnrun.config import about, packaged_config, packaged_configs, resolve
    from bnrun.show.config_tables import configs_view
    from bnrun.show.console import show_json, show_view

    chosen = packaged_configs() if name is None else {name: packaged_config(name)}
    texts = {name: file.read_text(encoding="utf-8") for name, file in chosen.items()}
    if json:
        documents = [
            {
                "name": one,
                "about": about(text),
                "file": str(chosen[one]),
                "config": resolve(chosen[one]).config.to_dict(),
            }
            for one, text in texts.items()
        ]
        show_json(documents[0] if name else {"configs": documents})
    elif name:
        typer.echo(texts[name].encode(), nl=False)  # as it is in the file, in any locale
    else:
        show_view(configs_view((one, about(text)) for one, text in texts.items()))
