"""Pages of HTML that need nothing else: pictures are part of them, and there is no script."""

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

# What a browser takes for an inch.
_PIXELS_AN_INCH = 96


@dataclass(frozen=True)
class Image:
    """A picture as a page holds it.

    Attributes:
        light, dark: addresses that are the PNGs themselves.
        width, height: in the pixels of a page.
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
        """A picture that is drawn for a light ground already, and now for a dark one."""
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
        filters: of its own, beside those that write numbers.
        values: what it shows. Text is escaped.
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
    # A line must not end between a number and its sign.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
