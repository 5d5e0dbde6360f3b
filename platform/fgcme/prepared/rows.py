"""The stored rows of a prepared corpus beside what its corpus has now: compared, copied, deleted and merged.

A corpus may list a million utterances, so what is known of each is a few numbers in arrays, and rows are read and
written some megabytes at a time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fgcme.files import atomic_write, digest
from fgcme.prepared.corpus import columns_of, hash_array, read_part, read_parts, read_row_groups
from fgcme.prepared.encoding import encoding_of

Mask = npt.NDArray[np.bool_]

# Bytes. Parts below the first are merged: to write a larger one anew takes longer than it will ever take to open it. A
# merged part is closed at the second.
_SMALL_PART, _FULL_PART = 16_000_000, 118_000_000
_ROW_GROUP = 16_000_000
# Merging is half decoding and encoding, half waiting for the disk.
_MERGERS = 4


class Sources:
    """What each utterance of a corpus is made from now, in the order of its list; 40 bytes an utterance.

    Ids are told apart by 64 bits of their hash.

    Args:
        listed: id and source hash of the utterances, some thousands at a time; the hash is None where the utterance's
            audio cannot be reached.
    """

    def __init__(self, listed: Iterable[Sequence[tuple[str, str | None]]]) -> None:
        ids, hashes = [_hash_ids(())], [np.empty(0, "S16")]
        for some in listed:
            ids.append(_hash_ids([name for name, _ in some]))
            hashes.append(np.array([source or "" for _, source in some], "S16"))
        unsorted = np.concatenate(ids)
        self.hashes = np.concatenate(hashes)
        self._order = np.argsort(unsorted)
        self._ids = unsorted[self._order]

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def reachable(self) -> Mask:
        """Whether the audio of each utterance can be reached."""
        mask: Mask = self.hashes != b""
        return mask

    def find(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Place of each id in the list; -1 for those that it lacks."""
        wanted = _hash_ids(ids)
        if not len(self):
            return np.full(len(wanted), -1)
        places = np.minimum(np.searchsorted(self._ids, wanted), len(self) - 1)
        return np.where(self._ids[places] == wanted, self._order[places], -1)

    def compare(self, rows: pa.Table) -> tuple[npt.NDArray[np.int64], Mask]:
        """Place of each stored row in the list, -1 for those that it lacks, and whether the row is up to date."""
        places, stored = self.find(rows["id"].to_pylist()), hash_array(rows["source_hash"])
        listed = places >= 0
        same = np.zeros(len(places), np.bool_)
        same[listed] = (stored[listed] == self.hashes[places[listed]]) & (stored[listed] != b"")
        return places, same


def compare_rows(folder: Path, sources: Sources) -> tuple[Mask, Mask]:
    """Which utterances of the corpus have a row, and which have one that was made from what the corpus has now."""
    stored, up_to_date = np.zeros(len(sources), np.bool_), np.zeros(len(sources), np.bool_)
    for _, rows in read_parts(folder, ["id", "source_hash"]):
        places, same = sources.compare(rows)
        stored[places[places >= 0]] = True
        up_to_date[places[same]] = True
    return stored, up_to_date


def copy_rows(other: Path, folder: Path, sources: Sources) -> int:
    """Copy the rows of another prepared corpus that were made from the same sources and are not here yet.

    Args:
        other: folder of the other corpus, prepared with the same settings but for places.
        folder: of the prepared corpus.
        sources: what the corpus has now.

    Returns:
        The number of rows.
    """
    _, present = compare_rows(folder, sources)
    count = 0
    for path, rows in read_parts(other, ["id", "source_hash"]):
        places, same = sources.compare(rows)
        wanted = _first(places, same, present)
        if wanted.any():
            copied = rows.filter(pa.array(wanted))
            _write_rows(folder, _name(copied), [(path, wanted)])
            count += copied.num_rows
    return count


def prune(folder: Path, sources: Sources, kept: Mask | None = None) -> Mask:
    """Delete prepared rows that are out of date or there twice; rewrite only the parts that hold such rows.

    Args:
        folder: of the prepared corpus.
        sources: what the corpus has now.
        kept: utterances whose row stays, whatever it was made from.

    Returns:
        Which utterances of the corpus have a row now.
    """
    present = np.zeros(len(sources), np.bool_)
    # Of two rows, that of the larger part stays: a killed preparation may leave a merged part beside the small ones.
    for path in sorted((folder / "utterances").glob("*.parquet"), key=lambda part: (-part.stat().st_size, part.name)):
        places, wanted = sources.compare(read_part(path, ["id", "source_hash"]))
        if kept is not None:
            wanted[places >= 0] |= kept[places[places >= 0]]
        stays = _first(places, wanted, present)
        if not stays.any():
            path.unlink()
        elif not stays.all():
            _write_rows(folder, path.stem, [(path, stays)])
    return present


def merge_parts(folder: Path) -> int:
    """Merge parts below 16 MB into parts of some 120 MB, in the order of their ids; larger parts are not touched.

    A merged part is there before the small ones are deleted; rows that are there twice after a kill are `prune`'s.

    Returns:
        The number of small parts that were merged.
    """
    groups = _groups(folder)
    # Arrow lets other threads run while it decodes and encodes.
    with ThreadPoolExecutor(min(_MERGERS, os.cpu_count() or 1)) as pool:
        for _ in pool.map(lambda group: _merge(folder, group), groups):
            pass
    return sum(map(len, groups))


def has_parts_to_merge(folder: Path) -> bool:
    """Whether `merge_parts` would change anything."""
    return bool(_groups(folder))


def _groups(folder: Path) -> list[list[Path]]:
    """Small parts that become one, two or more of them."""
    sizes = {path: path.stat().st_size for path in (folder / "utterances").glob("*.parquet")}
    small = [path for path, size in sizes.items() if size < _SMALL_PART]
    if len(small) < 2:
        return []
    firsts = {path: pc.min(read_part(path, ["id"])["id"]).as_py() for path in small}
    groups: list[list[Path]] = []
    full = True
    for path in sorted(small, key=lambda part: (firsts[part], part.name)):
        if full:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += sizes[path]
        full = size >= _FULL_PART
    if len(groups) > 1 and size < _SMALL_PART:
        last = groups.pop()
        groups[-1] += last
    return [group for group in groups if len(group) > 1]


def _merge(folder: Path, group: Sequence[Path]) -> None:
    name = _name(pa.concat_tables(read_part(path, ["id", "source_hash"]) for path in group))
    _write_rows(folder, name, [(path, None) for path in group])
    for path in group:
        # A part that lost rows and got them back has their name.
        if path.stem != name:
            path.unlink()


def _write_rows(folder: Path, name: str, parts: Sequence[tuple[Path, Mask | None]]) -> None:
    """Write rows of other parts as one part.

    Args:
        folder: of the prepared corpus.
        name: of the new part.
        parts: each with the rows that are wanted; None for all.
    """
    path = folder / "utterances" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = columns_of(pq.read_schema(parts[0][0]))
    with atomic_write(path) as partial, pq.ParquetWriter(partial, schema, **encoding_of(schema)) as writer:
        waiting: list[pa.Table] = []
        for source, wanted in parts:
            first = 0
            for rows in read_row_groups(source):
                if wanted is not None:
                    first, rows = first + rows.num_rows, rows.filter(pa.array(wanted[first : first + rows.num_rows]))
                waiting.append(rows)
                if sum(table.nbytes for table in waiting) >= _ROW_GROUP:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def _first(places: npt.NDArray[np.int64], wanted: Mask, present: Mask) -> Mask:
    """Of the wanted rows, the first of each utterance that is not present yet; marks them as present."""
    candidates = np.flatnonzero(wanted)
    candidates = candidates[~present[places[candidates]]]
    _, firsts = np.unique(places[candidates], return_index=True)
    chosen = candidates[firsts]
    present[places[chosen]] = True
    mask = np.zeros(len(places), np.bool_)
    mask[chosen] = True
    return mask


def _name(rows: pa.Table) -> str:
    """Of a part, by what its rows are and were made from."""
    return "part-" + digest([rows["id"].to_pylist(), rows["source_hash"].to_pylist()])


def _hash_ids(ids: Sequence[str]) -> npt.NDArray[np.int64]:
    # Only compared within this process.
    return np.fromiter(map(hash, ids), np.int64, len(ids))
