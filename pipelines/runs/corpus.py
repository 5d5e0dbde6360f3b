"""The prepared corpus of an experiment: where it is, whether it is complete, and its protocol applied to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fgcme import prepared
from fgcme.data import Assignment, MismatchError, SpeechCorpus, apply_protocol
from fgcme.errors import NotPreparedError, UserError
from fgcme.experiment import Experiment
from fgcme.files import digest
from pipelines.cluster import storage_folder


def load_assigned_corpus(experiment: Experiment) -> tuple[Path, SpeechCorpus, Assignment]:
    """The folder of the prepared corpus, the corpus, and the protocol applied to it.

    Raises:
        UserError: the corpus is not prepared, or does not fit the protocol; what most of it was lost by is named then.
    """
    folder = locate_prepared(experiment)
    corpus = SpeechCorpus(folder)
    try:
        return folder, corpus, apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    except MismatchError as mismatch:
        lost = next(prepared.rejection_lines(folder), None)
        raise UserError(f"{mismatch}; {lost}" if lost else str(mismatch)) from None


def prepared_folder(experiment: Experiment) -> Path:
    """The folder of an experiment's prepared corpus, absolute; whether or not there is anything in it.

    Raises:
        UserError: `storage.path` is not a folder.
    """
    if experiment.prepare.folder is not None:
        return Path(experiment.prepare.folder).expanduser().absolute()
    settings_hash = digest(feature_settings(experiment))
    return storage_folder(experiment) / "prepared" / f"{experiment.corpus.kind}-{settings_hash[:8]}"


def locate_prepared(experiment: Experiment) -> Path:
    """The folder of an experiment's prepared corpus, complete and made with its settings.

    Raises:
        NotPreparedError: it is not prepared yet, not completely, or with other settings; names those that differ.
        UserError: its `corpus.json` is damaged.
    """
    folder, settings = prepared_folder(experiment), feature_settings(experiment)
    if (folder / "corpus.json").exists():
        found = prepared.read_description(folder)
        if differences := found.differences(settings):
            raise NotPreparedError(f"{folder}: prepared with other settings: {', '.join(differences)}")
        if pending := found.counts.get("pending", 0):
            raise NotPreparedError(f"{folder}: {pending} utterances are not prepared yet")
        return folder
    others = [prepared.read_description(path.parent) for path in sorted(folder.parent.glob("*/corpus.json"))]
    differing = [other.differences(settings) for other in others if other.corpus == experiment.corpus.kind]
    if differing:
        closest = ", ".join(sorted(differing, key=len)[0])
        raise NotPreparedError(f"{folder}: prepared with other settings only: {closest}")
    raise NotPreparedError(f"{folder}: corpus {experiment.corpus.kind} is not prepared yet")


def feature_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide which utterances and features a prepared corpus holds, by their dotted names.

    Not where the corpus lies: moved to another disk, it is the same corpus.
    """
    # A manifest's name says nothing of what it lists: two of them must never share a prepared corpus.
    deciding = {"demo": ("utterances", "seed"), "manifest": ("manifest", "root")}.get(experiment.corpus.kind, ())
    names = {"corpus.kind", *(f"corpus.{name}" for name in deciding)}
    return {
        name: value
        for name, value in experiment.flat().items()
        if name in names or name.startswith(("prepare.alignment.", "prepare.features."))
    }
