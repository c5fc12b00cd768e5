"""The page every report is made of: one file that asks for nothing from outside, the same for the same input."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurosig.core.files import atomic_write
from neurosig.reports.drawing import COLOURS

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

__all__ = ["data_uri", "figure_svg", "format_number", "format_p", "format_seconds", "render", "write_page"]

_DASH = "–"


def write_page(path: str | os.PathLike, template: str, **context: Any) -> Path:
    """Render `template` with `context` and write it in one step.

    Parameters
    ----------
    path : path-like
        The HTML file.
    template : str
        File name in this package's ``templates`` folder.
    **context : any
        What the template speaks of. Text is escaped.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    StorageError
        If the place cannot be written.
    """
    return atomic_write(path, render(template, **context))


def render(template: str, **context: Any) -> str:
    """The page as text; see `write_page`."""
    from neurosig import __version__

    return _environment().get_template(template).render(version=__version__, **context)


def figure_svg(figure: Figure, *, name: str, description: str) -> Markup:
    """A figure as inline SVG: text stays text, colours follow the page's theme, equal figures give equal bytes.

    Parameters
    ----------
    figure : Figure
        Drawn with the colours of `neurosig.reports.drawing.COLOURS`.
    name : str
        Unique within the page: it prefixes every id inside the drawing.
    description : str
        What a reader who cannot see the figure is told.
    """
    import matplotlib as mpl
    from markupsafe import Markup, escape

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>\s*", r"<style.*?</style>\s*"):
        svg = re.sub(unwanted, "", svg, flags=re.DOTALL)
    svg = re.sub(r"\bid=\"", f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r"href=\"#", f'href="#{name}-', svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    size = re.search(r"viewBox=\"[^\"]*\"", svg)
    body = svg[svg.index(">") + 1 :]
    label = escape(description)
    head = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" {size[0] if size else ""} role="img" aria-label="{label}">'
    return Markup(head + re.sub(r"\n\s*", "\n", body))


def data_uri(content: str | bytes, media_type: str) -> str:
    """`content` as an address that holds it, for a download link."""
    data = content.encode() if isinstance(content, str) else content
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def format_number(value: Any, decimals: int = 3, sign: bool = False) -> str:
    """A number with always the same decimals; a dash where there is none. The minus is a minus, not a hyphen."""
    if not _is_number(value):
        return _DASH
    value = round(float(value), decimals) + 0.0  # no minus, and no plus, before a zero
    text = f"{value:{'+' if sign and value else ''}.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def format_p(value: Any) -> str:
    """A p value with three decimals, or "< 0.001"."""
    if not _is_number(value):
        return _DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_seconds(value: Any) -> str:
    """Seconds to three digits, with the unit that fits."""
    if not _is_number(value):
        return _DASH
    if value < 0.9995:
        return f"{value * 1000:.{1 if value < 0.01 else 0}f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s" if value < 600 else f"{value / 60:.0f} min"


def format_count(value: Any) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if _is_number(value) else _DASH


def _is_number(value: Any) -> bool:
    if hasattr(value, "item"):
        value = value.item()
    return isinstance(value, int | float) and math.isfinite(value)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("neurosig.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": format_number, "p": format_p, "seconds": format_seconds, "count": format_count, "data_uri": data_uri,
    }  # fmt: skip
    environment.globals["script"] = _script()
    # the page forbids itself every outside request: a browser enforces what we promise
    environment.globals["policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-"
        + base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
        + "'; base-uri 'none'; form-action 'none'"
    )
    return environment


@cache
def _script() -> Any:
    from markupsafe import Markup

    return Markup((Path(__file__).parent / "templates" / "sort.js").read_text(encoding="utf-8"))
