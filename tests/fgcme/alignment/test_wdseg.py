"""Word segmentations of Sphinx-3: rows with inclusive last frames."""

import pytest

from fgcme.alignment.timed_words import NO_PROBABILITY
from fgcme.alignment.wdseg import read_wdseg

HEADER = "SFrm EFrm SegAScr Word\n"


def test_a_row_ends_behind_its_last_frame_and_has_the_score_of_a_frame_in_nats() -> None:
    kids, silence = read_wdseg(HEADER + "0 49 -166692 KIDS(2)\n50 59 -10 <sil>\nTotal score: -5010\n")
    # 1.0003 to the power of 3333.83 is e.
    assert kids == ("KIDS(2)", 0.0, 0.5, pytest.approx(-1.0, abs=1e-5))
    assert silence[:3] == ("<sil>", 0.5, 0.6)


def test_a_score_above_the_likeliest_is_none() -> None:
    (kids,) = read_wdseg(HEADER + "0 49 5000 KIDS\nTotal score: 5000\n")
    assert kids.score == NO_PROBABILITY


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "first line"),
        ("SFrm EFrm Word\n", "first line"),
        (HEADER + "0 49 -5000\nTotal score: 0", "the row `0 49 -5000` does not have four"),
        (HEADER + "0 49 -5000 KIDS\n", "cut short"),
        (HEADER + "0 4x -5000 KIDS\nTotal score: 0", "4x"),
    ],
)
def test_what_is_damaged_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_wdseg(text)
