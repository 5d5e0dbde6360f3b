"""Manifests of Lhotse: recordings and supervisions, or cuts, as JSON lines, whole or in parts.

Source: https://lhotse.readthedocs.io. A supervision is an utterance. Of the folder, all files whose names have
`supervisions` and `recordings` in them count, and only without these those with `cuts`. A supervision's alignment of
words is the corpus's own.

Which entry is what, by default: `emotion` or `label` of `custom` the label, `text` and `speaker` what they say, and
`session`, `dialog`, `act`, `valence`, `arousal`, `dominance` of `custom` the rest; `corpus.columns` names others.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fgcme.corpora.cells import BadCellError, number_of, refuse_unknown_columns, text_of
from fgcme.corpora.contract import Corpus, Listing, Rejection, Utterance, WordTime
from fgcme.corpora.word_index import WordIndex
from fgcme.errors import UserError
from fgcme.packages import require

if TYPE_CHECKING:
    import lhotse

_CANDIDATES = {
    "label": ("emotion", "label"),
    **{name: (name,) for name in ("text", "speaker", "session", "dialog", "act", "valence", "arousal", "dominance")},
    "words": ("word",),
}
COLUMNS = tuple(_CANDIDATES)
"""What `corpus.columns` may name."""

_OWN = ("text", "speaker", "language", "gender")
_SUFFIXES = (".jsonl", ".jsonl.gz")
# What Lhotse raises for a line that is not its own.
_DAMAGE = (KeyError, TypeError, ValueError, AttributeError, AssertionError, RecursionError)


class _Found(NamedTuple):
    """A supervision and its recording, if that is known; where its times begin in the recording, where it stands."""

    supervision: lhotse.SupervisionSegment
    recording: lhotse.Recording | None
    offset: float
    where: str


def find(root: Path) -> Listing:
    """List the manifests in `root` by the usual names of their entries; see `read_manifests`."""
    return read_manifests(root, {})


def read_manifests(root: Path, columns: Mapping[str, str]) -> Listing:
    """List the utterances of the manifests in a folder.

    A line that is damaged, and one of which no utterance can be made, is a rejection with its number.

    Args:
        root: the folder. A recording's file is relative to it, or else to the working directory.
        columns: one of `COLUMNS` -> the name of the entry.

    Raises:
        UserError: Lhotse is not installed; there are no manifests, or a file is damaged.
    """
    refuse_unknown_columns(columns, COLUMNS)
    supervisions, recordings, cuts = (_files(root, kind) for kind in ("supervisions", "recordings", "cuts"))
    if not cuts and not (supervisions and recordings):
        raise UserError(
            f"{root}: holds no manifests of Lhotse (recordings.jsonl.gz and supervisions.jsonl.gz, or cuts.jsonl.gz); "
            "name their folder with corpus.root=DIR"
        )
    require("lhotse")
    rejections: list[Rejection] = []
    if supervisions and recordings:
        known = _recordings(recordings, rejections)
        found = _with_recordings(_supervisions(supervisions, rejections), known, rejections)
    else:
        found = _of_cuts(cuts, rejections)
    utterances: dict[str, Utterance] = {}
    for each in found:
        audio = ""
        try:
            audio = _audio(each.recording, root)
            utterance = _utterance(each, audio, columns)
            if utterance.id in utterances:
                raise BadCellError("duplicate", f"another one has the id {utterance.id!r}, too")
            utterances[utterance.id] = utterance
        except BadCellError as error:
            message = f"{each.where}: {error.message}"
            rejections.append(Rejection(str(each.supervision.id), audio, "list", error.reason, message))
    if not utterances and not rejections:
        raise UserError(f"{root}: its manifests list no supervision")
    return Listing(list(utterances.values()), rejections)


def read_words(path: Path, alignment: str | None = None) -> tuple[WordIndex, list[Rejection]]:
    """The times of the words of manifests of supervisions or cuts, whatever else these say.

    A line that is damaged costs itself alone.

    Args:
        path: of one, or of a folder with some; recordings need not be there.
        alignment: its name; None for the usual one.

    Returns:
        The words, and what cannot be read.

    Raises:
        UserError: Lhotse is not installed, or a file is damaged.
    """
    require("lhotse")
    supervisions, cuts = _manifests(path)
    damaged: list[Rejection] = []
    index = WordIndex()
    for each in _supervisions(supervisions, damaged) if supervisions else _of_cuts(cuts, damaged):
        supervision = each.supervision
        name, recording = str(supervision.id), str(supervision.recording_id)
        try:
            start = each.offset + _number("start", supervision.start)
            words = _words(each, alignment or _CANDIDATES["words"][0]) or ()
        except BadCellError as error:
            damaged.append(Rejection(name, "", "list", error.reason, f"{each.where}: {error.message}"))
            continue
        # A line that is there twice says nothing new.
        if index.add_utterance(name, recording, start) or index.named(name, start) is None:
            for word in words:
                index.add(recording, WordTime(word.word, word.start + start, word.end + start), name)
    return index, damaged


def has_manifests(path: Path) -> bool:
    """Whether a file is a manifest of supervisions or cuts, or a folder holds some."""
    return any(_manifests(path))


def _manifests(path: Path) -> tuple[list[Path], list[Path]]:
    """Those of supervisions, and those of cuts, in a folder, or the one that is given."""
    if path.is_dir():
        return _files(path, "supervisions"), _files(path, "cuts")
    is_one = path.is_file() and path.name.endswith(_SUFFIXES)
    has_cuts = "cuts" in path.name
    return [path] if is_one and not has_cuts else [], [path] if is_one and has_cuts else []


def _files(root: Path, kind: str) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if kind in path.name and path.name.endswith(_SUFFIXES))


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """The lines of a manifest, each with where it stands; a line that is no JSON is None.

    Raises:
        UserError: the file cannot be read, or is cut short.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield f"{path}: line {number}", json.loads(line)
                    except (ValueError, RecursionError):
                        yield f"{path}: line {number}", None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); write it again") from None


def _recordings(paths: list[Path], rejections: list[Rejection]) -> Mapping[str, lhotse.Recording]:
    from lhotse import Recording

    found: dict[str, lhotse.Recording] = {}
    for path in paths:
        for where, line in _lines(path):
            try:
                recording = Recording.from_dict(line)
                found[str(recording.id)] = recording
            except _DAMAGE as error:
                rejections.append(_damaged(where, "recording", error))
    return found


def _supervisions(paths: list[Path], rejections: list[Rejection]) -> Iterator[_Found]:
    from lhotse import SupervisionSegment

    for path in paths:
        for where, line in _lines(path):
            try:
                found = _Found(SupervisionSegment.from_dict(line), None, 0.0, where)
            except _DAMAGE as error:
                rejections.append(_damaged(where, "supervision", error))
            else:
                yield found


def _with_recordings(
    found: Iterable[_Found], recordings: Mapping[str, lhotse.Recording], rejections: list[Rejection]
) -> Iterator[_Found]:
    """The supervisions whose recordings are known, with them."""
    for each in found:
        name = str(each.supervision.recording_id)
        if name in recordings:
            yield each._replace(recording=recordings[name])
        else:
            message = f"{each.where}: there is no recording {name!r}"
            rejections.append(Rejection(str(each.supervision.id), name, "list", "missing_recording", message))


def _of_cuts(paths: list[Path], rejections: list[Rejection]) -> Iterator[_Found]:
    from lhotse import MonoCut, MultiCut

    kinds = {"MonoCut": MonoCut, "MultiCut": MultiCut}
    for path in paths:
        for where, line in _lines(path):
            try:
                cut = kinds[line.pop("type", "MonoCut")].from_dict(line)
                found = [_Found(each, cut.recording, float(cut.start), where) for each in cut.supervisions]
            except _DAMAGE as error:
                rejections.append(_damaged(where, "cut of one recording", error))
            else:
                yield from found


def _damaged(where: str, kind: str, error: Exception) -> Rejection:
    path, _, line = where.rpartition(": line ")
    why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Rejection(f"{Path(path).name}:{line}", "", "list", "bad_row", f"{where}: is no {kind} ({why})")


def _audio(recording: lhotse.Recording | None, root: Path) -> str:
    """The file of a recording.

    Raises:
        BadCellError: it has several, or none, or what is heard is not what the file holds.
    """
    if recording is None or len(recording.sources) != 1 or recording.sources[0].type != "file":
        raise BadCellError("bad_value", "its recording is not one file: save it as one")
    if recording.transforms:
        raise BadCellError("bad_value", "its recording is changed as it is loaded (`transforms`): save it as it sounds")
    source = Path(str(recording.sources[0].source))
    # Lhotse takes paths from where it runs.
    return str(source.absolute()) if not (root / source).exists() and source.exists() else str(source)


def _utterance(found: _Found, audio: str, columns: Mapping[str, str]) -> Utterance:
    supervision = found.supervision
    told = {name: _entry(supervision, columns.get(name), name) for name in COLUMNS if name != "words"}
    texts = {name: _text(name, told[name]) for name in ("label", "text", "speaker", "session", "dialog", "act")}
    for name in ("label", "text", "speaker"):
        if texts[name] is None:
            wanted = columns.get(name, _CANDIDATES[name][0])
            raise BadCellError("missing_value", f"it has no {wanted}, the {name}: name it with corpus.columns.{name}")
    start, end = found.offset + _number("start", supervision.start), found.offset + _number("end", supervision.end)
    if not 0 <= start < end:
        raise BadCellError("bad_time", f"it ends at {end:g} s, which is not after its start {start:g} s")
    return Utterance(
        id=str(supervision.id),
        audio=audio,
        text=texts["text"] or "",
        raw_label=texts["label"] or "",
        speaker=texts["speaker"] or "",
        session=texts["session"],
        dialog=texts["dialog"],
        act=texts["act"],
        start=round(start, 8),
        end=round(end, 8),
        valence=_rating("valence", told["valence"]),
        arousal=_rating("arousal", told["arousal"]),
        dominance=_rating("dominance", told["dominance"]),
        word_times=_words(found, columns.get("words", _CANDIDATES["words"][0])),
    )


def _entry(supervision: lhotse.SupervisionSegment, named: str | None, name: str) -> Any:
    """What a supervision says under the name that is given, or under one of the usual ones."""
    custom = supervision.custom if isinstance(supervision.custom, dict) else {}
    for key in (named,) if named is not None else _CANDIDATES[name]:
        value = custom.get(key)
        if value is None and key in _OWN:
            value = getattr(supervision, key)
        if value is not None:
            return value
    return None


def _text(name: str, value: Any) -> str | None:
    try:
        return text_of(value)
    except BadCellError as error:
        raise BadCellError(error.reason, f"its {name} {error.message}") from None


def _rating(name: str, value: Any) -> float | None:
    try:
        return number_of(value)
    except BadCellError as error:
        raise BadCellError(error.reason, f"its {name} {error.message}") from None


def _number(name: str, value: Any) -> float:
    """A number that has to be there."""
    if (number := _rating(name, value)) is None:
        raise BadCellError("bad_value", f"its {name} is not there")
    return number


def _words(found: _Found, name: str) -> tuple[WordTime, ...] | None:
    """The words with their times from the supervision's beginning; None where it has no such alignment.

    Of a cut, too, Lhotse leaves them times of the recording; others write those of the cut, as its supervisions have.
    """
    supervision = found.supervision
    items = (supervision.alignment or {}).get(name) or ()
    words = [str(each.symbol) for each in items]
    starts = [_number("start of a word", each.start) for each in items]
    lengths = [_number("duration of a word", each.duration) for each in items]

    def from_beginning(zero: float) -> tuple[WordTime, ...]:
        return tuple(
            WordTime(word, round(start - zero, 6), round(start - zero + length, 6))
            for word, start, length in zip(words, starts, lengths, strict=True)
        )

    def inside(timed: tuple[WordTime, ...]) -> int:
        return sum(0 <= (word.start + word.end) / 2 <= supervision.duration for word in timed)

    of_cut, of_recording = from_beginning(supervision.start), from_beginning(found.offset + supervision.start)
    return (of_cut if inside(of_cut) > inside(of_recording) else of_recording) or None


CORPUS = Corpus(
    name="lhotse",
    title="your own corpus, as manifests of Lhotse",
    language="any",
    licence="yours",
    citation="yours",
    size="any",
    obtain="pass the folder of the manifests with corpus.root=DIR (needs the extra: pip install 'fgcme[lhotse]')",
    find=find,
    licence_id="unknown",
)
