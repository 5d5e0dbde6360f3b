"""The catalogue of supported corpora, and where an experiment's corpus lies."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fgcme.corpora.contract import Corpus, Listing, Odd, Rejection, Utterance
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings


class _Catalogue(Mapping[str, Corpus]):
    """Corpora by name, each imported when it is first asked for."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places

    def __getitem__(self, name: str) -> Corpus:
        corpus: Corpus = pkgutil.resolve_name(f"fgcme.corpora.{self._places[name]}")
        return corpus

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


_NAMES = (
    "demo",
    "ravdess",
    "emodb",
    "iemocap",
    "iemocap_raters",
    "cremad",
    "meld",
    "msp_podcast",
    "msp_podcast_raters",
    "savee",
    "tess",
    "emovo",
    "nemo",
)
RATERS = ("iemocap_raters", "msp_podcast_raters")
"""Corpora whose labels are those of single raters, as `ang;ang;neu`: the same recordings as without `_raters`."""
# A module that holds one part of its corpus for each language.
_PARTS = {
    f"{module}_{part}": f"{module}:{part.upper()}"
    for module, part in (("esd", "english"), ("esd", "mandarin"), ("emotale", "danish"), ("emotale", "english"))
}
YOURS = ("manifest", "audformat", "lhotse")
"""Corpora of the user's own: forms of a list, of which nothing else is known."""


def _place(name: str) -> str:
    """Module and object of a corpus that is alone in its module, or whose raters are beside it."""
    return f"{name.removesuffix('_raters')}:{'RATERS' if name in RATERS else 'CORPUS'}"


CORPORA: Mapping[str, Corpus] = _Catalogue(
    {name: _place(name) for name in _NAMES} | _PARTS | {name: f"{name}:CORPUS" for name in YOURS}
)


def find_corpus(settings: CorpusSettings, storage: Path) -> tuple[Path, Listing]:
    """Find an experiment's corpus and list its utterances.

    The root is `corpus.root`, else the environment variable `<KIND>_ROOT` (`RAVDESS_ROOT`), else, for a manifest, the
    manifest's own folder. The demo corpus needs none: it is synthesised once, below `storage`.

    Args:
        settings: the experiment's section `corpus`.
        storage: folder of the results.

    Returns:
        The corpus's root folder, absolute, and its listing.

    Raises:
        UserError: no root is given, or it does not hold the corpus.
    """
    if settings.kind == "several":
        return _find_several(settings, storage)
    if settings.kind == "demo":
        return _find_demo_corpus(settings, storage)
    variable = f"{settings.kind.upper()}_ROOT"
    given = settings.root or os.environ.get(variable)
    root = Path(given).expanduser().resolve() if given else None
    if settings.kind == "audformat":
        from fgcme.corpora.audformat import read_database

        root = _own_root(settings)
        columns: dict[str, str] = dict(settings.columns.items())
        return root, read_database(root, columns, settings.tables)
    if settings.kind == "lhotse":
        from fgcme.corpora.lhotse import read_manifests

        root = _own_root(settings)
        return root, read_manifests(root, dict(settings.columns.items()))
    if settings.kind == "manifest":
        return _find_manifest_corpus(settings.manifest, root, storage, dict(settings.columns.items()))
    corpus = CORPORA[settings.kind]
    if root is None:
        raise UserError(f"corpus.root is not set: {corpus.obtain}")
    return root, corpus.find(root)


def _find_several(settings: CorpusSettings, storage: Path) -> tuple[Path, Listing]:
    """Several corpora as one: their names stand before ids, labels, speakers, sessions and dialogs.

    Raises:
        UserError: fewer than two are named, one that cannot be among them, or one is not found.
    """
    names = settings.corpora
    possible = [name for name in CORPORA if name not in ("demo", *RATERS, *YOURS)]
    if strangers := [name for name in names if name not in possible]:
        raise UserError(f"corpus.corpora: {strangers[0]} cannot be among several; name some of {', '.join(possible)}")
    if len({*names}) < 2 or len({*names}) < len(names):
        raise UserError("corpus.corpora: name at least two corpora, and each once, as in [ravdess, emodb]")
    together = None if settings.root is None else Path(settings.root).expanduser().resolve()
    utterances: list[Utterance] = []
    rejections: list[Rejection] = []
    odd: list[Odd] = []
    for name in names:
        own = None if together is None else str(together / name)
        root, listing = find_corpus(CorpusSettings.model_validate({"kind": name, "root": own}), storage)
        place = str(root) if together is None else name
        utterances += [_with_corpus(each, name, place) for each in listing.utterances]
        rejections += [
            replace(each, id=f"{name}/{each.id}", audio=f"{place}/{each.audio}") for each in listing.rejections
        ]
        odd += [replace(each, id=f"{name}/{each.id}") for each in listing.odd]
    return together or Path("/"), Listing(utterances, rejections, odd)


def _with_corpus(utterance: Utterance, name: str, place: str) -> Utterance:
    """An utterance as one of several corpora.

    Args:
        utterance: of its own corpus.
        name: of the corpus.
        place: its folder, which stands before files.
    """

    def named(value: str | None, before: str = name) -> str | None:
        return None if value is None else f"{before}/{value}"

    return replace(
        utterance,
        id=f"{name}/{utterance.id}",
        audio=f"{place}/{utterance.audio}",
        raw_label=f"{name}/{utterance.raw_label}",
        speaker=f"{name}/{utterance.speaker}",
        session=named(utterance.session),
        dialog=named(utterance.dialog),
        alignment=named(utterance.alignment, place),
    )


def _find_manifest_corpus(
    manifest: str | None, root: Path | None, storage: Path, columns: Mapping[str, str]
) -> tuple[Path, Listing]:
    from fgcme.corpora import manifest as reader
    from fgcme.corpora.unpacked import holds_sound, unpack

    if manifest is None:
        if root is None:
            raise UserError("corpus.manifest is not set: name a CSV, JSONL or Parquet file with corpus.manifest=FILE")
        path = reader.find_manifest(root)
    else:
        path = Path(manifest).expanduser()
        if root is not None and not path.exists():
            path = root / path
    path = path.resolve()
    if holds_sound(path):
        path = unpack(path, storage.absolute() / "corpora")
        return path.parent, reader.read_manifest(path, columns)
    return root or path.parent, reader.read_manifest(path, columns)


def _own_root(settings: CorpusSettings) -> Path:
    """The folder of a corpus of the user's own; no variable names it, for there may be many of its kind."""
    if settings.root is None:
        raise UserError(f"corpus.root is not set: {CORPORA[settings.kind].obtain}")
    return Path(settings.root).expanduser().resolve()


def _find_demo_corpus(settings: CorpusSettings, storage: Path) -> tuple[Path, Listing]:
    from fgcme.corpora import demo, manifest

    folder = storage.absolute() / "corpora" / f"demo-{settings.utterances}-{settings.seed}"
    return folder, manifest.read_manifest(demo.synthesise(folder, settings.utterances, settings.seed))
