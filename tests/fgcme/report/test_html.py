from __future__ import annotations

import base64
import io
from dataclasses import replace

import jinja2
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fgcme.report.html import Image, render
from fgcme.report.sweep.page import sweep_html, sweep_pictures
from fgcme.report.theme import DARK, LIGHT, Picture, Theme, to_png
from tests.fgcme.report.page_text import Page
from tests.fgcme.report.sweep.sample_sweep import sweep


def draw(theme: Theme) -> Figure:
    figure = theme.canvas(3, 1.5)
    figure.add_subplot().plot([0, 1])
    return figure


PICTURE = Picture("line", draw, "a line that rises from 0 to 1", "A caption.")


@pytest.fixture
def image() -> Image:
    return Image.of(PICTURE, to_png(PICTURE, LIGHT))


def corner(address: str) -> tuple[float, ...]:
    """The colour of the first pixel of a PNG within an address."""
    from PIL import Image as Pixels

    kind, _, data = address.partition(",")
    assert kind == "data:image/png;base64"
    with Pixels.open(io.BytesIO(base64.b64decode(data))) as opened:
        return tuple(np.asarray(opened.convert("RGB"))[0, 0] / 255)


def test_an_image_holds_the_picture_on_both_grounds(image: Image) -> None:
    assert corner(image.light) == pytest.approx(to_rgb(LIGHT.ground), abs=1 / 255)
    assert corner(image.dark) == pytest.approx(to_rgb(DARK.ground), abs=1 / 255)
    assert (image.alternative, image.caption) == (PICTURE.alternative, PICTURE.caption)


def test_an_image_is_as_large_as_its_figure_at_96_pixels_an_inch(image: Image) -> None:
    assert (image.width, image.height) == (3 * 96, 144)


def empty_page(title: str) -> str:
    """The source of a page without any picture."""
    empty = sweep()
    empty = replace(empty, provenance=replace(empty.provenance, title=title))
    return sweep_html(empty, sweep_pictures(empty), {}, False)


def test_text_is_escaped() -> None:
    page = empty_page("<b>bold</b> & co")
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; co" in page
    assert not Page(page).all("b")


def test_no_line_ends_between_a_number_and_its_per_cent_sign() -> None:
    page = empty_page("at 5 % of 20 speakers")
    assert "at 5\N{NO-BREAK SPACE}% of 20 speakers" in page


def test_a_value_that_a_template_lacks_is_an_error_and_not_empty() -> None:
    with pytest.raises(jinja2.UndefinedError, match="sweep"):
        render("sweep/page.html.j2", {"value": str, "cost": str, "image": str})
