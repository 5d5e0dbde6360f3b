"""Self-contained HTML pages: pictures are embedded, and there is no script."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jinja2

from fgcme.report import formatting
from fgcme.report.theme import DARK, RESOLUTION, Picture, to_png

# Pixels of an inch in a browser.
_PIXELS_AN_INCH = 96


@dataclass(frozen=True)
class Image:
    """A picture as a page holds it.

    Attributes:
        light, dark: data URLs of the PNGs.
        width, height: in pixels of the page.
        alternative, caption: of the picture.
    """

    light: str
    dark: str
    width: int
    height: int
    alternative: str
    caption: str

    @classmethod
    def of(cls, picture: Picture, light: bytes) -> Image:
        """An image of a picture; `light` is its PNG on the light ground, the dark one is drawn here."""
        width, height = struct.unpack(">II", light[16:24])  # of the PNG's first chunk, IHDR
        return cls(
            light=_address(light),
            dark=_address(to_png(picture, DARK)),
            width=round(width * _PIXELS_AN_INCH / RESOLUTION),
            height=round(height * _PIXELS_AN_INCH / RESOLUTION),
            alternative=picture.alternative,
            caption=picture.caption,
        )


def render(template: str, filters: dict[str, Callable[..., Any]], **values: Any) -> str:
    """A page.

    Args:
        template: its file in this package; it may extend and import others.
        filters: added to those that format numbers.
        values: variables of the template. Text is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fgcme.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=formatting.percent,
        points=formatting.points,
        duration=formatting.duration,
        count=formatting.count,
        sentence=formatting.sentence,
        **filters,
    )
    page = environment.get_template(template).render(**values)
    # Keep a number and its per cent sign on one line.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
