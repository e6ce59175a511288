"""Config values in a few words, to tell one config from another: `lr 0.1, max pool`."""

from collections.abc import Mapping
from typing import Any

from bnrun.config.difference import config_difference
from bnrun.config.schema import Config
from bnrun.config.yaml_text import inline

_FORMS = {
    "model.pool": "{} pool",
    "model.activation": "{}",
    "model.norm_places": "norm at places {}",
    "model.norm_position": "norm {} the activation",
    "model.weights": "{} weights",
    "data.name": "{} data",
    "data.root": "images from {}",
    "optimizer.schedule": "{} schedule",
    "training.engine": "{} engine",
    "training.evaluate": "evaluated with {}",
}
"""How values are written whose key's own name would not read well before them."""

_PROPER_NAMES = {"data.name": {"fashion-mnist": "Fashion-MNIST"}}
"""Values that sentences and titles write in another way than a config."""

_NULL = {
    "data.root": "images of bnrun's own copy",
    "data.images": "all images",
    "training.norm_batch": "norm over the whole batch",
}
"""How null is written."""


def short_text(key: str, value: Any) -> str:
    """Write the value of a dotted key in a few words."""
    name = key.rpartition(".")[2].replace("_", " ")
    if isinstance(value, Mapping):  # the norm's options
        return ", ".join(f"norm's {option} {inline(one)}" for option, one in value.items())
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if value is None and key in _NULL:
        return _NULL[key]
    if value in (proper := _PROPER_NAMES.get(key, {})):
        return proper[value]
    if key in _FORMS:
        words = ", ".join(map(inline, value)) if isinstance(value, list) else inline(value)
        return _FORMS[key].format(words)
    return f"{name} {inline(value)}"


def changes(config: Mapping[str, Any], without: tuple[str, ...] = ()) -> list[str]:
    """Write what a config, as a dict, changes of the defaults, except for some dotted keys."""
    differences = config_difference(config, Config().to_dict())
    return [short_text(pair.key, pair.a) for pair in differences if pair.key not in without]
