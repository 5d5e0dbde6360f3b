"""EmoTale: five sentences acted in five emotions, in Danish and in English: two corpora here.

Source: M. J. Hjuler, H. V. Skat-Rørdam, L. H. Clemmensen and S. Das, "EmoTale: An Enacted Speech-emotion Dataset in
Danish", ASRU 2025, arXiv:2508.14548; https://github.com/snehadas/EmoTale.

A file is `DK_004_A_5`: the language (`DK`, `EN`), the speaker, the emotion, the sentence. What the sentences are stands
in the corpus's description only, so `sentences.csv` in its folder has to say it (columns `code`, such as `DK_5`, and
`text`). Where `annotations.csv` lies in the folder, the annotators' ratings from 1 to 5 are averaged.

In the contract's fields: `raw_label` is the letter of the emotion that was acted, `dialog` the sentence's code; there
are no sessions and no acts. Which speakers there are and how many files of each, nobody says: protocols name none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

from fgcme.corpora.contract import Corpus, Counts, Listing, Utterance
from fgcme.corpora.named_files import NameScheme, NoTextError, find_named
from fgcme.corpora.text_files import read_rows, read_sentences
from fgcme.errors import UserError

ANNOTATIONS = "annotations.csv"
"""In the corpus's folder: what each annotator says of each file."""

_RATINGS = {"valence": "V", "arousal": "A", "dominance": "D"}


def _obtain(variable: str) -> str:
    return (
        "follow https://github.com/snehadas/EmoTale; write sentences.csv (code, text) from its description into its "
        f"folder; pass the folder with --root or in {variable}"
    )


def _scheme(language: str, prefix: str, variable: str) -> NameScheme:
    return NameScheme(
        corpus=f"EmoTale in {language}",
        pattern=r"(?P<name>(?P<language>[A-Z]{2})_(?P<speaker>\d{3})_(?P<emotion>[A-Z])_(?P<sentence>\d))",
        example=f"{prefix}_004_A_5",
        known={"language": (prefix,), "emotion": ("A", "B", "H", "N", "S"), "sentence": ("1", "2", "3", "4", "5")},
        beside=(".csv", ".md", ".pdf"),
        way_out=_obtain(variable),
    )


def _find(root: Path, scheme: NameScheme) -> Listing:
    """List the recordings of one language below `root`, see `find_named`.

    Raises:
        UserError: its `sentences.csv` is missing, a table in it is damaged; and see `find_named`.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {scheme.way_out}")
    sentences, ratings = read_sentences(root, "EmoTale"), _read_ratings(root / ANNOTATIONS, scheme.way_out)

    def describe(parts: Mapping[str, str], audio: str) -> Utterance:
        name, code = parts["name"], f"{parts['language']}_{parts['sentence']}"
        if code not in sentences:
            raise NoTextError(f"sentences.csv has no text for {code}")
        rated = ratings.get(name, {})
        return Utterance(
            id=name,
            audio=audio,
            text=sentences[code],
            raw_label=parts["emotion"],
            speaker=parts["speaker"],
            dialog=code,
            valence=rated.get("valence"),
            arousal=rated.get("arousal"),
            dominance=rated.get("dominance"),
        )

    return find_named(root, scheme, describe)


def _read_ratings(path: Path, way_out: str) -> dict[str, dict[str, float]]:
    """The mean ratings of each file that has any, by the contract's names; none without the table."""
    if not path.exists():
        return {}
    ratings: dict[str, dict[str, float]] = {}
    for number, row in read_rows(path, ("file",), way_out):
        try:
            ratings[row["file"].removesuffix(".wav")] = {
                name: fmean(values)
                for name, letter in _RATINGS.items()
                if (values := [float(row[each]) for each in row if each.endswith(f"_{letter}") and row[each]])
            }
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}; mend it, or move the table away") from None
    return ratings


_DANISH = _scheme("Danish", "DK", "EMOTALE_DANISH_ROOT")
_ENGLISH = _scheme("English", "EN", "EMOTALE_ENGLISH_ROOT")

DANISH = Corpus(
    name="emotale_danish",
    title="EmoTale, its Danish part",
    language="Danish",
    licence="see EmoTale_datasheet.pdf beside it",
    citation="M. J. Hjuler et al., EmoTale: An Enacted Speech-emotion Dataset in Danish, ASRU 2025, arXiv:2508.14548",
    size="450 utterances, 5 emotions and ratings of valence, arousal, dominance, as 48 kHz WAV",
    obtain=_DANISH.way_out,
    find=partial(_find, scheme=_DANISH),
    expected=Counts(utterances=450),
)
ENGLISH = replace(
    DANISH,
    name="emotale_english",
    title="EmoTale, its English part",
    language="English",
    size="350 utterances, 5 emotions and ratings of valence, arousal, dominance, as 48 kHz WAV",
    obtain=_ENGLISH.way_out,
    find=partial(_find, scheme=_ENGLISH),
    expected=Counts(utterances=350),
)
