"""The report of an ablation or a cross-validation as one page of HTML."""

from __future__ import annotations

from collections.abc import Mapping

from fgcme.report import formatting
from fgcme.report.comparison import stars
from fgcme.report.content import ReportData
from fgcme.report.html import Image, render
from fgcme.report.pictures import ReportPictures
from fgcme.report.predictions import summarise_log_odds
from fgcme.report.summary import summarise_gaps, summarise_results
from fgcme.report.theme import Picture

# Log-odds from which on a word has its full colour: twenty to one.
_FULL = 3.0


def to_html(content: ReportData, pictures: ReportPictures, light: Mapping[str, bytes]) -> str:
    """The page of a report.

    Args:
        content: the report.
        pictures: its pictures.
        light: name of a picture -> its PNG for a light ground.
    """

    def image(picture: Picture) -> Image:
        return Image.of(picture, light[picture.name])

    def images(by_variant: Mapping[str, Picture]) -> list[Image]:
        return [image(by_variant[variant]) for variant in content.shown if variant in by_variant]

    return render(
        "page.html.j2",
        {
            "percent_range": formatting.percent_range,
            "points_range": formatting.points_range,
            "p_value": formatting.p_value,
            "effect": formatting.effect,
            "stars": stars,
            "signed": formatting.signed,
            "summarise_log_odds": summarise_log_odds,
            "weight": _weight,
            "image": image,
            "images": images,
        },
        content=content,
        main=content.main,
        pictures=pictures,
        summary=[*summarise_results(content.main), *summarise_gaps(content.main, content.gaps)],
    )


def _weight(contribution: float) -> int:
    """How much of its colour a word has, in per cent.

    >>> _weight(-1.5), _weight(7.0)
    (50, 100)
    """
    return round(100 * min(1.0, abs(contribution) / _FULL))
