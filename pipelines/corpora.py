"""Corpora: what is supported, and fetching those that everybody may fetch."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from fgcme.corpora.catalogue import CORPORA
from fgcme.corpora.contract import Corpus, Download, Listing
from fgcme.corpora.download import fetch
from fgcme.errors import UserError


def run(fetches: bool, name: str | None, folder: str | None) -> None:
    """List the corpora, or fetch one.

    Args:
        fetches: fetch one.
        name: which.
        folder: see `get`.

    Raises:
        UserError: none is named; and see `get`.
    """
    if not fetches:
        show()
    elif name is None:
        raise UserError("fgcme corpora get: name a corpus, as in `fgcme corpora get ravdess`")
    else:
        get(name, None if folder is None else Path(folder))


def show() -> None:
    """Print what each corpus is, under which licence, and how to get it."""
    for corpus in CORPORA.values():
        print(f"{corpus.name}: {corpus.title}\n  language {corpus.language}\n  size     {corpus.size}")
        print(f"  licence  {corpus.licence}\n  citation {corpus.citation}\n  get it   {corpus.obtain}")
        if corpus.downloads:
            print(f"           or with `fgcme corpora get {corpus.name}`")
        print()


def get(name: str, folder: Path | None) -> None:
    """Fetch a corpus, unpack it and count what it lists; a copy that is whole already is left alone.

    Args:
        name: of the corpus.
        folder: where it goes; by default `corpora/NAME`.

    Raises:
        UserError: there is no such corpus, or nobody may fetch it by a program; `fetch` refuses its file, its archive
            cannot be unpacked, or the copy is not whole.
    """
    if name not in CORPORA:
        raise UserError(f"{name}: no such corpus; name one of {', '.join(CORPORA)}")
    corpus = CORPORA[name]
    if not corpus.downloads:
        raise UserError(f"{name}: not a corpus that a program may fetch for you; {corpus.obtain}")
    target = Path("corpora", name) if folder is None else folder
    if not _is_whole(corpus, target):
        print(f"{corpus.title}\n  licence  {corpus.licence}\n  citation {corpus.citation}", flush=True)
        for download in corpus.downloads:
            archive = _fetch_with_progress(download, target)
            _unpack(archive, target)
            archive.unlink()
    listing = corpus.find(target)
    if not _is_whole(corpus, target):
        raise UserError(f"{target}: is not whole: {_counted(listing)}; delete this folder and fetch it again")
    print(f"{target}: {_counted(listing)}\nnext: {shlex.join(['fgcme', 'prepare', name, '--root', str(target)])}")


def _fetch_with_progress(download: Download, folder: Path) -> Path:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(download.name, total=download.size)
        return fetch(download, folder, lambda have: progress.update(task, completed=have))


def _is_whole(corpus: Corpus, folder: Path) -> bool:
    """Whether a folder holds as much as a whole copy lists."""
    try:
        listing = corpus.find(folder)
    except UserError:
        return False
    speakers = {each.speaker for each in listing.utterances}
    expected = corpus.expected
    return expected is not None and (len(listing.utterances), len(speakers)) == (
        expected.utterances,
        len(speakers) if expected.speakers is None else expected.speakers,
    )


def _counted(listing: Listing) -> str:
    return f"{len(listing.utterances):,} utterances of {len({each.speaker for each in listing.utterances})} speakers"


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a ZIP archive into a folder; names that lead out of it are kept inside, as `zipfile` does."""
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: cannot be unpacked into {folder} ({error})") from None
