"""A database in audformat: tables of files or of parts of files, with columns such as `emotion` and `speaker`.

Source: https://audeering.github.io/audformat. Utterances are the rows of every table that has the column of labels;
what else is said of one stands in the same row, in another table's row of the same part, or in one of the whole file. A
segmented table with a column `word` has the times of words: they are the corpus's own alignments.

Which column is what, by default: `emotion` the label; `transcription`, `text`, `transcript` or `sentence` what is said;
`speaker`, `id`, `session`, `dialog`, `act`, `valence`, `arousal`, `dominance`, and `word` what they say.
`corpus.columns` names others.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fgcme.corpora.cells import BadCellError, number_of, refuse_unknown_columns, text_of
from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance, WordTime
from fgcme.corpora.manifest import default_id
from fgcme.corpora.word_index import WordIndex
from fgcme.errors import UserError
from fgcme.packages import require

if TYPE_CHECKING:
    import audformat

_CANDIDATES = {
    "label": ("emotion",),
    "text": ("transcription", "text", "transcript", "sentence"),
    **{name: (name,) for name in ("speaker", "id", "session", "dialog", "act", "valence", "arousal", "dominance")},
    "words": ("word",),
}
COLUMNS = tuple(_CANDIDATES)
"""What `corpus.columns` may name."""

_REQUIRED = ("label", "text", "speaker")
_RATINGS = ("valence", "arousal", "dominance")
_HEADER = "db.yaml"
# In a table of words: the id of the utterance that a word is of.
_UTTERANCE = "utterance"
# What audformat raises for a database that is damaged.
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError)
_TABLES = (".csv", ".parquet")


class _Place(NamedTuple):
    """A part of a file, in seconds; the whole of it where there is no start."""

    file: str
    start: float | None
    end: float | None

    @property
    def whole(self) -> _Place:
        """Of its file."""
        return _Place(self.file, None, None)


class _Value(NamedTuple):
    """A cell, and the table that it is of."""

    value: Any
    table: str


_Cells = Mapping[_Place, list[_Value]]


def find(root: Path) -> Listing:
    """List the database in `root` by the usual names of its columns; see `read_database`."""
    return read_database(root, {}, ())


def read_database(root: Path, columns: Mapping[str, str], tables: Sequence[str]) -> Listing:
    """List the utterances of a database.

    A row without a label, a text or a speaker, and one of which two tables say different things, is a rejection.

    Args:
        root: its folder.
        columns: one of `COLUMNS` -> its name in the database, or `table.column`.
        tables: which of its tables count; all of them where none is named.

    Raises:
        UserError: audformat is not installed; there is no database, it is damaged, or it lacks a column or a table.
    """
    refuse_unknown_columns(columns, COLUMNS)
    database = _load(root)
    if missing := [name for name in tables if name not in database.tables]:
        raise UserError(f"{root}: corpus.tables: no table {missing[0]}; there are {_listed(database.tables)}")
    chosen = tables or list(database.tables)
    found = {name: _columns_of(root, database, chosen, name, columns) for name in COLUMNS}
    words = _words_of(database, found.pop("words"))
    cells = {name: _cells(database, of_name) for name, of_name in found.items()}
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    ids: set[str] = set()
    for place in cells["label"]:
        try:
            utterance = _utterance(place, cells, words)
            if utterance.id in ids:
                raise BadCellError("duplicate", f"another row has the id {utterance.id!r}, too")
        except BadCellError as error:
            name = default_id(place.file, place.start)
            rejections.append(Rejection(name, place.file, "list", error.reason, f"{root}: {name}: {error.message}"))
        else:
            ids.add(utterance.id)
            utterances.append(utterance)
    if not utterances and not rejections:
        raise UserError(f"{root}: its tables {', '.join(chosen)} have no rows")
    return Listing(utterances, rejections)


def read_words(root: Path, column: str | None = None) -> WordIndex:
    """The times of the words of a database, whatever else it has.

    Args:
        root: its folder.
        column: with the words, or `table.column`; None for the usual name.

    Raises:
        UserError: audformat is not installed; there is no database, or it is damaged.
    """
    database = _load(root)
    tables = list(database.tables)
    there = [(table, name) for table in tables for name in database[table].columns]
    wanted = (column,) if column is not None else _CANDIDATES["words"]
    words = _words_of(database, [each for each in there if {each[1], ".".join(each)} & {*wanted}])
    for place, ids in _cells(database, _columns_of(root, database, tables, "id", {})).items():
        for each in ids:
            if isinstance(each.value, str):
                words.add_utterance(each.value, place.file, place.start or 0.0)
    return words


def database_folder(path: Path) -> Path | None:
    """The folder of the database that a folder holds, or whose header a file is; None where there is none."""
    folder = path.parent if path.name == _HEADER else path
    return folder if (folder / _HEADER).is_file() else None


def _load(root: Path) -> audformat.Database:
    if database_folder(root) is None:
        raise UserError(f"{root}: holds no {_HEADER}; name the folder of an audformat database with corpus.root=DIR")
    package = require("audformat")
    import yaml

    # Beside its tables a cache keeps pickles, which could run whatever they hold: they are left where they are.
    with tempfile.TemporaryDirectory() as scratch:
        for path in [root / _HEADER, *(path for path in root.iterdir() if path.suffix in _TABLES)]:
            Path(scratch, path.name).symlink_to(path.absolute())
        try:
            database: audformat.Database = package.Database.load(scratch, load_data=True)
        except (*_DAMAGE, yaml.YAMLError) as error:
            message = " ".join((str(error) or repr(error)).replace(f"{scratch}/", "").split())
            raise UserError(
                f"{root}: cannot be read as an audformat database, with its tables as CSV or Parquet: {message[:300]}"
            ) from None
    return database


def _columns_of(
    root: Path, database: audformat.Database, tables: Sequence[str], name: str, columns: Mapping[str, str]
) -> list[tuple[str, str]]:
    """The tables and columns that hold something.

    Raises:
        UserError: it is needed, or named, and there is none.
    """
    there = [(table, column) for table in tables for column in database[table].columns]
    for wanted in (columns[name],) if name in columns else _CANDIDATES[name]:
        if found := [(table, column) for table, column in there if wanted in (column, f"{table}.{column}")]:
            return found
    if name in columns or name in _REQUIRED:
        wanted, known = columns.get(name, _CANDIDATES[name][0]), [f"{table}.{column}" for table, column in there]
        raise UserError(
            f"{root}: no column {wanted} with the {name} of an utterance; name one with corpus.columns.{name}=COLUMN "
            f"(there are {_listed(known)})"
        )
    return []


def _cells(database: audformat.Database, columns: Sequence[tuple[str, str]]) -> _Cells:
    """The values of columns by their place."""
    found: dict[_Place, list[_Value]] = defaultdict(list)
    for table, column in columns:
        meanings = _meanings(database, table, column)
        values = database[table].df[column].astype(object)
        for place, value in zip(_places(values.index), values, strict=True):
            found[place].append(_Value(meanings.get(value, value) if meanings else value, table))
    return dict(found)


def _meanings(database: audformat.Database, table: str, column: str) -> Mapping[Any, Any]:
    """What the codes of a column stand for, where its scheme spells them out, as `a01` for a sentence."""
    scheme_id = database[table].columns[column].scheme_id
    labels = database.schemes[scheme_id].labels if scheme_id is not None else None
    if not isinstance(labels, dict):
        return {}
    return {code: meaning for code, meaning in labels.items() if isinstance(meaning, str) and meaning}


def _places(index: Any) -> Iterator[_Place]:
    if index.nlevels == 1:
        yield from (_Place(str(file), None, None) for file in index)
        return
    files, starts, ends = (index.get_level_values(level) for level in ("file", "start", "end"))
    for file, start, end in zip(files, starts.total_seconds(), ends.total_seconds(), strict=True):
        until = None if math.isnan(end) else end
        # As audformat writes the whole of a file in a table of parts.
        yield _Place(str(file), None if start == 0 and until is None else start, until)


def _utterance(place: _Place, cells: Mapping[str, _Cells], words: WordIndex) -> Utterance:
    texts = {name: _text(name, place, cells[name]) for name in cells if name not in _RATINGS}
    for name in _REQUIRED:
        if texts[name] is None:
            raise BadCellError("missing_value", f"it has no {name}")
    if place.end is not None and place.end <= (place.start or 0.0):
        raise BadCellError("bad_time", f"its end {place.end:g} is not after its start {place.start or 0.0:g}")
    name = texts["id"] or default_id(place.file, place.start)
    start, end = place.start or 0.0, math.inf if place.end is None else place.end
    return Utterance(
        id=name,
        audio=place.file,
        text=texts["text"] or "",
        raw_label=texts["label"] or "",
        speaker=texts["speaker"] or "",
        session=texts["session"],
        dialog=texts["dialog"],
        act=texts["act"],
        start=place.start,
        end=place.end,
        valence=_rating("valence", place, cells),
        arousal=_rating("arousal", place, cells),
        dominance=_rating("dominance", place, cells),
        word_times=words.named(name, start) or words.within(place.file, start, end, unnamed=True),
    )


def _value(name: str, place: _Place, cells: _Cells) -> Any:
    """What tables say of a place, or else of its file.

    Raises:
        BadCellError: two of them say different things.
    """
    for where in (place, place.whole):
        told = [each for each in cells.get(where, ()) if not _is_nothing(each.value)]
        if others := [each for each in told if each.value != told[0].value]:
            one, other = told[0], others[0]
            raise BadCellError(
                "ambiguous",
                f"its {name} is {one.value!r} in {one.table} and {other.value!r} in {other.table}: choose with "
                f"corpus.tables, or corpus.columns.{name}=TABLE.COLUMN",
            )
        if told:
            return told[0].value
    return None


def _text(name: str, place: _Place, cells: _Cells) -> str | None:
    try:
        return text_of(_value(name, place, cells))
    except BadCellError as error:
        message = f"its {name} {error.message}" if error.reason == "bad_value" else error.message
        raise BadCellError(error.reason, message) from None


def _rating(name: str, place: _Place, cells: Mapping[str, _Cells]) -> float | None:
    try:
        return number_of(_value(name, place, cells[name]))
    except BadCellError as error:
        message = f"its {name} {error.message}" if error.reason == "bad_value" else error.message
        raise BadCellError(error.reason, message) from None


def _is_nothing(value: Any) -> bool:
    # What pandas has in place of a value is not equal to itself, or neither equal nor unequal.
    return value is None or type(value).__name__ == "NAType" or value != value


def _words_of(database: audformat.Database, columns: Sequence[tuple[str, str]]) -> WordIndex:
    """The words in some columns of tables; an utterance's id may stand beside each, in the column `utterance`."""
    words = WordIndex()
    for table, column in columns:
        frame = database[table].df
        ids = frame[_UTTERANCE] if _UTTERANCE in frame else [None] * len(frame)
        for place, word, name in zip(_places(frame.index), frame[column].astype(object), ids, strict=True):
            if place.end is not None and isinstance(word, str):
                timed = WordTime(word, place.start or 0.0, place.end)
                words.add(place.file, timed, name if isinstance(name, str) else "")
    return words


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


CORPUS = Corpus(
    name="audformat",
    title="your own corpus, as an audformat database",
    language="any",
    licence="yours",
    citation="yours",
    size="any",
    obtain="pass the folder of the database with corpus.root=DIR (needs the extra: pip install 'fgcme[audformat]')",
    find=find,
    licence_id="unknown",
)
