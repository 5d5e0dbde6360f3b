"""Themes of figures, light and dark, and pictures as PNGs."""

from __future__ import annotations

import functools
import io
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

# Twice the 96 pixels an inch of a page, for sharp displays.
RESOLUTION = 192
_COLOURS = 96
# Few steps of a colour map leave colours for lines and text.
_STEPS = 24
_TEXT = 9.0
_SMALL = 7.5
# Mean width of a letter, in inches per point of its size.
_LETTER = 0.55 / 72

# Fonts with the letters of many scripts, where they are installed.
_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)


@dataclass(frozen=True)
class Theme:
    """Colours of a figure.

    Attributes:
        ground: what is behind the figure; cells of no value have it too.
        ink, muted, grid: text and marks, text of less weight, lines that only guide the eye.
        first, second: two colours for marks; what they tell apart differs in shape or line too.
        cool, warm: the fullest colours of cells; the ink can be read on them and on all between them and the ground.
        spectrum: matplotlib's colour map for spectrograms, from the ground on.
    """

    ground: str
    ink: str
    muted: str
    grid: str
    first: str
    second: str
    cool: str
    warm: str
    spectrum: str

    def canvas(self, width: float, height: float, heading: str = "") -> Figure:
        """An empty figure, which belongs to no window and no global state.

        Args:
            width: in inches.
            height: in inches.
            heading: written small above everything, wrapped where it is too long.
        """
        from matplotlib.figure import Figure

        made = Figure(figsize=(width, height), layout="constrained", facecolor="none")
        if heading:
            lines = textwrap.fill(heading, int(width / (_SMALL * _LETTER)))
            made.suptitle(lines, x=0.01, ha="left", fontsize=_SMALL, color=self.muted)
        return made

    def style_axes(self, axes: Axes) -> None:
        """Give axes, and whatever text they hold, the theme's colours and sizes."""
        axes.set_facecolor("none")
        for side, spine in axes.spines.items():
            spine.set_color(self.grid)
            spine.set_visible(side in ("left", "bottom"))
        axes.tick_params(colors=self.muted, labelcolor=self.ink, labelsize=_TEXT - 0.5, length=3)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set(color=self.muted, fontsize=_TEXT - 0.5)
        axes.title.set(color=self.ink, fontsize=_TEXT + 0.5)

    def style_rows(self, axes: Axes) -> None:
        """The same for axes with one row a name: a grid across, and nothing between a name and its row."""
        axes.grid(axis="x", color=self.grid, linewidth=0.5)
        axes.set_axisbelow(True)
        self.style_axes(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)

    def shades(self) -> Colormap:
        """From the ground to the cool colour, for shares of 0 to 1."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("shades", [self.ground, self.cool], _STEPS)

    def greys(self) -> Colormap:
        """From the ground to the ink's side, for spectrograms."""
        from matplotlib import colormaps

        return colormaps[self.spectrum].resampled(_STEPS)

    def signed_shades(self) -> Colormap:
        """From the warm colour, over the ground, to the cool one, for changes of either sign."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("signed", [self.warm, self.ground, self.cool], 2 * _STEPS + 1)


LIGHT = Theme(
    ground="#ffffff",
    ink="#1c2127",
    muted="#57606a",
    grid="#c9d0d8",
    first="#0b5394",
    second="#b45309",
    cool="#5b9bd5",
    warm="#e3924a",
    spectrum="Greys",
)
DARK = Theme(
    ground="#14181d",
    ink="#e8ebee",
    muted="#9ba6b2",
    grid="#3b444e",
    first="#7cb8f5",
    second="#e29b4b",
    cool="#27639f",
    warm="#8f5410",
    spectrum="gray",
)


@dataclass(frozen=True)
class Picture:
    """A figure and what goes with it.

    Attributes:
        name: of its file, without ending.
        draw: makes the figure in a theme.
        alternative: description of the figure for readers who do not see it.
        caption: shown below it; may be empty.
    """

    name: str
    draw: Callable[[Theme], Figure]
    alternative: str
    caption: str = ""


@contextmanager
def _fonts_of_all_scripts() -> Iterator[None]:
    """Letters that the usual font lacks, as a class's name may have, from others; says once where none has them."""
    import matplotlib
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = [matplotlib.rcParamsDefault["font.sans-serif"][0], *(name for name in _FONTS if name in installed)]
    # It would warn of each letter each time that it is measured or drawn.
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph ")
        yield
    for warning in caught:
        if str(warning.message).startswith("Glyph "):
            _say_what_is_missing()
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@functools.cache
def _say_what_is_missing() -> None:
    print(f"some letters of the pictures have no font here: install {_FONTS[0]}", file=sys.stderr, flush=True)


def to_png(picture: Picture, theme: Theme) -> bytes:
    """A picture as a PNG on the theme's background; a palette of few colours cuts the file to a third."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    drawn, written = io.BytesIO(), io.BytesIO()
    with _fonts_of_all_scripts():
        picture.draw(theme).savefig(drawn, format="png", dpi=RESOLUTION, facecolor=theme.ground)
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    # The ground must equal the page's exactly, or the picture's edge shows.
    palette, corner = few.getpalette() or [], int(np.asarray(few)[0, 0])
    palette[3 * corner : 3 * corner + 3] = [round(255 * value) for value in to_rgb(theme.ground)]
    few.putpalette(palette)
    few.save(written, format="png", optimize=True)
    return written.getvalue()
