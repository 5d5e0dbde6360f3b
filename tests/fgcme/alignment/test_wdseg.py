"""Word segmentations of Sphinx-3: rows with inclusive last frames."""

import pytest

from fgcme.alignment.wdseg import read_wdseg

HEADER = "SFrm EFrm SegAScr Word\n"


def test_a_row_ends_behind_its_last_frame_and_has_the_score_of_a_frame() -> None:
    kids, silence = read_wdseg(HEADER + "0 49 -5000 KIDS(2)\n50 59 -10 <sil>\nTotal score: -5010\n")
    assert kids == ("KIDS(2)", 0.0, 0.5, -100.0)
    assert silence[:3] == ("<sil>", 0.5, 0.6)


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
