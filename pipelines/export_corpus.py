"""Export a corpus: what was prepared, in a format of others, without its features."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from fgcme import prepared
from fgcme.corpora.catalogue import CORPORA, find_corpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.interchange import FORMATS, About, PreparedUtterance, Told, find_writer, read_utterances
from pipelines.cluster import storage_folder
from pipelines.runs.corpus import corpus_in_use, locate_prepared


def run(experiment: Experiment, to: str, output: Path) -> None:
    """Write an experiment's prepared corpus in a format, and print what was written and what was left out.

    Args:
        experiment: its sections `corpus`, `prepare` and `storage` count.
        to: name of the format, see `fgcme.interchange.FORMATS`.
        output: folder that gets it; new or empty. It is there whole, or not at all.

    Raises:
        UserError: the corpus is not prepared, or, where the format names its audio, not found; the folder holds
            something or cannot be written; or the format's own package is not installed.
    """
    output = output.expanduser().absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output}: is not empty; give a new folder with --output, or empty this one")
    corpus = CORPORA.get(experiment.corpus.kind, CORPORA["manifest"])
    write = find_writer(to)
    with corpus_in_use(experiment):
        folder = locate_prepared(experiment)
        description = prepared.read_description(folder)
        root = find_corpus(experiment.corpus, storage_folder(experiment))[0] if FORMATS[to].needs_audio else None
        about = About(
            experiment.corpus.kind,
            corpus.title,
            corpus.language,
            corpus.licence,
            corpus.citation,
            description.corpus_hash,
        )
        told = Told()
        counted = _Counted(read_utterances(folder, root, corpus.sex_of, told))
        partial = output.parent / f"{output.name}.{uuid.uuid4().hex[:8]}.partial"
        try:
            partial.mkdir(parents=True)
            write(counted, partial, about, told)
            partial.replace(output)
        except OSError as error:
            raise UserError(f"{output}: cannot be written ({error.strerror or error})") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        print(f"{output}: {counted.utterances} utterances with {counted.words} words, as {FORMATS[to].summary}")
        for line in _notes(told, description, folder):
            print(f"  {line}")


class _Counted(Iterable[PreparedUtterance]):
    """Utterances, counted as they are read."""

    def __init__(self, utterances: Iterator[PreparedUtterance]) -> None:
        self._of, self.utterances, self.words = utterances, 0, 0

    def __iter__(self) -> Iterator[PreparedUtterance]:
        for utterance in self._of:
            self.utterances += 1
            self.words += len(utterance.words)
            yield utterance


def _notes(told: Told, description: prepared.CorpusDescription, folder: Path) -> Iterator[str]:
    """What is not written, or otherwise than in the prepared corpus."""
    yield from told.lines()
    if description.copies:
        speeds = ", ".join(f"{speed:g}" for speed in description.copies)
        yield f"copies at other speeds ({speeds}) left out: they are frames, and have no words of their own"
    yield from prepared.rejection_lines(folder)
