"""An audio folder of Hugging Face: `metadata.jsonl`, a line an utterance, and a file for each.

Source: https://huggingface.co/docs/datasets/audio_dataset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from fgcme.interchange.contract import About, PreparedUtterance, Told
from fgcme.interchange.sounds import name_of, row_of, sound_of

LINKED = "files that are links to where they lie: copy the folder with `cp -rL` to have them in it"


def write(utterances: Iterable[PreparedUtterance], folder: Path, about: About, told: Told) -> None:
    """Write the folder; see `fgcme.interchange.contract.Write`.

    Args:
        utterances: of the corpus.
        folder: to write into.
        about: the corpus.
        told: counts what is cut, linked and left out.
    """
    (folder / "audio").mkdir()
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for number, utterance in enumerate(utterances, start=1):
            if (sound := sound_of(utterance, told)) is None:
                continue
            name = f"audio/{name_of(number, utterance, sound)}"
            if isinstance(sound, Path):
                (folder / name).symlink_to(sound.absolute())
                told.add(LINKED, utterance.id)
            else:
                (folder / name).write_bytes(sound)
            line = {"file_name": name, **row_of(utterance)}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
