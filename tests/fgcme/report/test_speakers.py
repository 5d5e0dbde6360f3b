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
from tests.fgcme.report.sample_report import sample_results, single_model

RESULTS = sample_results()


def test_every_speaker_is_a_dot_at_the_same_height_in_every_row() -> None:
    axes = speakers_figure(RESULTS, LIGHT).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    for row, (name, line) in enumerate(zip(RESULTS.variants, dots, strict=True)):
        np.testing.assert_allclose(line.get_xdata(), 100 * RESULTS.by_speaker[name]["ua"])
        np.testing.assert_allclose(line.get_ydata() - row, dots[0].get_ydata())
    lowest = [RESULTS.speakers[int(RESULTS.by_speaker[name]["ua"].argmin())] for name in RESULTS.variants]
    assert [text.get_text() for text in axes.texts] == lowest
    left = axes.get_xlim()[0]
    assert left < 100 * min(float(each["ua"].min()) for each in RESULTS.by_speaker.values())


def test_the_bar_is_at_the_mean_of_the_speakers() -> None:
    axes = speakers_figure(RESULTS, LIGHT).axes[0]
    bars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|"]
    assert bars == pytest.approx([100 * RESULTS.by_speaker[name]["ua"].mean() for name in RESULTS.variants])


def test_the_description_names_the_lowest_and_the_highest_speaker() -> None:
    values = RESULTS.by_speaker["fgcme"]["ua"]
    text = describe_speakers(RESULTS)
    assert f"from {percent(float(values.min()))} % ({RESULTS.speakers[int(values.argmin())]})" in text
    assert f"to {percent(float(values.max()))} % ({RESULTS.speakers[int(values.argmax())]})" in text
    assert "Of the other variants" in text
    assert "Of the other variants" not in describe_speakers(single_model())


def test_cells_are_changes_of_recall_below_the_reference_s_recall() -> None:
    axes = recalls_figure(RESULTS, LIGHT).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    for column in range(3):
        assert cells[column, 0] == f"{percent(float(RESULTS.recalls('fgcme')[column]))} %"
        change = float(RESULTS.recalls("mean_max")[column] - RESULTS.recalls("fgcme")[column])
        assert cells[column, 1] == points(change)
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(drawn[1:], 100 * recall_changes(RESULTS))
    assert np.isnan(drawn[0]).all()


def test_opposite_changes_have_equally_strong_colours() -> None:
    image = recalls_figure(RESULTS, LIGHT).axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax


def test_the_description_names_the_largest_rise() -> None:
    changes = recall_changes(RESULTS)
    variant, emotion = np.unravel_index(changes.argmax(), changes.shape)
    text = describe_recalls(RESULTS)
    assert f"The largest rise is that of {RESULTS.classes[emotion]} under {RESULTS.variants[1:][variant]}" in text
