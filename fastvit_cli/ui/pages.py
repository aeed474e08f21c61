"""Pages of HTML: each one file that needs neither network nor scripts, made from the templates beside this module."""

import base64
from dataclasses import dataclass
from typing import Any

from fastvit_cli.names import visible
from fastvit_cli.ui.palette import COLORS, variables


@dataclass(frozen=True)
class Card:
    """A figure that is seen first, with its name above it and a note below."""

    name: str
    value: str
    note: str = ""


def render(template: str, **values: Any) -> str:
    """The whole page; values are escaped unless they are markup already."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fastvit_cli.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    environment.filters["variables"] = variables
    return environment.get_template(template).render(colors=COLORS, **values)


def _visible(value: Any) -> Any:
    """A name of a file or a class with what cannot be seen written out; markup as it is."""
    return visible(value) if type(value) is str else value
