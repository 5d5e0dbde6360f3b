"""The prepared corpus of an experiment: where it is, whether it is complete, and its protocol applied to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from fgcme import prepared
from fgcme.alignment.sphinx_decoder import ENGLISH
from fgcme.data import Assignment, MismatchError, SpeechCorpus, apply_protocol
from fgcme.errors import NotPreparedError, UserError
from fgcme.experiment import Experiment
from fgcme.files import digest, digest_folder
from fgcme.model import encoder_of
from fgcme.training.objective import require_learnable
from pipelines.cluster import reading, storage_folder

# Where things lie: utterances that are the same in another place have the same source hash.
_PLACES = frozenset({"corpus.manifest", "corpus.root", "prepare.alignment.folder"})
_OF_ENCODERS = frozenset({"prepare.features.layers", "prepare.features.padded"})
_COPIES = "prepare.copies.speed"
_MODELS = ("prepare.alignment.checkpoint", "prepare.features.checkpoint", "prepare.text.checkpoint")


@contextlib.contextmanager
def corpus_in_use(experiment: Experiment) -> Iterator[None]:
    """Keep an experiment's prepared corpus as it is for the length of a `with` block.

    Raises:
        UserError: another driver is preparing it.
    """
    folder = prepared_folder(experiment)
    if not (folder / "corpus.json").exists():
        # Whoever loads it is refused; a folder without a prepared corpus gets no file for its lock.
        yield
        return
    with reading(folder, f"prepared corpus {folder.name}"):
        yield


def load_assigned_corpus(experiment: Experiment) -> tuple[Path, SpeechCorpus, Assignment]:
    """The folder of the prepared corpus, the corpus, and the protocol applied to it.

    Raises:
        UserError: the corpus is not prepared, or does not fit the protocol, naming the most frequent rejection then;
            the model trains layers of an encoder that what is prepared does not enter; or settings do not go with what
            the protocol learns.
    """
    folder = locate_prepared(experiment)
    encoder_of(experiment.model, experiment.prepare.features, weights=False)
    corpus = SpeechCorpus(folder)
    try:
        assignment = apply_protocol(experiment.protocol, experiment.corpus.kind, corpus.table)
    except MismatchError as mismatch:
        rejections = next(prepared.rejection_lines(folder), None)
        raise UserError(f"{mismatch}; {rejections}" if rejections else str(mismatch)) from None
    require_learnable(experiment, assignment.protocol.tasks)
    return folder, corpus, assignment


def with_absolute_encoder(experiment: Experiment) -> Experiment:
    """The experiment for workers, which run in other folders: the path of its speech encoder's folder is absolute."""
    features = experiment.prepare.features
    features = features.model_copy(update={"checkpoint": absolute_path(features.checkpoint)})
    return experiment.model_copy(update={"prepare": experiment.prepare.model_copy(update={"features": features})})


def absolute_path(path: str | None) -> str | None:
    """The absolute path of what is there; a hub name stays one."""
    return str(Path(path).absolute()) if path is not None and Path(path).exists() else path


def prepared_folder(experiment: Experiment) -> Path:
    """The folder of an experiment's prepared corpus, absolute; it may not exist yet.

    Raises:
        UserError: `storage.path` is an address and not a folder.
    """
    if experiment.prepare.folder is not None:
        return Path(experiment.prepare.folder).expanduser().absolute()
    settings_hash = digest(feature_settings(experiment))
    return storage_folder(experiment) / "prepared" / f"{experiment.corpus.kind}-{settings_hash[:8]}"


def locate_prepared(experiment: Experiment) -> Path:
    """The folder of an experiment's prepared corpus, complete and made with its settings.

    Raises:
        NotPreparedError: it is not prepared yet, or not completely; names the settings in which the closest other
            prepared corpus differs.
        UserError: the folder holds a corpus prepared with other settings, or its `corpus.json` is damaged.
    """
    folder = prepared_folder(experiment)
    if (folder / "corpus.json").exists():
        refuse_other_settings(experiment, folder)
        if pending := prepared.read_description(folder).counts.get("pending", 0):
            raise NotPreparedError(f"{folder}: {pending} utterances are not prepared yet")
        return folder
    if (closest := _closest_prepared(experiment, folder.parent)) is None:
        raise NotPreparedError(f"{folder}: corpus {experiment.corpus.kind} is not prepared yet")
    other, differences = closest
    raise NotPreparedError(
        f"{folder}: corpus {experiment.corpus.kind} is not prepared with these settings, but with others in "
        f"{other.name}: {', '.join(differences)}; use those settings, or prepare with these"
    )


def refuse_other_settings(experiment: Experiment, folder: Path) -> None:
    """Refuse a folder that holds a corpus prepared with other settings than the experiment's.

    Raises:
        UserError: the folder does; the message names the settings that differ, and what to do.
    """
    if differences := prepared.read_description(folder).differences(feature_settings(experiment)):
        raise UserError(
            f"{folder}: holds a corpus prepared with other settings: {', '.join(differences)}; use those "
            "settings; or set prepare.folder to another folder, or delete this one, and run `fgcme prepare` with these"
        )


def _closest_prepared(experiment: Experiment, parent: Path) -> tuple[Path, list[str]] | None:
    """The prepared corpus in a folder that differs in the fewest settings, and these; None where none differs."""
    settings = feature_settings(experiment)
    found = []
    for folder, description in _described(parent):
        differences = description.differences(settings)
        if description.corpus == experiment.corpus.kind and differences:
            found.append((folder, differences))
    return min(found, key=lambda each: len(each[1]), default=None)


def prepared_elsewhere(experiment: Experiment) -> list[Path]:
    """The prepared corpora beside an experiment's that differ only in where the corpus or its alignments lie."""
    return _prepared_beside(experiment, _PLACES)


def prepared_with_other_copies(experiment: Experiment) -> list[Path]:
    """The prepared corpora beside an experiment's that differ in their copies, and in nothing that decides features."""
    same = prepared_elsewhere(experiment)
    return [folder for folder in _prepared_beside(experiment, _PLACES | {_COPIES}) if folder not in same]


def _prepared_beside(experiment: Experiment, ignored: Set[str]) -> list[Path]:
    """The prepared corpora beside an experiment's whose settings are the same but for those that are ignored."""

    def compared(settings: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in settings.items() if name not in ignored}

    own, settings = prepared_folder(experiment), compared(feature_settings(experiment))
    return [
        folder
        for folder, description in _described(own.parent)
        if folder != own and compared(description.settings) == settings
    ]


def _described(parent: Path) -> Iterator[tuple[Path, prepared.CorpusDescription]]:
    """The prepared corpora in a folder, and what their `corpus.json` says; damaged ones are passed over."""
    for path in sorted(parent.glob("*/corpus.json")):
        # Another corpus's damage is no reason to fail.
        with contextlib.suppress(UserError):
            yield path.parent, prepared.read_description(path.parent)


def feature_settings(experiment: Experiment) -> dict[str, Any]:
    """The settings that decide which utterances and features a prepared corpus holds, by their dotted names.

    The root of a known corpus is not among them: moved to another disk, it is the same corpus. A folder with a model
    counts by its content. Copies count where there are any: corpora of versions without them keep their name.
    """
    # Two manifests must never share a prepared corpus: their kind says nothing of what they list.
    of_kind = {"demo": ("utterances", "seed"), "manifest": ("manifest", "root"), "several": ("corpora",)}
    of_kind |= {"audformat": ("root", "tables"), "lhotse": ("root",)}
    deciding = of_kind.get(experiment.corpus.kind, ())
    names = {"corpus.kind", *(f"corpus.{name}" for name in deciding)}
    # Without a text encoder, corpora and their hashes are those of versions that had none.
    with_text = ("prepare.text.",) if experiment.prepare.text.checkpoint is not None else ()
    sections = ("prepare.alignment.", "prepare.features.", "corpus.columns.", *with_text)
    settings = {name: value for name, value in experiment.flat().items() if name in names or name.startswith(sections)}
    if experiment.prepare.copies.speed:
        settings[_COPIES] = experiment.prepare.copies.speed
    if experiment.prepare.alignment.language == ENGLISH:
        # As in versions that knew no other.
        del settings["prepare.alignment.language"]
    if experiment.prepare.features.kind == "log_mel":
        # Log-mel frames have no layers. What older versions stored in their place keeps corpora and their hashes.
        settings = {name: value for name, value in settings.items() if name not in _OF_ENCODERS}
        settings["prepare.features.layer"] = -1
    # Corpora of versions without this setting keep their name.
    if settings["prepare.alignment.tier"] is None:
        del settings["prepare.alignment.tier"]
    for name in _MODELS:
        # The name of a model on the hub stays as it is.
        if settings.get(name) is not None and (folder := Path(settings[name])).is_dir():
            settings[name] = f"content {digest_folder(folder)}"
    return settings
