"""A report as one page of HTML that needs nothing else: pictures are part of it, and there is no script."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import jinja2

from fgcme.report import phrases
from fgcme.report.comparison import stars
from fgcme.report.content import Content, Pictures
from fgcme.report.summary import summarise_findings, summarise_gaps
from fgcme.report.theme import DARK, RESOLUTION, Picture, to_png

_TEMPLATE = "page.html.j2"
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


def to_html(content: Content, pictures: Pictures, light: Mapping[str, bytes]) -> str:
    """The page of a report.

    Args:
        content: the report.
        pictures: of it.
        light: name of a picture -> its PNG for a light ground.
    """

    def image(picture: Picture) -> Image:
        return Image.of(picture, light[picture.name])

    def images(by_variant: Mapping[str, Picture]) -> list[Image]:
        return [image(by_variant[variant]) for variant in content.shown if variant in by_variant]

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=phrases.percent,
        points=phrases.points,
        percent_range=phrases.percent_range,
        points_range=phrases.points_range,
        p_value=phrases.p_value,
        effect=phrases.effect,
        duration=phrases.duration,
        count=phrases.count,
        sentence=phrases.sentence,
        stars=stars,
        image=image,
        images=images,
    )
    template = resources.files("fgcme.report").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        content=content,
        main=content.main,
        pictures=pictures,
        summary=[*summarise_findings(content.main), *summarise_gaps(content.main, content.gaps)],
    )
    # A line must not end between a number and its sign.
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", page)


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
