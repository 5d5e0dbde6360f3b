"""An audformat database: a table of utterances, and one of words.

Source: https://audeering.github.io/audformat. Both tables are segmented, for an utterance may be a part of its file; a
word has the utterance that it belongs to beside it. audformat holds its tables in memory, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from fgcme.interchange.contract import About, PreparedUtterance, Told
from fgcme.packages import require

if TYPE_CHECKING:
    import audformat

# Column -> attribute of an utterance; names are those that databases in this format usually have.
COLUMNS = {
    "id": "id",
    "emotion": "label",
    "speaker": "speaker",
    "transcription": "text",
    "session": "session",
    "dialog": "dialog",
    "act": "act",
    "valence": "valence",
    "arousal": "arousal",
    "dominance": "dominance",
    "alignment": "alignment",
    "alignment_score": "alignment_score",
}
_NUMBERS = frozenset({"valence", "arousal", "dominance", "alignment_score"})
_PLACE = [("file", pa.string()), ("start", pa.duration("ns")), ("end", pa.duration("ns"))]
_UTTERANCES = pa.schema(_PLACE + [(name, pa.float64() if name in _NUMBERS else pa.string()) for name in COLUMNS])
_WORDS = pa.schema([*_PLACE, ("word", pa.string()), ("utterance", pa.string())])
SAME_PLACE = "utterances left out that are the same part of the same file as another"
SAME_WORD = "words left out at the place of another utterance's"
# Utterances that are Python objects at once.
_ROWS = 1024


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write the database; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is left out.

    Raises:
        UserError: audformat is not installed.
    """
    audformat = require("audformat")
    sexes: dict[str, str] = {}
    rows, words = _tables(utterances, sexes, told)
    database = audformat.Database(
        about.name,
        source=about.citation,
        usage=audformat.define.Usage.OTHER,
        languages=_languages(about.language),
        description=about.title,
        license=about.licence,
        meta={"prepared_corpus": about.corpus_hash},
    )
    for name in ("emotion", "alignment"):
        database.schemes[name] = audformat.Scheme(labels=sorted(rows[name].unique().to_pylist()))
    speakers = sorted(rows["speaker"].unique().to_pylist())
    told_of = {name: {"gender": sexes[name]} if name in sexes else {} for name in speakers}
    database.schemes["speaker"] = audformat.Scheme(labels=told_of)
    for name in _NUMBERS:
        database.schemes[name] = audformat.Scheme("float")
    _add(database, "utterances", rows)
    _add(database, "words", words)
    database.save(str(folder))


def _tables(utterances: Iterable[PreparedUtterance], sexes: dict[str, str], told: Told) -> tuple[pa.Table, pa.Table]:
    """The rows of both tables, as compact as Arrow holds them.

    Args:
        utterances: of the corpus.
        sexes: gets what is known of speakers.
        told: counts what has the place of another.
    """
    rows, words = [_UTTERANCES.empty_table()], [_WORDS.empty_table()]
    seen: set[int] = set()
    seen_words: set[int] = set()
    for some in _chunks(utterances):
        kept = [each for each in some if _is_first(_row(each), seen, SAME_PLACE, each, told)]
        sexes.update((each.speaker, each.sex) for each in kept if each.sex is not None)
        rows.append(pa.Table.from_pylist([_row(each) for each in kept], _UTTERANCES))
        of_kept = [word for each in kept for word in _words(each) if _is_first(word, seen_words, SAME_WORD, each, told)]
        words.append(pa.Table.from_pylist(of_kept, _WORDS))
    return pa.concat_tables(rows), pa.concat_tables(words)


def _is_first(row: Mapping[str, Any], seen: set[int], reason: str, utterance: PreparedUtterance, told: Told) -> bool:
    """Whether no row before had the place of this one: audformat sets values by their place."""
    key = hash((row["file"], row["start"], row["end"]))
    told.add(reason, utterance.id, key in seen)
    first = key not in seen
    seen.add(key)
    return first


def _row(utterance: PreparedUtterance) -> Mapping[str, Any]:
    place = _place(utterance, 0.0, utterance.duration)
    return place | {name: getattr(utterance, attribute) for name, attribute in COLUMNS.items()}


def _words(utterance: PreparedUtterance) -> Iterator[Mapping[str, Any]]:
    for word in utterance.words:
        yield _place(utterance, word.begin, word.end) | {"word": word.text, "utterance": utterance.id}


def _place(utterance: PreparedUtterance, begin: float, end: float) -> dict[str, Any]:
    start = round(1e9 * utterance.start)
    return {
        "file": utterance.audio,
        "start": start + round(1e9 * begin),
        "end": start + round(1e9 * end),
    }


def _chunks(utterances: Iterable[PreparedUtterance]) -> Iterator[Sequence[PreparedUtterance]]:
    rest = iter(utterances)
    while chunk := list(islice(rest, _ROWS)):
        yield chunk


def _add(database: audformat.Database, name: str, rows: pa.Table) -> None:
    """Add a table, whose first columns say where its rows are."""
    import audformat

    frame = rows.to_pandas()
    index = audformat.segmented_index(frame["file"], frame["start"], frame["end"])
    database[name] = audformat.Table(index)
    for column in frame.columns[len(_PLACE) :]:
        scheme = column if column in database.schemes else None
        database[name][column] = audformat.Column(scheme_id=scheme)
        database[name][column].set(frame[column].to_numpy())


def _languages(language: str) -> list[str]:
    """The language as audformat names it; none where it knows no such."""
    import audformat

    # The code of a language.
    if language == "any":
        return []
    try:
        return [audformat.utils.map_language(language)]
    except ValueError:
        return []
