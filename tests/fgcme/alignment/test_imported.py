"""Imported alignments: TextGrid and wdseg files, found by utterance id."""

import json
import math
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest

from fgcme import alignment
from fgcme.alignment import Alignment, AlignmentError
from fgcme.alignment.folder import alignment_path, utterances_in
from fgcme.alignment.imported import KnownAligner, read_alignment
from fgcme.alignment.text_grid import read_text_grid
from fgcme.alignment.wdseg import read_wdseg
from fgcme.alignment.word_times import read_word_times
from fgcme.corpora import WordTime
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


def imported(
    folder: Path,
    name: str,
    content: str,
    encoding: str = "utf-8",
    utterance: str = "a",
    text: str = "",
    **settings: str,
) -> Alignment:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return alignment.build("imported", folder=str(folder), **settings).align(utterance, SAMPLES, text)


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
    # The states' -100 a frame, in Sphinx-3's units; silences and laughter are no words.
    assert result.score == pytest.approx(-100 * math.log(1.0003))


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
    with pytest.raises(AlignmentError, match=r"\.TextGrid.*is called other, nor has a \.ctm") as caught:
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


def align_from(file: Path, text: str = "what the corpus says") -> Alignment:
    aligner = KnownAligner({"a": file}, lambda: alignment.build("uniform"))
    return aligner.align("a", SAMPLES, text)


def test_a_given_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "of another name.wdseg"
    file.write_text(WDSEG)
    result = align_from(file, "Kids are, can't")
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
    aligner = KnownAligner({}, lambda: alignment.build("uniform"))
    assert aligner.align("a", SAMPLES, "kids").method == "uniform"
    with pytest.raises(AlignmentError) as caught:
        aligner.align("a", SAMPLES, "?!")
    assert caught.value.reason == "no_words"


def test_times_of_words_are_taken_as_they_are_known_and_damaged_ones_are_not() -> None:
    nan = float("nan")
    known = {"a": [WordTime("Kids", 0.1, 0.5), WordTime("talk!", 0.5, 9)], "b": [WordTime("kids", nan, 1)], "c": []}
    aligner = KnownAligner(known, lambda: alignment.build("uniform"))
    found = aligner.align("a", SAMPLES, "kids talk")
    assert (found.words, found.begin, found.end, found.method) == (["kids", "talk"], [10, 50], [50, 198], "imported")
    for name in ("b", "c", "d"):
        assert aligner.align(name, SAMPLES, "kids").method == "uniform"


def test_a_folder_without_alignments_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=rf"alignment\.folder {folder}"):
            alignment.build("imported", folder=str(folder))


def test_the_readers_keep_labels_of_silence() -> None:
    assert [word.label for word in read_text_grid(LONG)] == ["", "Kids", "twenty-one", "sil"]
    assert len(read_wdseg(WDSEG)) == 7


def test_times_of_words_are_read_by_utterance_from_one_file(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    kids = [{"word": "Kids", "start": 0.1, "end": 0.304}, {"word": "talk!", "start": 0.5, "end": 9}]
    path.write_text(json.dumps({"one": kids, "two": [{"word": "door", "start": 0.2, "end": 0.4}]}))
    found = read_alignment(path, SAMPLES, "one")
    assert (found.words, found.begin, found.end, found.method) == (["kids", "talk"], [10, 50], [30, 198], "imported")
    assert [word[:3] for word in read_word_times(path, "two")] == [("door", 0.2, 0.4)]
    files, fallback = {"two": path, "three": path}, alignment.build("uniform")
    aligner = KnownAligner(files, lambda: fallback)
    assert aligner.align("two", SAMPLES, "the door").words == ["the", "door"]
    assert aligner.align("three", SAMPLES, "another text").method == "uniform"
    # The file is read anew when it has changed.
    path.write_text(json.dumps({"two": [{"word": "door", "start": 0.3, "end": 0.4}]}))
    os.utime(path, ns=(0, 12_345))
    assert read_word_times(path, "two")[0].start == 0.3


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"two": []}', '{"one": [{"word": "a"}]}', '{"one": 3}', '{"one": ["a"]}'], ids=str
)
def test_what_is_no_file_of_word_times_is_a_bad_alignment(tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(content)
    with pytest.raises(AlignmentError, match="cannot be read as an alignment") as error:
        read_alignment(path, SAMPLES, "one")
    assert error.value.reason == "bad_alignment"


CTM = "a 1 0.10 0.30 Kids\na 1 0.50 0.20 talk\nx/b%201 1 0.2 0.2 door\n"


def test_one_file_of_many_utterances_is_found_by_the_ids_in_it(tmp_path: Path) -> None:
    (tmp_path / "all of them.ctm").write_text(CTM)
    aligner = alignment.build("imported", folder=str(tmp_path))
    found = aligner.align("a", SAMPLES, "Kids, talk!")
    assert (found.words, found.begin, found.end, found.oddities) == (["kids", "talk"], [10, 50], [40, 70], ())
    assert aligner.align("x/b 1", SAMPLES, "door").begin == [20]
    for missing in ("b 1", "all of them"):
        with pytest.raises(AlignmentError) as caught:
            aligner.align(missing, SAMPLES, "door")
        assert caught.value.reason == "missing_alignment"
    assert utterances_in(tmp_path / "all of them.ctm") == ["a", "x/b%201"]


def test_confidences_are_told_in_nats_and_what_is_none_is_counted(tmp_path: Path) -> None:
    line = "{} 1 {} 0.2 {} {}\n"
    rows = [("a", 0.1, "kids", 0.5), ("a", 0.3, "[noise]", 0.0), ("a", 0.5, "talk", 1.0)]
    other = [("b", 0.1, "kids", -53.2), ("b", 0.5, "talk", 0.9)]
    (tmp_path / "all.ctm").write_text("".join(line.format(*row) for row in rows + other))
    aligner = alignment.build("imported", folder=str(tmp_path))
    found = aligner.align("a", SAMPLES, "kids talk")
    # A noise is no word of which anybody could be sure.
    assert (found.score, found.oddities) == (pytest.approx(math.log(0.5) / 2), ())
    found = aligner.align("b", SAMPLES, "kids talk")
    assert math.isnan(found.score)
    assert found.oddities == ("with imported scores that are no probabilities, not taken",)


def test_word_times_of_many_utterances_are_found_the_same_way(tmp_path: Path) -> None:
    door = [{"word": "door", "start": 0.2, "end": 0.4}]
    (tmp_path / "words.json").write_text(json.dumps({"one": door, "two": door}))
    assert alignment.build("imported", folder=str(tmp_path)).align("two", SAMPLES, "door").begin == [20]
    assert utterances_in(tmp_path / "words.json") == ["one", "two"]


def test_a_file_of_one_utterance_counts_by_its_name_whatever_stands_in_it(tmp_path: Path) -> None:
    (tmp_path / "take 2.ctm").write_text("recording.wav 1 0.2 0.2 door\n")
    words = [{"word": "Room", "start": 0.1, "end": 0.2}, {"word": "7"}, {"word": "door", "start": 0.4, "end": 0.5}]
    segments = [{"words": words}]
    (tmp_path / "take 3.json").write_text(json.dumps({"segments": segments}))
    aligner = alignment.build("imported", folder=str(tmp_path))
    assert aligner.align("take 2", SAMPLES, "door").begin == [20]
    found = aligner.align("take 3", SAMPLES, "room 7, door")
    # What has no time lies between its neighbours, and that is told.
    assert (found.words, found.begin, found.end) == (["room", "seven", "door"], [10, 20, 40], [20, 40, 50])
    assert found.oddities == ("with the words of an imported alignment fitted to the transcript's",)
    assert utterances_in(tmp_path / "take 2.ctm") == ["take 2"]


def test_two_files_for_one_utterance_are_ambiguous_but_json_gives_way(tmp_path: Path) -> None:
    imported(tmp_path, "a.TextGrid", SHORT)
    (tmp_path / "a.json").write_text('{"about": "whatever lies beside it"}')
    assert alignment.build("imported", folder=str(tmp_path)).align("a", SAMPLES, "").begin[0] == 35
    (tmp_path / "all.ctm").write_text(CTM)
    with pytest.raises(AlignmentError, match="both have the name"):
        alignment.build("imported", folder=str(tmp_path), tier="words").align("a", SAMPLES, "")


def test_a_damaged_file_of_many_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text("{")
    with pytest.raises(UserError, match=r"words\.json cannot be read .*; mend it, or move it away"):
        alignment.build("imported", folder=str(tmp_path))


@pytest.mark.parametrize("name", ["a/b/c", "../up", "/whole/path", ".hidden/.x", "a//b", "Straße 1; 東京"])
def test_any_id_has_a_place_in_a_folder_and_is_found_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{alignment_path(name)}.TextGrid"
    assert path.resolve().is_relative_to(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SHORT)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / path.name).write_text(SHORT.replace("Kids", "Dogs"))
    assert alignment.build("imported", folder=str(tmp_path)).align(name, SAMPLES, "").words[0] == "kids"


def grid(*tiers: tuple[str, list[tuple[float, float, str]]], header: str = "ooTextFile") -> str:
    lines = [f'File type = "{header}"', '"TextGrid"', "0", "2", "<exists>", f"{len(tiers)}"]
    for name, intervals in tiers:
        lines += ['"IntervalTier"', f'"{name}"', "0", "2", f"{len(intervals)}"]
        lines += [f'{begin}\n{end}\n"{label}"' for begin, end, label in intervals]
    return "\n".join(lines)


KIDS = [(0.1, 0.5, "kids"), (0.5, 0.9, "talk"), (0.9, 1.2, "by"), (1.2, 1.6, "doors")]
TEXT = "Kids talk by doors."


@pytest.mark.parametrize("name", ["a.TextGrid", "a.textgrid", "a.TEXTGRID"])
@pytest.mark.parametrize("header", ["ooTextFile", "ooTextFile short"])
@pytest.mark.parametrize("tier", ["words", "Word", "ORT-MAU", "Speaker 1 - words"])
def test_old_headers_and_the_names_of_other_tools_are_read(tmp_path: Path, name: str, header: str, tier: str) -> None:
    empty = [(0.0, 2.0, "")]
    content = grid(("words", empty), ("phones", [(0, 2, "AH")]), (tier, KIDS), header=header)
    result = imported(tmp_path, name, content, text=TEXT)
    assert (result.words, result.begin, result.oddities) == (["kids", "talk", "by", "doors"], [10, 50, 90, 120], ())


def test_a_setting_names_the_tier_and_of_several_one_has_to_be_named(tmp_path: Path) -> None:
    content = grid(("A - words", KIDS), ("B - words", [(0, 1, "other")]), ("trans", KIDS[:2]))
    with pytest.raises(
        AlignmentError, match=r"several tiers .* \(there are A - words, B - words, trans\): name one with"
    ):
        imported(tmp_path, "a.TextGrid", content)
    assert imported(tmp_path, "a.TextGrid", content, tier="Trans").words == ["kids", "talk"]
    with pytest.raises(AlignmentError, match="no tier called `none` has words"):
        imported(tmp_path, "a.TextGrid", content, tier="none")


def test_a_file_in_the_encoding_of_windows_is_read(tmp_path: Path) -> None:
    content = grid(("words", [(0.1, 0.5, "h\u00e9llo"), (0.5, 0.9, "there")]))
    assert imported(tmp_path, "a.TextGrid", content, "cp1252", text="H\u00e9llo there").words == ["h\u00e9llo", "there"]


def test_words_of_another_utterance_are_refused(tmp_path: Path) -> None:
    content = grid(("words", [(begin, end, "zebra") for begin, end, _ in KIDS]))
    with pytest.raises(AlignmentError, match="its words are not the transcript's: `zebra zebra zebra zebra` instead"):
        imported(tmp_path, "a.TextGrid", content, text=TEXT)


@pytest.mark.parametrize("unknown", ["<unk>", "[bracketed]", "spn", "{?}"])
def test_speech_that_is_not_put_into_words_is_the_transcript_s(tmp_path: Path, unknown: str) -> None:
    intervals = [(begin, end, unknown if label == "talk" else label) for begin, end, label in KIDS]
    result = imported(tmp_path, "a.TextGrid", grid(("words", intervals)), text=TEXT)
    assert (result.words, result.begin) == (["kids", "talk", "by", "doors"], [10, 50, 90, 120])
    assert result.oddities == ("with the words of an imported alignment fitted to the transcript's",)


def test_a_noise_between_words_is_none_of_them(tmp_path: Path) -> None:
    intervals = [KIDS[0], (0.5, 0.6, "[noise]"), (0.6, 0.9, "talk"), *KIDS[2:]]
    result = imported(tmp_path, "a.TextGrid", grid(("words", intervals)), text=TEXT)
    assert (result.words, result.begin, result.oddities) == (["kids", "talk", "by", "doors"], [10, 60, 90, 120], ())


def test_of_overlapping_words_each_ends_where_the_next_begins(tmp_path: Path) -> None:
    intervals = [(begin, end + 0.2, label) for begin, end, label in KIDS]
    result = imported(tmp_path, "a.TextGrid", grid(("words", intervals)), text=TEXT)
    assert (result.begin, result.end) == ([10, 50, 90, 120], [50, 90, 120, 180])
    assert result.oddities == ("with imported words that overlap, each cut where the next begins",)


def test_whatever_is_damaged_is_an_alignment_or_has_a_reason(tmp_path: Path) -> None:
    chance = random.Random(0)
    segments = json.dumps({"segments": [{"words": [{"word": "kids", "start": 0.1, "end": 0.4}, {"word": "say"}]}]})
    files = {"a.TextGrid": LONG, "a.textgrid": SHORT, "a.wdseg": WDSEG, "a.ctm": CTM, "a.json": segments}
    for name, content in files.items():
        for _ in range(80):
            damaged = bytearray(content.encode())
            for _ in range(chance.choice([1, 3, 20])):
                place = chance.randrange(len(damaged))
                damaged[place : place + chance.choice([0, 1, 9])] = chance.choice(
                    [b'"', b"\n", b"\xff", b"9", b"-", b"e9"]
                )
            (tmp_path / name).write_bytes(damaged)
            try:
                said = chance.choice(["", "kids say twenty one"])
                result = read_alignment(tmp_path / name, SAMPLES, "a", said)
            except AlignmentError as error:
                assert name in error.message
            else:
                assert len(result.words) == len(result.begin) and max(result.end) <= 198
