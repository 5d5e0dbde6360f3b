"""A small prepared corpus of tones whose ratings are a known function of the sound: of its loudness and its pitch."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from fgcme import alignment, features
from fgcme.audio import SAMPLE_RATE
from fgcme.corpora.contract import Utterance
from fgcme.experiment import Experiment, parse_experiment
from fgcme.files import digest
from fgcme.prepared.corpus import CorpusDescription, utterance_table, write_part
from fgcme.prepared.utterance import prepare_utterances
from pipelines.runs.corpus import feature_settings

DIMENSIONS = {"valence": [1.0, 5.0], "arousal": [1.0, 7.0]}
EMOTIONS = ("calm", "angry")
_WORDS = ("red", "green", "blue", "white")
_BINS = 12


def rated_experiment(folder: Path, **sections: Mapping[str, Any]) -> Experiment:
    """An experiment that learns ratings of the corpus in a folder, its results beside it."""
    content: dict[str, Any] = {
        "name": "rated",
        "corpus": {"kind": "manifest", "manifest": str(sounds_of(folder) / "list.csv")},
        "protocol": {"name": "rated/dimensions", "dimensions": DIMENSIONS, "folds": 3},
        "prepare": {
            "folder": str(folder),
            "alignment": {"method": "uniform"},
            "features": {"kind": "log_mel", "bins": _BINS},
        },
        "model": {
            "acoustic": {"channels": [], "kernels": [], "normalisation": "train"},
            "pooling": {"kind": "mean"},
            "semantic": {"embedding": 4},
            "modalities": "acoustic",
            "fusion": {"hidden": 12},
        },
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.02},
    }
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    return parse_experiment(content)


def write(folder: Path, speakers: int = 6, each: int = 16, unrated: int = 0, seed: int = 0, raters: int = 1) -> Path:
    """Write the corpus: valence follows the pitch of a tone, arousal its loudness.

    Args:
        folder: to write into; sounds go beside it.
        speakers: number of speakers; each has a timbre of its own.
        each: utterances of each speaker.
        unrated: utterances of each speaker that nobody has rated for valence.
        seed: of pitches, loudness and words.
        raters: whose labels are the raw label; the louder a tone, the more of them hear anger.

    Returns:
        The folder.
    """
    generator = np.random.default_rng(seed)
    sounds = sounds_of(folder)
    sounds.mkdir(parents=True)
    listed = []
    for speaker in range(speakers):
        timbre = generator.uniform(0.5, 1, 5)
        for take in range(each):
            pitch, loudness = generator.uniform(size=2)
            name = f"s{speaker}-{take:02}"
            sound = _tone(110 * 2 ** (2 * pitch), 0.03 * 2 ** (4 * loudness), timbre, generator)
            soundfile.write(sounds / f"{name}.wav", sound, SAMPLE_RATE, subtype="FLOAT")
            utterance = Utterance(
                id=name,
                audio=f"{name}.wav",
                text=" ".join(generator.choice(_WORDS, 3)),
                raw_label=_heard_by(raters, loudness, generator),
                speaker=f"s{speaker}",
                valence=None if take < unrated else float(1 + 4 * pitch),
                arousal=float(1 + 6 * loudness**2),
            )
            listed.append((utterance, digest(name)))
    _write_list(sounds / "list.csv", [utterance for utterance, _ in listed])
    rows = list(
        prepare_utterances(listed, sounds, alignment.build("uniform"), features.build_extractor("log_mel", _BINS))
    )
    write_part(folder, "utterances", "a", utterance_table([row for row in rows if isinstance(row, dict)]))
    settings = feature_settings(rated_experiment(folder))
    counts = {"utterances": len(rows), "rejected": 0}
    CorpusDescription("manifest", settings, digest(settings), digest([seed, each, unrated, raters]), counts, {}).write(
        folder
    )
    return folder


def sounds_of(folder: Path) -> Path:
    """Where the sounds and the manifest of a corpus are."""
    return folder.parent / f"{folder.name}-sounds"


def _write_list(path: Path, utterances: list[Utterance]) -> None:
    """Write the manifest of the corpus, from which it can be prepared anew."""
    columns = ("id", "audio", "text", "label", "speaker", *DIMENSIONS)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for each in utterances:
            row = vars(each) | {"label": each.raw_label}
            writer.writerow(["" if row[name] is None else row[name] for name in columns])


def _heard_by(raters: int, loudness: float, generator: np.random.Generator) -> str:
    """The label, or the labels of several raters, in a raw label."""
    if raters == 1:
        return EMOTIONS[int(loudness > 0.5)]
    return ";".join(EMOTIONS[int(generator.uniform() < loudness)] for _ in range(raters))


def _tone(pitch: float, loudness: float, timbre: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE
    harmonics = [share * np.sin(2 * np.pi * pitch * (n + 1) * time) for n, share in enumerate(timbre)]
    noise = generator.normal(0, 1e-3, len(time))
    return np.asarray(loudness * sum(harmonics) / timbre.sum() + noise, np.float32)
