from __future__ import annotations

import numpy as np
import pytest

from fgcme.report.formatting import percent, points
from fgcme.report.speakers import (
    describe_recalls,
    describe_speakers,
    recall_changes,
    recalls_figure,
    speakers_figure,
)
from fgcme.report.theme import LIGHT
from tests.fgcme.report.made import alone, findings

MADE = findings()


def test_every_speaker_is_a_dot_at_one_height_in_every_row() -> None:
    axes = speakers_figure(MADE, LIGHT).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    for row, (name, line) in enumerate(zip(MADE.variants, dots, strict=True)):
        np.testing.assert_allclose(line.get_xdata(), 100 * MADE.by_speaker[name]["ua"])
        np.testing.assert_allclose(line.get_ydata() - row, dots[0].get_ydata())
    lowest = [MADE.speakers[int(MADE.by_speaker[name]["ua"].argmin())] for name in MADE.variants]
    assert [text.get_text() for text in axes.texts] == lowest
    left = axes.get_xlim()[0]
    assert left < 100 * min(float(each["ua"].min()) for each in MADE.by_speaker.values())


def test_the_bar_is_at_the_mean_of_the_speakers() -> None:
    axes = speakers_figure(MADE, LIGHT).axes[0]
    bars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"]
    assert bars == pytest.approx([100 * MADE.by_speaker[name]["ua"].mean() for name in MADE.variants])


def test_the_description_names_the_lowest_and_the_highest_speaker() -> None:
    values = MADE.by_speaker["fgcme"]["ua"]
    text = describe_speakers(MADE)
    assert f"from {percent(float(values.min()))} % ({MADE.speakers[int(values.argmin())]})" in text
    assert f"to {percent(float(values.max()))} % ({MADE.speakers[int(values.argmax())]})" in text
    assert "Of the other variants" in text
    assert "Of the other variants" not in describe_speakers(alone())


def test_cells_are_changes_of_recall_under_the_reference_s_own() -> None:
    axes = recalls_figure(MADE, LIGHT).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    for column in range(3):
        assert cells[column, 0] == f"{percent(float(MADE.recalls('fgcme')[column]))} %"
        change = float(MADE.recalls("mean_max")[column] - MADE.recalls("fgcme")[column])
        assert cells[column, 1] == points(change)
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(drawn[1:], 100 * recall_changes(MADE))
    assert np.isnan(drawn[0]).all()


def test_changes_of_one_size_have_one_strength_of_colour_whatever_their_sign() -> None:
    image = recalls_figure(MADE, LIGHT).axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax


def test_the_description_names_the_largest_rise() -> None:
    changes = recall_changes(MADE)
    variant, emotion = np.unravel_index(changes.argmax(), changes.shape)
    text = describe_recalls(MADE)
    assert f"The largest rise is that of {MADE.classes[emotion]} under {MADE.variants[1:][variant]}" in text
