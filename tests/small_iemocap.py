"""A tree like IEMOCAP's with a few turns a dialog: synthetic speech, and text files in the corpus's format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import soundfile

from tests.speech import say

# Letter of the speaker, label, text. Scripts are the same in all sessions; improvised texts name their session.
IMPROVISED = (
    ("F", "neu", "please bring {colour} paper to the table"),
    ("M", "hap", "my {colour} garden is full of sunshine"),
    ("F", "sad", "nobody answered my {colour} letter"),
    ("M", "exc", "we are going to the {colour} mountain"),
    ("M", "ang", "stop touching my {colour} window"),
    ("F", "xxx", "maybe the {colour} one"),
)
SCRIPTED = (
    ("F", "ang", "you never listened to your mother"),
    ("M", "neu", "the letter came on monday morning"),
    ("F", "exc", "i can hardly believe it"),
    ("M", "sad", "he is not coming home again"),
    ("M", "fru", "i told you about it yesterday"),
)
COLOURS = ("red", "green", "yellow", "purple", "orange")
VOICES = {"F": ("f1", "f2", "f3", "f4", "f5"), "M": ("m1", "m2", "m3", "m4", "m5")}


@dataclass(frozen=True)
class Turn:
    """One turn of the tree: its name, its label, and its text."""

    name: str
    label: str
    text: str

    @property
    def session(self) -> int:
        return int(self.name[3:5])

    @property
    def dialog(self) -> str:
        return self.name.rpartition("_")[0]

    def path(self, part: str, suffix: str) -> str:
        """The turn's file below the root, such as that in the part `wav`."""
        return f"Session{self.session}/sentences/{part}/{self.dialog}/{self.name}{suffix}"

    def file(self, part: str) -> str:
        """The file of the turn's dialog below the root, such as that in the part `transcriptions`."""
        return f"Session{self.session}/dialog/{part}/{self.dialog}.txt"


def turns(sessions: Iterable[int] = range(1, 6)) -> list[Turn]:
    """The rated turns of the tree, in the order of their names in each session."""
    found = []
    for session in sessions:
        colour = COLOURS[session - 1]
        # The woman wears the markers in the improvised dialog, the man in the scripted one.
        for dialog, lines in (
            (f"Ses{session:02d}F_impro01", IMPROVISED),
            (f"Ses{session:02d}M_script01_1b", SCRIPTED),
        ):
            for number, (letter, label, text) in enumerate(lines):
                found.append(Turn(f"{dialog}_{letter}{number:03d}", label, text.format(colour=colour)))
    return sorted(found, key=lambda turn: turn.name)


def write(root: Path, sessions: Iterable[int] = range(1, 6), speech: bool = True) -> list[Turn]:
    """Write the tree; without speech its recordings and alignments are empty files, which is enough to list it."""
    written = turns(sessions)
    for turn in written:
        recording, alignment = root / turn.path("wav", ".wav"), root / turn.path("ForcedAlignment", ".wdseg")
        for path in (recording, alignment):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if speech:
            letter = turn.name.rpartition("_")[2][0]
            samples, onsets = say(turn.text, voice=f"en-us+{VOICES[letter][turn.session - 1]}")
            soundfile.write(recording, samples, 16_000)
            alignment.write_text(word_segmentation(onsets, len(samples) // 160 - 2))
    for dialog in {turn.dialog: turn for turn in written}.values():
        own = [turn for turn in written if turn.dialog == dialog.dialog]
        for part, content in (("EmoEvaluation", evaluation(own)), ("transcriptions", transcription(own))):
            path = root / dialog.file(part)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        # Other content of a real copy: single raters' files, and metadata of macOS.
        (root / dialog.file("EmoEvaluation")).parent.joinpath("Attribute").mkdir(exist_ok=True)
        (root / dialog.file("EmoEvaluation")).with_name(f"._{dialog.dialog}.txt").write_bytes(b"\0\5\26\7")
    return written


def evaluation(own: list[Turn]) -> str:
    """Content of a dialog's file in `EmoEvaluation`."""
    lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for number, turn in enumerate(own):
        lines += [
            f"[{2 * number + 0.29:.4f} - {2 * number + 1.8:.4f}]\t{turn.name}\t{turn.label}\t[2.5000, 3.0000, 3.6667]",
            "C-E2:\tNeutral;\t()",
            "A-E3:\tval 3; act 3; dom  4;\t()",
            "",
        ]
    return "\n".join(lines)


def transcription(own: list[Turn]) -> str:
    """Content of a dialog's file in `transcriptions`: the rated turns, an unrated one, and an aside."""
    lines = [
        f"{turn.name} [{2 * number + 0.29:08.4f}-{2 * number + 1.8:08.4f}]: {turn.text.capitalize()}."
        for number, turn in enumerate(own)
    ]
    return "\n".join([*lines, f"{own[0].dialog}_FXX0 [-01.0000--01.0000]: [BREATHING]", "M: [LAUGHTER]", ""])


def word_segmentation(onsets: list[tuple[str, float]], frames: int) -> str:
    """Content of a `.wdseg` file: every second word as an alternate, with a pause and a breath at the end."""
    starts = [round(100 * onset) for _, onset in onsets]
    last = frames - 12
    rows = [(0, starts[0] - 1, "<s>")] if starts[0] else []
    for index, ((word, _), start, following) in enumerate(zip(onsets, starts, [*starts[1:], last], strict=True)):
        rows.append((start, following - 1, word.upper() + ("(2)" if index % 2 else "")))
    rows += [(last, last + 3, "<sil>"), (last + 4, last + 7, "++BREATHING++"), (last + 8, frames - 1, "</s>")]
    lines = ["\t SFrm  EFrm    SegAScr Word"]
    lines += [f"\t{first:5d} {end:5d} {-100 * (end - first + 1):10d} {word}" for first, end, word in rows]
    return "\n".join([*lines, f" Total score: {-100 * frames:10d}", ""])
