"""Options of a user's norm: handed to the constructor, and checked against its signature."""

from typing import Literal, Optional

import pytest
from torch import nn

from bnrun.errors import NormError
from bnrun.norms import norm_factory


def _class(signature: str, annotations: str = "") -> type[nn.Module]:
    """Make a class of layers with a constructor of this signature, which records its arguments."""
    scope = {"nn": nn, "Optional": Optional, "Literal": Literal}
    exec(
        f"{annotations}\n"
        "class Norm(nn.Identity):\n"
        f"    def __init__(self, {signature}):\n"
        "        received = {k: v for k, v in locals().items() if k not in ('self', '__class__')}\n"
        "        super().__init__()\n"
        "        self.received = received\n",
        scope,
    )
    made: type[nn.Module] = scope["Norm"]  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("signature", "options", "received"),
    [
        ("n, eps=1e-5", {"eps": 1}, {"n": 6, "eps": 1}),
        ("n, *, eps", {"eps": 1e-3}, {"n": 6, "eps": 1e-3}),
        ("n, num_dims, eps=1", {"eps": 2}, {"n": 6, "num_dims": 4, "eps": 2}),
        ("n, groups", {"groups": 2}, {"n": 6, "groups": 2}),  # which is not the rank then
        ("groups, n", {"groups": 2}, {"groups": 2, "n": 6}),  # torch.nn.GroupNorm's order
        ("groups, n, num_dims", {"groups": 2}, {"groups": 2, "n": 6, "num_dims": 4}),
        ("n, **others", {"any": "text"}, {"n": 6, "others": {"any": "text"}}),
        ("*all, eps=1", {"eps": 2}, {"all": (6,), "eps": 2}),
    ],
)
def test_options_are_keyword_arguments(signature, options, received) -> None:
    assert norm_factory(_class(signature), options)(6, 4).received == received


@pytest.mark.parametrize(
    ("signature", "options", "reason"),
    [
        ("n, eps=1", {"epz": 1}, "Norm takes no option 'epz'. Did you mean 'eps'? It takes: eps."),
        ("n", {"eps": 1}, "Norm takes no option 'eps'. It takes none at all."),
        ("n, /, eps=1", {"n": 1}, "Norm takes no option 'n'. It takes: eps."),
        ("n, eps=1", {"num_dims": 2}, "received Norm(num_dims=2); num_dims comes from the network, "
         "at each place of it. Leave it out."),
        ("n, eps=1e-5", {"eps": "high"}, "received Norm(eps=high); eps must be a number."),
        ("n, on=True", {"on": 1}, "received Norm(on=1); on must be true or false."),
        ("n, m=0.1", {"m": "none"}, "received Norm(m='none'); m must be a number. YAML's none is "
         "written null."),
        ("n, eps: float = 1", {"eps": "none"}, "received Norm(eps='none'); eps must be a number."),
        ("n, eps: float = 1", {"eps": None}, "received Norm(eps=none); eps must be a number."),
        ("n, m: 'float | None' = 1", {"m": [1]}, "received Norm(m=[1]); m must be a number or "
         "none."),
        ("n, g: Optional[int] = 1", {"g": 2.5}, "received Norm(g=2.5); g must be a whole number or "
         "none."),
        ("n, how: Literal['a', 'b'] = 'a'", {"how": "c"}, "received Norm(how=c); how must be 'a' "
         "or 'b'."),
        ("n, s: tuple[int, ...] = ()", {"s": 1}, "received Norm(s=1); s must be a list."),
    ],
)  # fmt: skip
def test_what_the_signature_does_not_accept_is_refused(signature, options, reason) -> None:
    with pytest.raises(NormError) as refused:
        norm_factory(_class(signature), options)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("signature", "options"),
    [
        ("n, momentum=0.1", {"momentum": None}),  # without annotation, it may mean something
        ("n, scale=1", {"scale": 0.5}),
        ("n, eps: float = 1", {"eps": 1}),
        ("n, x=None", {"x": "anything"}),
        ("n, x: nn.Module | None = None", {"x": "anything"}),  # the constructor decides
        ("n, x: 'Undefined' = 1", {"x": "anything"}),
        ("n, how: Literal['a', 'b'] = 'a'", {"how": "b"}),
    ],
)
def test_what_the_signature_leaves_open_is_passed_on(signature, options) -> None:
    layer = norm_factory(_class(signature), options)(6, 4)
    assert layer.received == {"n": 6, **options}
