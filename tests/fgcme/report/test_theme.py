from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from fgcme.report.theme import DARK, LIGHT, RESOLUTION, Picture, Theme, _say_what_is_missing, to_png


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Contrast ratio of two colours, as WCAG 2 defines it."""

    def luminance(colour: tuple[float, ...]) -> float:
        values = np.array(colour[:3])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_marks_contrast_with_the_background(theme: Theme) -> None:
    for colour in (theme.ink, theme.muted, theme.first, theme.second):
        assert contrast(to_rgb(colour), to_rgb(theme.ground)) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_contrasts_with_every_cell(theme: Theme) -> None:
    for shades in (theme.shades(), theme.signed_shades()):
        assert min(contrast(to_rgb(theme.ink), shades(step / 50)) for step in range(51)) >= 4.5


def test_a_change_of_zero_has_the_colour_of_the_background() -> None:
    assert np.allclose(DARK.signed_shades()(0.5)[:3], to_rgb(DARK.ground), atol=0.01)
    assert np.allclose(DARK.shades()(0.0)[:3], to_rgb(DARK.ground))


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_a_picture_has_the_size_and_background_of_its_theme(theme: Theme) -> None:
    def draw(theme: Theme) -> Figure:
        figure = theme.canvas(2, 1, "a heading")
        figure.add_subplot().imshow(np.random.default_rng(0).random((40, 40, 3)))
        return figure

    with Image.open(io.BytesIO(to_png(Picture("name", draw, ""), theme))) as image:
        assert image.size == (2 * RESOLUTION, RESOLUTION)
        for corner in ((0, 0), (2 * RESOLUTION - 1, RESOLUTION - 1)):
            assert image.convert("RGB").getpixel(corner) == tuple(bytes.fromhex(theme.ground[1:]))


def test_a_long_heading_is_wrapped() -> None:
    figure = LIGHT.canvas(3, 2, "demo/4class, epochs chosen on TEST (optimistic), tuned on TEST speakers (optimistic)")
    suptitle = figure.get_suptitle()
    assert "\n" in suptitle
    assert max(map(len, suptitle.splitlines())) <= 53


def test_letters_that_no_font_has_are_told_once_and_warned_of_never(capsys: pytest.CaptureFixture[str]) -> None:
    def draw(theme: Theme) -> Figure:
        figure = theme.canvas(2, 1)
        axes = figure.add_subplot()
        # Letters of nobody's script.
        axes.set_title("\U000f0000\U000f0001\U000f0002")
        axes.set_xlabel("\U000f0003")
        return figure

    _say_what_is_missing.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            to_png(Picture("a", draw, "a"), LIGHT)
    assert capsys.readouterr().err.count("have no font here") == 1
