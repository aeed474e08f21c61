"""What all figures share: a style, two widths, and how one becomes a PNG or a part of a page."""

import io
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from fastvit_cli.atomic import replaced_when_done
from fastvit_cli.names import visible
from fastvit_cli.ui.palette import LIGHT, variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDE, NARROW = 10.0, 4.5
"""Inches of a figure on a screen and on a phone."""
_UNITS = 72  # of an SVG's coordinates in an inch
_HEADING = 0.6  # inches

_STYLE: dict[Any, Any] = {  # matplotlib lists every key as a type of its own
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT["line"],
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": LIGHT["quiet"],
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # which matplotlib brings; a page has that of its reader
    "font.size": 10.5,
    "grid.color": LIGHT["line"],
    "legend.frameon": False,
    "legend.labelcolor": LIGHT["quiet"],
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text that can be read, searched and enlarged
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a class may be called $x$
    "xtick.color": LIGHT["quiet"],
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": LIGHT["quiet"],
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Drawing:
    """A figure, and what is said about it where it is shown.

    Attributes:
        note: one or two lines under the title; may be empty.
        alt: what it shows, for those who cannot see it.
    """

    figure: "Figure"
    title: str
    note: str
    alt: str


Draw = Callable[[float], Drawing | None]
"""Draws at a width in inches; None where there is nothing to draw."""


@dataclass(frozen=True)
class PageFigure:
    """A drawing for a page: `narrow` is shown on phones, unless it is empty."""

    title: str
    note: str
    wide: str
    narrow: str


def drawn(draw: Draw, width: float = WIDE) -> Drawing | None:
    """One drawing in the house style."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        return draw(width)


def page_figure(draw: Draw) -> PageFigure | None:
    """A figure for a page, which needs no file beside it."""
    wide, narrow = drawn(draw), drawn(draw, NARROW)
    if wide is None or narrow is None:
        return None
    alike = (wide.figure.get_size_inches() == narrow.figure.get_size_inches()).all()
    return PageFigure(wide.title, wide.note, _svg(wide, "wide"), "" if alike else _svg(narrow, "narrow"))


def write_png(draw: Draw, path: Path, dpi: int = 144) -> None:
    """A figure as a file, its title and note above it; none where there is nothing to draw."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        drawing = draw(WIDE)
        if drawing is None:
            return
        if drawing.title:
            _head(drawing)
        with replaced_when_done(path) as temporary:
            drawing.figure.savefig(temporary, dpi=dpi)


def _head(drawing: Drawing) -> None:
    """Make the figure higher, for its title and note."""
    figure = drawing.figure
    width, height = figure.get_size_inches()
    note = textwrap.fill(drawing.note, int(width * 12))
    whole = height + _HEADING + 0.18 * note.count("\n")
    figure.set_size_inches(width, whole)
    figure.set_layout_engine("constrained", rect=(0, 0, 1, height / whole))
    left, top = 0.12 / width, 1 - 0.1 / whole
    figure.text(left, top, drawing.title, fontsize=13, fontweight="bold", va="top", in_layout=False)
    figure.text(left, top - 0.26 / whole, note, fontsize=9, color=LIGHT["quiet"], va="top", in_layout=False)


def _svg(drawing: Drawing, name: str) -> str:
    """The drawing as an element of a page, in the colours of its stylesheet and never too small to be read."""
    from matplotlib import rc_context

    written = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": f"{name} {drawing.title}"}):  # names are shared by a whole page
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        drawing.figure.savefig(written, format="svg", transparent=True, dpi=2 * _UNITS, metadata=metadata)
    root = ElementTree.fromstring(written.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if "style" in element.attrib:
            element.set("style", variables(element.attrib["style"]))
    width, _ = drawing.figure.get_size_inches() * _UNITS
    style = f"min-width:{0.96 * width:.0f}px;max-width:{1.45 * width:.0f}px"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": drawing.alt, "style": style}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def plain(name: str, limit: int = 10_000) -> str:
    """A name as a figure can hold it: without signs that cannot be seen, and of a long one without the middle."""
    name = "".join(sign if sign.isprintable() else "�" for sign in visible(name))
    return name if len(name) <= limit else f"{name[: (limit - 1) // 2]}…{name[-(limit // 2) :]}"
