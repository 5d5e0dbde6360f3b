"""CTM: the words of many utterances in one file, each utterance read alone."""

import math
from pathlib import Path

import pytest

from fgcme.alignment.ctm import CtmFile, ctm_line, ctm_name, open_ctm

CTM = b""";; a comment
one 1 0.10 0.20 Kids 0.9
one 1 0.30 0.25 talk 0.7

two A 0.00 0.50 Stra\xc3\x9fe
;; between
two A 0.50 0.10 jetzt
one 1 0.60 0.10 now 0.8
"""


def ctm(folder: Path, content: bytes = CTM) -> CtmFile:
    path = folder / "some.ctm"
    path.write_bytes(content)
    return CtmFile(path)


def test_the_lines_of_an_utterance_are_its_words_wherever_they_stand(tmp_path: Path) -> None:
    file = ctm(tmp_path)
    assert file.names() == ["one", "two"]
    words = file.read("one")
    assert [word.label for word in words] == ["Kids", "talk", "now"]
    assert [word[1:] for word in words] == [
        pytest.approx(each)
        for each in [(0.1, 0.3, math.log(0.9)), (0.3, 0.55, math.log(0.7)), (0.6, 0.7, math.log(0.8))]
    ]
    words = file.read("two")
    assert [word[:3] for word in words] == [("Straße", 0.0, 0.5), ("jetzt", 0.5, 0.6)]
    assert all(math.isnan(word.score) for word in words)


def test_a_damaged_line_costs_its_utterance_alone_and_is_named(tmp_path: Path) -> None:
    file = ctm(tmp_path, CTM.replace(b"0.50 Stra", b"x Stra"))
    assert len(file.read("one")) == 3
    with pytest.raises(ValueError, match=r"line 5 is not `name channel begin duration word`: `two A 0\.00 x Straße`"):
        file.read("two")


@pytest.mark.parametrize("line", [b"two", b"two A 1 2", b"two A nan 1 a", b"two A -1 1 a", b"two A 1 1 a sure"])
def test_what_is_no_line_of_a_word_is_refused(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(ValueError, match="line 1 is not"):
        ctm(tmp_path, line + b"\n").read("two")


def test_an_utterance_that_is_not_there_or_speaks_on_two_channels_is_refused(tmp_path: Path) -> None:
    file = ctm(tmp_path, CTM.replace(b"two A 0.50", b"two B 0.50"))
    with pytest.raises(ValueError, match="it has no utterance three"):
        file.read("three")
    with pytest.raises(ValueError, match="two in the channels A, B: keep one"):
        file.read("two")


def test_the_only_name_may_be_another_than_the_utterance_s(tmp_path: Path) -> None:
    assert len(ctm(tmp_path, b"recording.wav 1 0 1 hello\n").read("any")) == 1


@pytest.mark.parametrize("name", ["spk 1/a\tb", "50%20", ";;x", "東 京", "a\u00a0b", "plain"])
def test_any_id_is_written_as_one_name_and_found_again(tmp_path: Path, name: str) -> None:
    assert len(ctm_name(name).split()) == 1
    lines = [ctm_line(name, 0.1, 0.3, "kids"), ctm_line("other", 0, 1, "no")]
    (word,) = ctm(tmp_path, "\n".join(lines).encode()).read(name)
    assert (word.label, word.start, word.end) == ("kids", pytest.approx(0.1), pytest.approx(0.3))


def test_a_file_is_looked_through_again_when_it_has_changed(tmp_path: Path) -> None:
    ctm(tmp_path)
    assert len(open_ctm(tmp_path / "some.ctm").keys) == 2
    ctm(tmp_path, CTM + b"three 1 0 1 a\n")
    assert len(open_ctm(tmp_path / "some.ctm").keys) == 3


def test_a_byte_order_mark_and_the_encoding_of_windows_are_read(tmp_path: Path) -> None:
    assert ctm(tmp_path, b"\xef\xbb\xbfone 1 0 1 caf\xe9\ntwo 1 0 1 b\n").read("one")[0].label == "café"
