"""Imported alignments: TextGrid and wdseg files, found by utterance id."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from fgcme import alignment
from fgcme.alignment import Alignment, AlignmentError
from fgcme.alignment.imported import FileAligner, read_alignment, read_text_grid, read_wdseg, read_word_times
from fgcme.errors import UserError

SAMPLES = np.zeros(32_000, np.float32)

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "TextTier"
        name = "clicks 1"
        xmin = 0
        xmax = 2
        points: size = 1
        points [1]:
            number = 0.5
            mark = "click"
    item [2]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 2
            text = "AH"
    item [3]:
        class = "IntervalTier"
        name = "Words"
        xmin = 0
        xmax = 2
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.35
            text = ""
        intervals [2]:
            xmin = 0.35
            xmax = 0.8
            text = "Kids"
        intervals [3]:
            xmin = 0.8
            xmax = 1.2
            text = "twenty-one"
        intervals [4]:
            xmin = 1.2
            xmax = 2
            text = "sil"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2
<exists>
1
"IntervalTier"
"word"
0
2
3
0
0.35
""
0.35
0.8
"Kids"
0.8
1.2
"say ""21"" "
"""
WDSEG = """\tSFrm\tEFrm\tSegAScr\tWord
\t0\t34\t-3500\t<s>
\t35\t79\t-4500\tKIDS
\t80\t99\t-2000\t++LAUGHTER++
\t100\t119\t-2000\tARE(2)
\t120\t129\t-1000\t<sil>
\t130\t190\t-6100\tCAN'T
\t191\t198\t-800\t</s>
Total score:\t-19900
"""


def imported(folder: Path, name: str, content: str, encoding: str = "utf-8", utterance: str = "a") -> Alignment:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return alignment.build("imported", folder=str(folder)).align(utterance, SAMPLES, "what the corpus says")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_long_text_grid_gives_the_words_of_its_word_tier(tmp_path: Path, encoding: str) -> None:
    result = imported(tmp_path, "deep/down/a.TextGrid", LONG, encoding)
    assert result.words == ["kids", "twenty", "one"]
    assert (result.begin, result.end) == ([35, 80, 100], [80, 100, 120])
    assert result.method == "imported" and math.isnan(result.score)


def test_a_short_text_grid_is_read_like_a_long_one(tmp_path: Path) -> None:
    result = imported(tmp_path, "a.TextGrid", SHORT)
    assert result.words == ["kids", "say", "twenty", "one"]
    assert (result.begin[0], result.end[0], result.begin[1], result.end[-1]) == (35, 80, 80, 120)


def test_a_word_segmentation_has_inclusive_ends_fillers_and_alternates(tmp_path: Path) -> None:
    result = imported(tmp_path, "a.wdseg", WDSEG)
    assert result.words == ["kids", "are", "can't"]
    assert (result.begin, result.end) == ([35, 100, 130], [80, 120, 191])
    assert result.score == pytest.approx(-100)


def test_spans_are_cut_at_the_end_of_the_audio(tmp_path: Path) -> None:
    result = imported(tmp_path, "a.wdseg", WDSEG.replace("130\t190", "130\t290").replace("191\t198", "291\t298"))
    assert result.end[-1] == 198


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.TextGrid", ""),
        ("a.TextGrid", "hello"),
        ("a.TextGrid", LONG[: len(LONG) * 3 // 4]),
        ("a.TextGrid", SHORT[: len(SHORT) * 3 // 4]),
        ("a.TextGrid", LONG.replace('"Words"', '"syllables"')),
        ("a.TextGrid", LONG.replace("xmin = 0.8", "xmin = 0.1")),
        ("a.wdseg", ""),
        ("a.wdseg", WDSEG.replace("SegAScr", "")),
        ("a.wdseg", WDSEG.replace("79", "x")),
        ("a.wdseg", WDSEG.replace("Total score", "")[: len(WDSEG) // 2]),
        (
            "a.wdseg",
            WDSEG.replace("35\t79", "3500\t7900").replace("100\t119", "8000\t8100").replace("130\t190", "8200\t8300"),
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(AlignmentError, match=rf"{name}") as caught:
        imported(tmp_path, name, content)
    assert caught.value.reason == "bad_alignment"


def test_a_binary_text_grid_counts_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_bytes(b"\x80\x81ooBinaryFile")
    with pytest.raises(AlignmentError, match=r"a\.TextGrid") as caught:
        alignment.build("imported", folder=str(tmp_path)).align("a", SAMPLES, "text")
    assert caught.value.reason == "bad_alignment"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlignmentError, match=r"other\.TextGrid") as caught:
        imported(tmp_path, "a.wdseg", WDSEG, utterance="other")
    assert caught.value.reason == "missing_alignment"


def test_a_file_of_silence_has_no_words(tmp_path: Path) -> None:
    with pytest.raises(AlignmentError) as caught:
        imported(tmp_path, "a.TextGrid", SHORT.replace("Kids", "").replace('say ""21"" ', "<eps>"))
    assert caught.value.reason == "no_words"


def test_folders_in_an_id_tell_files_of_the_same_name_apart(tmp_path: Path) -> None:
    imported(tmp_path / "x", "Ses01/a.wdseg", WDSEG)
    result = imported(tmp_path, "y/Ses02/a.wdseg", WDSEG.replace("KIDS", "DOGS"), utterance="Ses02/a")
    assert result.words[0] == "dogs"
    with pytest.raises(AlignmentError, match="both have the name") as caught:
        alignment.build("imported", folder=str(tmp_path)).align("a", SAMPLES, "text")
    assert caught.value.reason == "bad_alignment"


def test_an_id_may_contain_dots(tmp_path: Path) -> None:
    assert imported(tmp_path, "a.b.TextGrid", SHORT, utterance="a.b").words[0] == "kids"


def align_from(file: Path) -> Alignment:
    aligner = FileAligner({"a": file}, lambda: alignment.build("uniform"))
    return aligner.align("a", SAMPLES, "what the corpus says")


def test_a_given_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "of another name.wdseg"
    file.write_text(WDSEG)
    result = align_from(file)
    assert (result.words, result.method) == (["kids", "are", "can't"], "imported")
    assert (result.begin, result.end) == ([35, 100, 130], [80, 120, 191])


@pytest.mark.parametrize(
    "content", [None, "", WDSEG[: len(WDSEG) // 2], re.sub(r"KIDS|ARE\(2\)|CAN'T", "<sil>", WDSEG)]
)
def test_the_fallback_aligns_where_the_file_is_missing_or_damaged(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.wdseg").write_text(content)
    result = align_from(tmp_path / "a.wdseg")
    assert result.words == ["what", "the", "corpus", "says"]
    assert result.method == "uniform"


def test_the_fallback_aligns_utterances_without_a_file() -> None:
    aligner = FileAligner({}, lambda: alignment.build("uniform"))
    assert aligner.align("a", SAMPLES, "kids").method == "uniform"
    with pytest.raises(AlignmentError) as caught:
        aligner.align("a", SAMPLES, "?!")
    assert caught.value.reason == "no_words"


def test_a_folder_without_alignments_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=rf"alignment\.folder {folder}"):
            alignment.build("imported", folder=str(folder))


def test_the_readers_keep_labels_of_silence() -> None:
    assert [interval.label for interval in read_text_grid(LONG)[0]] == ["", "Kids", "twenty-one", "sil"]
    assert len(read_wdseg(WDSEG)[0]) == 7


def test_times_of_words_are_read_by_utterance_from_one_file(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    kids = [{"word": "Kids", "start": 0.1, "end": 0.304}, {"word": "talk!", "start": 0.5, "end": 9}]
    path.write_text(json.dumps({"one": kids, "two": [{"word": "door", "start": 0.2, "end": 0.4}]}))
    found = read_alignment(path, SAMPLES, "one")
    assert (found.words, found.begin, found.end, found.method) == (["kids", "talk"], [10, 50], [30, 198], "imported")
    assert read_word_times(path, "two") == [("door", 20, 40)]
    files, fallback = {"two": path, "three": path}, alignment.build("uniform")
    aligner = FileAligner(files, lambda: fallback)
    assert aligner.align("two", SAMPLES, "another text").words == ["door"]
    assert aligner.align("three", SAMPLES, "another text").method == "uniform"
    # The file is read anew when it has changed.
    path.write_text(json.dumps({"two": [{"word": "door", "start": 0.3, "end": 0.4}]}))
    os.utime(path, ns=(0, 12_345))
    assert read_word_times(path, "two")[0].begin == 30


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"two": []}', '{"one": [{"word": "a"}]}', '{"one": 3}', '{"one": ["a"]}'], ids=str
)
def test_what_is_no_file_of_word_times_is_a_bad_alignment(tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(content)
    with pytest.raises(AlignmentError, match="cannot be read as an alignment") as error:
        read_alignment(path, SAMPLES, "one")
    assert error.value.reason == "bad_alignment"
