"""ESD: 350 sentences acted in five emotions by ten speakers of English and ten of Mandarin: two corpora here.

Source: K. Zhou, B. Sisman, R. Liu and H. Li, Speech Communication 137: 1-18, 2022; https://hltsingapore.github.io/ESD.

A file is `0011/Angry/0011_000351`, in some releases `0011/Angry/evaluation/0011_000351`: the speaker, the emotion, the
part of the makers' own partition, the number of the utterance. `0011/0011.txt` says what is said, a line an utterance:
its name, its text, its emotion. These files are in several encodings.

In the contract's fields: `raw_label` is the emotion, `session` the makers' part (`train`, `evaluation`, `test`; None in
releases without these folders), `dialog` the sentence: the 350 numbers of an emotion are the same sentences for each.
The makers' parts share speakers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, NoTextError, find_named
from fgcme.corpora.text_files import read_text

SENTENCES = 350
EMOTIONS = ("Angry", "Happy", "Neutral", "Sad", "Surprise")


def _scheme(language: str, first: int, variable: str) -> NameScheme:
    return NameScheme(
        corpus=f"ESD in {language}",
        pattern=(
            r"(?P<speaker>\d{4})/(?P<emotion>[A-Z][a-z]+)/(?:(?P<part>train|evaluation|test)/)?"
            r"(?P<name>(?P=speaker)_(?P<number>\d{6}))"
        ),
        example=f"{first:04d}/Angry/{first:04d}_000351",
        known={
            "speaker": tuple(f"{number:04d}" for number in range(first, first + 10)),
            "emotion": EMOTIONS,
        },
        beside=(".txt",),
        way_out=(
            "get it from https://hltsingapore.github.io/ESD and unpack it; "
            f"pass its folder with --root or in {variable}"
        ),
    )


def _find(root: Path, scheme: NameScheme) -> Listing:
    """List the recordings of one language below `root`, see `find_named`."""
    texts: dict[str, str] = {}
    if root.is_dir():
        for speaker in scheme.known["speaker"]:
            for path in sorted(root.rglob(f"{speaker}/{speaker}.txt")):
                texts |= _read_texts(path, scheme.way_out)

    def describe(parts: Mapping[str, str], audio: str) -> Utterance:
        name, number = parts["name"], int(parts["number"])
        if name not in texts:
            raise NoTextError(f"{parts['speaker']}.txt has no text for {name}")
        return Utterance(
            id=name,
            audio=audio,
            text=texts[name],
            raw_label=parts["emotion"],
            speaker=parts["speaker"],
            session=parts["part"] or None,
            dialog=f"sentence-{(number - 1) % SENTENCES + 1:03d}",
        )

    return find_named(root, scheme, describe)


def _read_texts(path: Path, way_out: str) -> dict[str, str]:
    """The texts of a speaker's file by utterance; lines that say none are left out."""
    found = {}
    for line in read_text(path, way_out, fallback="gb18030").splitlines():
        name, _, rest = line.strip().partition("\t")
        text = rest.split("\t")[0].strip()
        if name and text:
            found[name] = text
    return found


_ENGLISH = _scheme("English", 11, "ESD_ENGLISH_ROOT")
_MANDARIN = _scheme("Mandarin", 1, "ESD_MANDARIN_ROOT")

ENGLISH = Corpus(
    name="esd_english",
    title="Emotional Speech Dataset, its English part",
    language="English",
    licence="its makers' own, for research; asked for with their form",
    citation="K. Zhou et al., Speech Communication 137: 1-18, 2022",
    size="17,500 utterances, 10 speakers, 5 emotions, 14 hours, as 16 kHz WAV",
    obtain=_ENGLISH.way_out,
    find=partial(_find, scheme=_ENGLISH),
    expected=Counts(utterances=17_500, speakers=10),
    official_protocol="esd_english/5class-official",
)
MANDARIN = replace(
    ENGLISH,
    name="esd_mandarin",
    title="Emotional Speech Dataset, its Mandarin part",
    language="Mandarin",
    obtain=_MANDARIN.way_out,
    find=partial(_find, scheme=_MANDARIN),
    official_protocol="esd_mandarin/5class-official",
)
