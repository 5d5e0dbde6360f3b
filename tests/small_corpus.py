"""A small prepared corpus to learn on in seconds: random frames, in the real format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fgcme.experiment import Experiment, parse_experiment
from fgcme.files import digest
from fgcme.prepared.corpus import CorpusDescription, utterances_schema
from pipelines.runs.corpus import feature_settings, prepared_folder

EMOTIONS = ("neutral", "happy", "sad", "angry")
WORDS = ("red", "green", "blue", "white", "black", "grey")
WORD_SIZE = 5


def write(
    folder: Path,
    speakers: int = 8,
    each: int = 8,
    frame_size: int = 6,
    seed: int = 0,
    unlike: bool = False,
    layers: int = 1,
    copies: Sequence[float] = (),
    word_layers: int = 0,
) -> Path:
    """Write a prepared corpus in which an emotion is a shift of one bin under one word.

    Args:
        folder: to write into.
        speakers: number of speakers.
        each: utterances of each speaker; emotions take turns.
        frame_size: values of a frame.
        seed: of frames, words and spans.
        unlike: each speaker says a word that no other says, and has an emotion that is rarer than others.
        layers: more than one makes frames like a speech encoder's: every 20 ms, in half precision, an emotion in the
            last layer alone.
        copies: speeds of the copies of each utterance: its frames, more or fewer of them, each a little changed.
        word_layers: layers of a text encoder that says `WORD_SIZE` values of each word, the same of the same word.

    Returns:
        The folder.
    """
    generator, of_copies = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    rows = []
    for speaker in range(speakers):
        for take in range(each):
            emotion = take % len(EMOTIONS)
            if unlike and emotion == speaker % len(EMOTIONS) and take >= len(EMOTIONS):
                emotion = (emotion + 1) % len(EMOTIONS)
            word_count = int(generator.integers(2, 6))
            edges = np.sort(generator.choice(np.arange(5, 95), word_count + 1, replace=False))
            frames = generator.normal(size=(100, frame_size)).astype(np.float32)
            loud = int(generator.integers(word_count))
            frames[edges[loud] : edges[loud + 1], emotion] += 3
            if layers > 1:
                noise = generator.normal(size=(50, layers - 1, frame_size))
                frames = np.concatenate([noise, frames[::2, None]], axis=1).reshape(50, -1).astype(np.float16)
            words = list(generator.choice(WORDS, word_count))
            if unlike:
                words[0] = f"word{speaker}"
            rows.append(
                {
                    "id": f"s{speaker}-{take:02}",
                    "audio": f"s{speaker}-{take:02}.wav",
                    "audio_sha256": "0" * 64,
                    "duration": 1.0,
                    "start": 0.0,
                    "speaker": f"s{speaker}",
                    "raw_label": EMOTIONS[emotion],
                    "text": " ".join(WORDS[:word_count]),
                    "words": words,
                    "begin": edges[:-1],
                    "end": edges[1:],
                    "speech_begin": max(edges[0] - 3, 0),
                    "speech_end": min(edges[-1] + 2, 100),
                    "alignment": "imported",
                    "alignment_score": 0.0,
                    "duration_deviation": 0.4,
                    "signal_to_noise": 20.0,
                    "frames": frames.ravel(),
                    "frame_count": frames.shape[0],
                    "frame_size": frames.shape[1],
                    "clipped": 0,
                    "oddities": [],
                    "source_hash": digest([speaker, take]),
                }
            )
            if copies:
                rows[-1] |= _copies(frames, copies, of_copies)
            if word_layers:
                rows[-1] |= _word_features(words, word_layers)
    (folder / "utterances").mkdir(parents=True)
    generator.shuffle(rows)  # type: ignore[arg-type]
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        schema = utterances_schema(pa.float32() if layers == 1 else pa.float16(), part[0])
        pq.write_table(pa.Table.from_pylist(part, schema), folder / "utterances" / f"{name}.parquet")
    settings = feature_settings(experiment(prepare={"copies": {"speed": [*copies]}}))
    CorpusDescription(
        corpus="demo",
        settings=settings,
        settings_hash=digest(settings),
        corpus_hash=digest(seed),
        counts={"utterances": len(rows), "rejected": 0},
        versions={},
        frame_step=160 if layers == 1 else 320,
        layers=layers,
        copies=[*copies],
        word_layers=word_layers,
    ).write(folder)
    return folder


def _copies(frames: np.ndarray, speeds: Sequence[float], generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The columns of copies at some speeds."""
    places = [np.arange(int(len(frames) / speed)) * speed for speed in speeds]
    copies = [frames[place.astype(int)] + generator.normal(0, 0.1, (len(place), frames.shape[1])) for place in places]
    values = np.concatenate([copy.ravel() for copy in copies]).astype(frames.dtype)
    return {"copy_frames": values, "copy_frame_counts": np.array([len(copy) for copy in copies])}


def _word_features(words: Sequence[str], layers: int) -> dict[str, object]:
    """The columns of a text encoder."""
    size = layers * WORD_SIZE
    values = [np.random.default_rng([*word.encode()]).normal(size=size) for word in words]
    features = np.concatenate(values).astype(np.float16)
    return {"word_features": features, "word_feature_size": size, "empty_words": 0, "cut_words": 0}


def write_description(described: Experiment, **counts: int) -> Path:
    """Write the `corpus.json` of an experiment's prepared corpus, and no utterances; returns the folder."""
    folder = prepared_folder(described)
    folder.mkdir(parents=True)
    counts = {"utterances": 1, "rejected": 0} | counts
    CorpusDescription(described.corpus.kind, feature_settings(described), "h", "c", counts, {}).write(folder)
    return folder


def experiment(**sections: dict[str, object]) -> Experiment:
    """A small experiment on the demo protocol."""
    content: dict[str, object] = {
        "name": "small",
        "corpus": {"kind": "demo"},
        "protocol": {"name": "demo/4class"},
        "model": {
            "acoustic": {"channels": [8, 8], "kernels": [3, 2]},
            "semantic": {"embedding": 8},
            "fusion": {"hidden": 8},
        },
        "training": {"epochs": 3, "batch_size": 8, "learning_rate": 0.01},
        # All folds would be looked at: they have fewer than 500 dev utterances.
        "tune": {"folds": [0]},
    }
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}  # type: ignore[dict-item]
    return parse_experiment(content)
