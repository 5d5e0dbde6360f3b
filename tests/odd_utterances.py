"""Utterances with all that formats stumble over: quotes, tabs, separators, other scripts, folders and blanks in ids."""

from dataclasses import replace

from fgcme.corpora import Utterance, WordTime
from fgcme.interchange import About, PreparedUtterance, TimedWord

ABOUT = About("manifest", 'my "own"; corpus', "German", "CC-BY 4.0", "Somebody, 2026", "0123456789abcdef")

_PLAIN = PreparedUtterance(
    id="plain",
    audio="/data/plain.wav",
    start=0.0,
    duration=1.5,
    text="Kids are talking.",
    label="happy",
    speaker="01",
    words=[TimedWord("kids", 0.1, 0.42), TimedWord("are", 0.42, 0.5), TimedWord("talking", 0.61, 1.23)],
    alignment="sphinx",
    alignment_score=-1.25,
    sex="female",
    session="Ses01",
    dialog="impro 1",
    act="script",
    valence=2.5,
    arousal=3.25,
    dominance=1.0,
)

ODD = [
    _PLAIN,
    replace(
        _PLAIN,
        id='folder one/take; 2, the "last"',
        audio="/data/a folder/take; 2.wav",
        text='Er sagt: "Straße;\tÜber" — 東京, ok?',
        label='sehr wütend; "laut"',
        speaker="Jörg, 07",
        words=[TimedWord("straße", 0.25, 0.5), TimedWord("über", 0.5, 0.9), TimedWord("東京", 1.0, 1.1)],
        alignment_score=None,
        sex=None,
        session=None,
        dialog=None,
        act=None,
        valence=None,
        arousal=None,
        dominance=None,
    ),
    # Two of one file.
    replace(_PLAIN, id="long@2", audio="/data/long.wav", start=2.0, speaker="02"),
    replace(_PLAIN, id="long@12.345", audio="/data/long.wav", start=12.345, speaker="03", alignment="uniform"),
    replace(_PLAIN, id="without words", audio="/data/hm.wav", text="[LAUGHTER]", words=[]),
]


def words_and_frames(utterance: PreparedUtterance) -> tuple[list[str], list[int], list[int]]:
    """The words of an utterance, and their first frames and those after their last."""
    begin = [round(100 * word.begin) for word in utterance.words]
    return [word.text for word in utterance.words], begin, [round(100 * word.end) for word in utterance.words]


def as_listed(utterance: PreparedUtterance) -> Utterance:
    """An utterance as a corpus in one of the formats lists it: with the place in its file, and its words' times."""
    times = tuple(WordTime(*word) for word in utterance.words)
    same = ("id", "audio", "text", "speaker", "session", "dialog", "act", "start", "end", "valence", "arousal")
    return Utterance(
        **{name: getattr(utterance, name) for name in same},
        dominance=utterance.dominance,
        raw_label=utterance.label,
        word_times=times or None,
    )
