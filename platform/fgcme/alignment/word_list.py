"""Alignments made elsewhere that stand in a list of words: Lhotse's manifests, or an audformat database."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path, PurePosixPath

from fgcme.alignment.contract import AlignmentError
from fgcme.alignment.folder import AlignmentFolder
from fgcme.corpora import audformat, lhotse
from fgcme.corpora.contract import Utterance, WordTime
from fgcme.corpora.word_index import WordIndex
from fgcme.errors import UserError


class WordList:
    """The words of utterances, by their ids; else those of their recordings, by the names of their files.

    Args:
        index: the words.
        source: where they come from, for messages.
    """

    def __init__(self, index: WordIndex, source: str) -> None:
        self._index, self._source = index, source
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for file in index.files:
            for name in {PurePosixPath(file).name, PurePosixPath(file).stem}:
                self._by_name[name].append(file)

    def find(self, utterance: Utterance) -> tuple[WordTime, ...]:
        """The words of an utterance, in seconds from its beginning.

        Those that name it count from where its list begins it; of its recording's, those whose middle lies in it.

        Raises:
            AlignmentError: `missing_alignment`, or `bad_alignment` where several recordings have the name of its file.
        """
        if (words := self._index.named(utterance.id, utterance.start)) is not None:
            return words
        start, end = utterance.start or 0.0, math.inf if utterance.end is None else utterance.end
        for file in self._recordings(utterance.audio):
            if (words := self._index.within(file, start, end)) is not None:
                return words
        raise AlignmentError(
            "missing_alignment", f"{self._source} has no words of {utterance.id} or its recording {utterance.audio}"
        )

    def find_named(self, utterance_id: str) -> tuple[WordTime, ...]:
        """The words that name an utterance.

        Raises:
            AlignmentError: `missing_alignment`.
        """
        if (words := self._index.named(utterance_id, None)) is None:
            raise AlignmentError("missing_alignment", f"{self._source} has no words of {utterance_id}")
        return words

    def _recordings(self, audio: str) -> list[str]:
        """The recording of a file: the one of its name or, of several, the one in folders of the same names."""
        path = PurePosixPath(audio)
        found = self._by_name.get(path.name) or self._by_name.get(path.stem, [])
        if len(found) > 1:
            found = [each for each in found if _share_folders(PurePosixPath(each), path)]
        if len(found) > 1:
            raise AlignmentError(
                "bad_alignment", f"{self._source}: {found[0]} and {found[1]} both have the name of {audio}"
            )
        return found


def open_alignments(folder: str, tier: str | None = None) -> AlignmentFolder | WordList:
    """The alignments that a folder holds: its database or manifests, if they have words, else its files.

    Args:
        folder: of an audformat database, of Lhotse's manifests, or of files; or one manifest or file.
        tier: the column of words (audformat), the name of the alignment (Lhotse), or the tier (TextGrid); None for the
            usual one.

    Raises:
        UserError: it holds none, what it holds is damaged, or audformat or Lhotse is not installed.
    """
    path = Path(folder)
    source, notes = f"prepare.alignment.folder {folder}", ""
    if (root := audformat.database_folder(path)) is not None:
        index, kind = audformat.read_words(root, tier), "audformat database has no column"
    elif lhotse.has_manifests(path):
        index, damaged = lhotse.read_words(path, tier)
        kind = "manifests of Lhotse have no alignment"
        notes = f" ({len(damaged)} of its entries cannot be read, such as {damaged[0].message})" if damaged else ""
    else:
        return AlignmentFolder(folder)
    if index:
        return WordList(index, source + notes)
    try:
        return AlignmentFolder(folder)
    except UserError as error:
        said = f"its {kind} `{tier or 'word'}` with the times of words{notes}: name it with prepare.alignment.tier"
        raise UserError(f"{error}, and {said}") from None


def _share_folders(one: PurePosixPath, other: PurePosixPath) -> bool:
    """Whether two paths have the same folders, as far as both name any."""
    pairs = zip(reversed(one.parent.parts), reversed(other.parent.parts), strict=False)
    return all(first == second for first, second in pairs if "/" not in (first, second))
