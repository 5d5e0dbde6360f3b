"""IEMOCAP: ten actors in five sessions of dialogs, improvised and scripted, in American English.

Source: C. Busso et al., Language Resources and Evaluation 42: 335-359, 2008; https://sail.usc.edu/iemocap. Its files:

    Session<n>/dialog/EmoEvaluation/<dialog>.txt                 label and ratings of each turn
    Session<n>/dialog/transcriptions/<dialog>.txt                text of each turn
    Session<n>/sentences/wav/<dialog>/<turn>.wav                 audio
    Session<n>/sentences/ForcedAlignment/<dialog>/<turn>.wdseg   the corpus's own alignment, of most turns

An utterance is a turn, with a name such as `Ses01F_impro03_M005`. Its first letter, F or M, says who wears the motion
capture markers in the dialog; the letter in its last part says who speaks: here the man of the first session. In the
contract's fields: `speaker` is `Ses01_M`, `session` is `Session1`, `dialog` is `Ses01F_impro03`, `act` is `impro` or
`script`.

Stage directions are in brackets. A turn with nothing else, as in `[LAUGHTER]`, takes them as its text: every protocol
counts it, and a turn needs words.

As `iemocap_raters` its `raw_label` holds what each rater said instead, such as `neu;fru;neu`: the lines that follow a
turn's own in EmoEvaluation, `C-E2:<tab>Neutral;<tab>()`, one of each external rater. A rater who names two emotions, as
in `Frustration; Anger;`, counts for each; the actors' ratings of themselves (C-F1, C-M1) and comments in brackets are
not read. The form of these lines is that which public descriptions show, such as that of CXianRen/AMST on GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from fgcme.corpora.contract import Corpus, Counts, Listing, Rejection, Utterance
from fgcme.corpora.text_files import read_text
from fgcme.errors import UserError

SESSIONS = range(1, 6)
# `xxx`: the raters did not agree.
LABELS = frozenset({"ang", "hap", "exc", "sad", "neu", "fru", "fea", "sur", "dis", "oth", "xxx"})

_DIALOG = r"Ses0([1-5])[FM]_(impro|script)\d\d\w*"
# Turns numbered from `XX0` are transcribed, but mostly not rated.
_TURN = re.compile(rf"({_DIALOG})_([FM])(?:\d{{3}}|XX\d)")
_LABEL_LINE = re.compile(r"\[[^\]]*\]\s+(\S+)\s+(\w+)\s+\[([\d.]+), *([\d.]+), *([\d.]+)\]")
_RATER_LINE = re.compile(r"C-E\d+:\s*([^(]*)(?:\(.*)?")
_RATERS_WORDS = {
    "anger": "ang",
    "disgust": "dis",
    "excited": "exc",
    "fear": "fea",
    "frustration": "fru",
    "happiness": "hap",
    "neutral": "neu",
    "neutral state": "neu",
    "other": "oth",
    "sadness": "sad",
    "surprise": "sur",
}
_TEXT_LINE = re.compile(r"(Ses\S+)\s+\[[^\]]*\]\s*:(.*)")
_DIRECTION = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Turn:
    """What the name of a turn says.

    Attributes:
        session: 1 to 5.
        dialog: name of the dialog, which is the beginning of the turn's.
        act: `impro` or `script`; scripts are the same in all sessions.
        sex: of who speaks.
    """

    session: int
    dialog: str
    act: Literal["impro", "script"]
    sex: Literal["female", "male"]

    @property
    def speaker(self) -> str:
        """Session and sex, such as `Ses01_M`: unique in the corpus."""
        return f"Ses{self.session:02d}_{self.sex[0].upper()}"


@dataclass(frozen=True)
class _Rating:
    """The raters' label of a turn, its mean valence, arousal and dominance from 1 to 5, and the label of each rater."""

    label: str
    valence: float
    arousal: float
    dominance: float
    raters: list[str] = field(default_factory=list)


def parse_turn(name: str) -> Turn:
    """Read the name of a turn.

    Raises:
        ValueError: it is not such a name.

    >>> parse_turn("Ses01F_impro03_M005")
    Turn(session=1, dialog='Ses01F_impro03', act='impro', sex='male')
    >>> parse_turn("Ses05M_script01_1b_F012").speaker
    'Ses05_F'
    """
    match = _TURN.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not the name of a turn, as in Ses01F_impro03_M005")
    dialog, session, act, letter = match.groups()
    return Turn(int(session), dialog, "impro" if act == "impro" else "script", "female" if letter == "F" else "male")


def find(root: Path, raters: bool = False) -> Listing:
    """List the turns of the sessions in `root`, by session and name. The protocol refuses a missing session.

    A turn without a label or text is a rejection, and so is a damaged line of the corpus's files. Turns that were
    transcribed but never rated (`XX` in their name) are ignored.

    Args:
        root: of the corpus.
        raters: whether a raw label holds those of all raters, and not the one that they agree on.

    Raises:
        UserError: `root` is missing or holds no session, or a session lacks one of its folders or the dialogs in it.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {_WAY_OUT}")
    for number in SESSIONS:
        if (link := root / f"Session{number}").is_symlink() and not link.exists():
            raise UserError(f"{link}: leads nowhere; mount its disk, or delete this link")
    sessions = [number for number in SESSIONS if (root / f"Session{number}").is_dir()]
    if not sessions:
        raise UserError(f"{root}: not IEMOCAP: it has no folder Session1, ..., Session5; {_WAY_OUT}")
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    for number in sessions:
        for dialog in _dialogs(root / f"Session{number}", number):
            for found in _turns(root, number, dialog, raters):
                if isinstance(found, Utterance):
                    utterances.append(found)
                else:
                    rejections.append(found)
    return Listing(utterances, rejections)


def _dialogs(session: Path, number: int) -> list[str]:
    """The dialogs in any of a session's three folders, sorted by name."""
    names: set[str] = set()
    for part in ("dialog/EmoEvaluation", "dialog/transcriptions", "sentences/wav"):
        folder = session / part
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, so session {number} is incomplete; {_WAY_OUT}")
        found = {path.stem for path in folder.iterdir() if re.fullmatch(_DIALOG, path.stem)}
        own = {name for name in found if name.startswith(f"Ses{number:02d}")}
        if not own:
            raise UserError(f"{folder}: holds no dialog of session {number}; {_WAY_OUT}")
        names |= own
    return sorted(names)


def _turns(root: Path, number: int, dialog: str, raters: bool) -> Iterator[Utterance | Rejection]:
    """The turns of a dialog, sorted by name, then the damaged lines of its files."""
    session = f"Session{number}"
    evaluation = f"{session}/dialog/EmoEvaluation/{dialog}.txt"
    transcription = f"{session}/dialog/transcriptions/{dialog}.txt"
    recordings = f"{session}/sentences/wav/{dialog}"
    ratings, damaged_ratings = _ratings(root, evaluation, dialog)
    texts, damaged_texts = _texts(root, transcription, dialog)
    recorded = {path.stem for path in (root / recordings).glob("*.wav") if _TURN.fullmatch(path.stem)}
    for name in sorted({*ratings, *texts, *recorded}):
        audio = f"{recordings}/{name}.wav"
        turn, rating, text = parse_turn(name), ratings.get(name), texts.get(name)
        if rating is None:
            if "XX" not in name:
                yield Rejection(name, audio, "list", "no_label", f"{evaluation} has no label for the turn {name}")
            continue
        if text is None:
            yield Rejection(name, audio, "list", "no_text", f"{transcription} has no text for the turn {name}")
            continue
        if raters and not rating.raters:
            yield Rejection(name, audio, "list", "no_label", f"{evaluation} has no rater's label for the turn {name}")
            continue
        alignment = f"{session}/sentences/ForcedAlignment/{dialog}/{name}.wdseg"
        yield Utterance(
            id=name,
            audio=audio,
            text=text,
            raw_label=";".join(rating.raters) if raters else rating.label,
            speaker=turn.speaker,
            session=session,
            dialog=dialog,
            act=turn.act,
            valence=rating.valence,
            arousal=rating.arousal,
            dominance=rating.dominance,
            alignment=alignment if (root / alignment).is_file() else None,
        )
    yield from damaged_ratings
    yield from damaged_texts


def _ratings(root: Path, file: str, dialog: str) -> tuple[dict[str, _Rating], list[Rejection]]:
    """The ratings in an evaluation file by turn, and its damaged lines.

    A turn's own line begins with a bracket; the lines of single raters follow it, those of a damaged line with it.
    """
    ratings: dict[str, _Rating] = {}
    damaged: list[Rejection] = []
    own: _Rating | None = None
    for number, line in _lines(root / file):
        if (rater := _RATER_LINE.fullmatch(line)) and own is not None:
            own.raters.extend(_of_rater(rater[1]))
        if not line.startswith("["):
            continue
        own = None
        match = _LABEL_LINE.fullmatch(line)
        name, label, *values = match.groups() if match else (line, "")
        if not _is_turn_of(name, dialog) or label not in LABELS or name in ratings:
            damaged.append(_damaged(file, number, line))
            continue
        try:
            valence, arousal, dominance = map(float, values)
            own = ratings[name] = _Rating(label, valence, arousal, dominance)
        except ValueError:
            damaged.append(_damaged(file, number, line))
    return ratings, damaged


def _of_rater(said: str) -> list[str]:
    """The labels that one rater gives; a word that is none of the corpus's stays as it is, and is of no class.

    >>> _of_rater("Frustration; Anger;\t"), _of_rater("Bored;")
    (['fru', 'ang'], ['bored'])
    """
    words = [each.strip().lower() for each in said.split(";")]
    return [_RATERS_WORDS.get(word, word) for word in words if word]


def _texts(root: Path, file: str, dialog: str) -> tuple[dict[str, str], list[Rejection]]:
    """The texts in a transcription by turn, and its damaged lines; lines without a turn's name are asides."""
    texts: dict[str, str] = {}
    damaged: list[Rejection] = []
    for number, line in _lines(root / file):
        if not line.startswith("Ses"):
            continue
        match = _TEXT_LINE.fullmatch(line)
        name, text = match.groups() if match else (line, "")
        if not _is_turn_of(name, dialog) or name in texts:
            damaged.append(_damaged(file, number, line))
            continue
        spoken = any(character.isalnum() for character in _DIRECTION.sub(" ", text))
        texts[name] = text.strip() if spoken else " ".join(_DIRECTION.findall(text))
    return texts, damaged


def _is_turn_of(name: str, dialog: str) -> bool:
    return _TURN.fullmatch(name) is not None and parse_turn(name).dialog == dialog


def _damaged(file: str, number: int, line: str) -> Rejection:
    shown = line if len(line) <= 60 else line[:60] + "..."
    return Rejection(f"{file}:{number}", file, "list", "bad_line", f"{file}: line {number} is damaged: `{shown}`")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file with their numbers from 1; none where the file is missing."""
    try:
        text = read_text(path, _WAY_OUT)
    except FileNotFoundError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        yield number, line.strip()


_OBTAIN = "ask for the full release at https://sail.usc.edu/iemocap and unpack it"
_WAY_OUT = (
    f"{_OBTAIN}, then pass its folder IEMOCAP_full_release with --root or in IEMOCAP_ROOT, of single raters' labels in "
    "IEMOCAP_RATERS_ROOT"
)

CORPUS = Corpus(
    name="iemocap",
    title="Interactive Emotional Dyadic Motion Capture database, turns of improvised and scripted dialogs",
    language="English",
    licence="the database's own, for research; signed with the University of Southern California, not to be passed on",
    citation="C. Busso et al., Language Resources and Evaluation 42: 335-359, 2008",
    size="10,039 turns, 10 speakers in 5 sessions, 10 emotions and ratings of valence, arousal, dominance, 12 hours",
    obtain=f"{_OBTAIN}; pass its folder IEMOCAP_full_release with --root or in IEMOCAP_ROOT",
    find=find,
    sex_of=lambda speaker: "male" if speaker.endswith("_M") else "female",
    expected=Counts(utterances=10_039, speakers=10),
)
RATERS = replace(
    CORPUS,
    name="iemocap_raters",
    title=f"{CORPUS.title}, with the label of each rater",
    obtain=f"{_OBTAIN}; pass its folder IEMOCAP_full_release with --root or in IEMOCAP_RATERS_ROOT",
    find=partial(find, raters=True),
)
