"""Alignments of recordings: which file an utterance's words are in, and which of its words."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fgcme.alignment import Alignment, AlignmentError
from fgcme.alignment.folder import AlignmentFolder, RecordingFile
from fgcme.alignment.imported import CLIPPED, KnownAligner
from fgcme.alignment.text_grid import Tier, to_text_grid
from fgcme.corpora import Utterance
from fgcme.errors import UserError

# A dialog: kids talk, a pause, a long word, dogs sit.
WORDS = [("Kids", 1.0, 1.4), ("talk", 1.4, 2.0), ("hooray", 2.9, 3.5), ("dogs", 4.0, 4.25), ("sit", 4.25, 5.0)]
CTM = "".join(f"{{}} 1 {start} {end - start:.2f} {word} 0.5\n" for word, start, end in WORDS)


def grid(folder: Path, name: str = "dialog.TextGrid", words: list[tuple[str, float, float]] = WORDS) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text_grid([Tier("words", [(start, end, word) for word, start, end in words])], 6.0))
    return path


def ctm(folder: Path, name: str) -> Path:
    path = folder / "all.ctm"
    path.write_text(CTM.format(*[name] * len(WORDS)) + "another 1 0 1 no\n")
    return path


def whisperx(folder: Path) -> Path:
    words = [{"word": word, "start": start, "end": end, "score": 0.5} for word, start, end in WORDS]
    path = folder / "dialog.json"
    path.write_text(json.dumps({"segments": [{"words": words[:2]}, {"words": words[2:]}]}))
    return path


def segment(start: float | None, end: float | None, text: str, name: str = "u1") -> Utterance:
    return Utterance(name, "calls/dialog.wav", text, "sad", "01", start=start, end=end)


def align(folder: Path, utterance: Utterance) -> Alignment:
    """As a task does with what the driver finds."""
    found = AlignmentFolder(str(folder)).find(utterance)
    seconds = (6.0 if utterance.end is None else utterance.end) - (utterance.start or 0.0)
    samples = np.zeros(round(16_000 * seconds), np.float32)
    return KnownAligner({utterance.id: found}, None).align(utterance.id, samples, utterance.text)


@pytest.mark.parametrize("written", [grid, whisperx, lambda folder: ctm(folder, "dialog")])
def test_a_segment_has_the_words_of_its_recording_that_lie_in_it_from_its_beginning(
    tmp_path: Path, written: Callable[[Path], Path]
) -> None:
    path = written(tmp_path)
    utterance = segment(3.757, 5.5, "Dogs sit.")
    name = "dialog" if path.suffix == ".ctm" else "calls/dialog"
    assert AlignmentFolder(str(tmp_path)).find(utterance) == RecordingFile(path, name, 3.757, 5.5)
    found = align(tmp_path, utterance)
    # Rounded once: 0.243 and 0.493 s.
    assert (found.words, found.begin, found.end) == (["dogs", "sit"], [24, 49], [49, 124])
    assert (found.method, found.oddities) == ("imported", ())
    first = align(tmp_path, segment(None, 2.5, "kids talk"))
    assert (first.words, first.begin, first.end) == (["kids", "talk"], [100, 140], [140, 200])


@pytest.mark.parametrize("name", ["dialog", "calls/dialog", "dialog.wav"])
def test_a_ctm_names_a_recording_with_or_without_its_folder_or_suffix(tmp_path: Path, name: str) -> None:
    ctm(tmp_path, name)
    assert align(tmp_path, segment(4.0, 5.5, "dogs sit")).begin == [0, 25]


def test_an_utterance_that_is_all_of_its_file_may_have_another_name_than_it(tmp_path: Path) -> None:
    grid(tmp_path)
    found = align(tmp_path, segment(None, None, "kids talk hooray dogs sit"))
    assert found.begin == [100, 140, 290, 400, 425]


@pytest.mark.parametrize(
    ("start", "end", "begin", "stop"),
    [(2.5, 3.3, 40, 78), (3.1, 3.9, 0, 40)],
    ids=["end", "start"],
)
def test_a_word_that_reaches_beyond_its_segment_is_clipped_and_counted(
    tmp_path: Path, start: float, end: float, begin: int, stop: int
) -> None:
    grid(tmp_path)
    found = align(tmp_path, segment(start, end, "hooray"))
    assert (found.begin, found.end, found.oddities) == ([begin], [stop], (CLIPPED,))


def test_a_word_belongs_to_the_segment_that_has_its_middle(tmp_path: Path) -> None:
    grid(tmp_path)
    assert align(tmp_path, segment(3.0, 5.5, "hooray dogs sit")).words == ["hooray", "dogs", "sit"]
    assert align(tmp_path, segment(3.3, 5.5, "dogs sit")).oddities == ()
    with pytest.raises(AlignmentError, match=r"dialog\.TextGrid from 2\.1 s to 2\.8 s has no words") as caught:
        align(tmp_path, segment(2.1, 2.8, ""))
    assert caught.value.reason == "no_words"


def test_the_words_of_a_segment_are_those_of_its_transcript_or_refused(tmp_path: Path) -> None:
    grid(tmp_path)
    assert align(tmp_path, segment(3.7, 5.5, "The dogs sit!")).words == ["the", "dogs", "sit"]
    with pytest.raises(AlignmentError, match=r"from 3\.7 s to 5\.5 s: its words are not the transcript's"):
        align(tmp_path, segment(3.7, 5.5, "something else entirely"))


def test_a_file_of_the_utterance_goes_before_that_of_its_recording(tmp_path: Path) -> None:
    grid(tmp_path)
    own = grid(tmp_path, "u1.TextGrid", [("dogs", 0.1, 0.2), ("sit", 0.2, 0.3)])
    assert AlignmentFolder(str(tmp_path)).find(segment(4.0, 5.5, "dogs sit")) == own
    assert align(tmp_path, segment(4.0, 5.5, "dogs sit")).begin == [10, 20]
    assert align(tmp_path, segment(4.0, 5.5, "dogs sit", name="u2")).begin == [0, 25]


def test_recordings_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    grid(tmp_path, "calls/dialog.TextGrid")
    grid(tmp_path, "interviews/dialog.TextGrid", [("no", 4.0, 4.5)])
    assert align(tmp_path, segment(4.0, 5.5, "dogs sit")).begin == [0, 25]
    ambiguous = Utterance("u1", "dialog.wav", "dogs sit", "sad", "01", start=4.0, end=5.5)
    with pytest.raises(AlignmentError, match="both have the name") as caught:
        AlignmentFolder(str(tmp_path)).find(ambiguous)
    assert caught.value.reason == "bad_alignment"


def test_what_is_missing_is_told_by_both_names(tmp_path: Path) -> None:
    grid(tmp_path, "other.TextGrid")
    with pytest.raises(AlignmentError, match=r"is called u1 or, as its recording, dialog, nor has a \.ctm") as caught:
        AlignmentFolder(str(tmp_path)).find(segment(0, 1, "kids", name="calls/u1"))
    assert caught.value.reason == "missing_alignment"


def test_a_file_may_stand_for_its_folder(tmp_path: Path) -> None:
    grid(tmp_path, "u1.TextGrid")
    assert AlignmentFolder(str(ctm(tmp_path, "u1"))).find(segment(None, None, "")) == tmp_path / "all.ctm"


def test_a_folder_that_may_not_be_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    grid(tmp_path, "u1.TextGrid")
    locked = grid(tmp_path, "inside/u2.TextGrid").parent
    locked.chmod(0)
    try:
        if os.access(locked, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(UserError, match=r"inside may not be read by this user"):
            AlignmentFolder(str(tmp_path))
    finally:
        locked.chmod(0o700)
