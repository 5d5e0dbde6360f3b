"""Many recordings on Ray Data: tasks, whose processes keep the model, answer blocks of them into a folder."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from fgcme import recognition
from fgcme.corpora.contract import Rejection
from fgcme.data import Tasks
from fgcme.experiment import ScalingSettings
from fgcme.files import digest, digest_folder
from fgcme.recognition import Recogniser
from fgcme.report.answer_table import answer_table
from fgcme.report.predictions import Answer
from fgcme.serving.classifier import Classifier
from pipelines.cluster import Progress, concurrent_slots, driver_lock, map_blocks, ray_session, require_slot
from pipelines.predicting import folder as answers
from pipelines.predicting.answering import answer_recording
from pipelines.predicting.sources import Source, Sources

# Recordings of a block, and of their answers those that wait in memory.
_BLOCK, _WAITING = 16, 256
_SOURCE = pa.schema(
    [(name, pa.string()) for name in ("audio", "name", "text", "words_from")]
    + [(name, pa.float64()) for name in ("start", "end")]
)


@dataclass(frozen=True)
class AnswerTask:
    """What a process needs to know besides its blocks: plain values, valid on every node.

    Attributes:
        model: folder of the fitted model.
        transcribe: recogniser of what is said where nobody knows; None for none.
        language: that it is told.
        longest: seconds of an utterance; None for as many as the model hears.
    """

    model: Path
    transcribe: str | None
    language: str
    longest: float | None

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the answers."""
        return {
            "model": digest_folder(self.model),
            "transcribe": self.transcribe,
            "language": self.language,
            "longest": self.longest,
        }


def answer_on_ray(sources: Sources, task: AnswerTask, destination: Path, workers: int | None) -> answers.Summary:
    """Answer recordings into a folder; what is there already is not done again.

    Args:
        sources: the recordings.
        task: how to answer.
        destination: the folder, on a disk that all nodes share.
        workers: how many processes; None for as many as there is room for.

    Raises:
        UserError: the folder is another model's or in use, Ray has no room, or a process cannot load the model.
    """
    with driver_lock(destination, f"answers in {destination.name}"):
        answers.claim(destination, task.settings)
        done = answers.take_up(destination)
        listed = answers.rejected_table(sources.rejections, [""] * len(sources.rejections))
        answers.write_part(destination, "rejected", "listing", listed)
        keys = [source.key for source in sources.found]
        left = [source for source, key in zip(sources.found, keys, strict=True) if key not in done]
        already = len(keys) - len(left)
        with Progress("recording", {"recording": len(left)}, already, failed_word="not answered") as progress:
            if left:
                with _model_on_all_nodes(task, destination) as shared:
                    _answer(left, shared, destination, workers, progress)
        return answers.summarise(destination)


@contextmanager
def _model_on_all_nodes(task: AnswerTask, destination: Path) -> Iterator[AnswerTask]:
    """The same task with a copy of its model in the folder, which all nodes share; it is deleted at the end."""
    copy = destination / "model"
    try:
        shutil.copytree(task.model, copy, dirs_exist_ok=True)
        yield replace(task, model=copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _answer(
    left: Sequence[Source], task: AnswerTask, destination: Path, workers: int | None, progress: Progress
) -> None:
    with ray_session():
        rows = [left[first : first + _BLOCK] for first in range(0, len(left), _BLOCK)]
        needs = ScalingSettings()
        require_slot(needs, "answering recordings")
        concurrent_slots(needs, "one block of recordings", len(rows), progress.say)
        tables = (pa.Table.from_pylist([vars(source) for source in some], schema=_SOURCE) for some in rows)
        arguments = {"task": task, "destination": destination}
        for outcomes in map_blocks(answer_block, tables, needs, arguments, workers):
            answered = outcomes["answered"].to_pylist()
            progress.advance("recording", len(answered), answered.count(False))


def answer_block(block: pa.Table, task: AnswerTask, destination: Path) -> pa.Table:
    """Answer a block of recordings and write what comes of it into the folder. Runs on a worker.

    Args:
        block: the recordings, a row each.
        task: how to answer.
        destination: the folder.

    Returns:
        Of each recording, whether any of it was answered.
    """
    classifier, recogniser = _load(task)
    sources = [Source(**row) for row in block.to_pylist()]
    keys = [source.key for source in sources]
    # Named by what they answer, so that a block that is done twice writes the same parts.
    name = f"part-{digest(keys)}"
    waiting: list[tuple[str, Answer]] = []
    rejected: list[tuple[str, Rejection]] = []
    answered: list[bool] = []
    parts = 0
    for source, key in zip(sources, keys, strict=True):
        of_one = list(answer_recording(classifier, source, recogniser, task.longest))
        waiting += [(key, each) for each in of_one if isinstance(each, Answer)]
        rejected += [(key, each) for each in of_one if isinstance(each, Rejection)]
        answered.append(any(isinstance(each, Answer) for each in of_one))
        # What has answers is done, so its rejections are written before.
        if len(waiting) >= _WAITING or len(answered) == len(sources):
            _write(destination, f"{name}-{parts}", waiting, rejected, classifier.spec.tasks)
            waiting, rejected, parts = [], [], parts + 1
    return pa.table({"answered": answered})


@functools.lru_cache(maxsize=1)
def _load(task: AnswerTask) -> tuple[Classifier, Recogniser | None]:
    """The model and the recogniser of a process, which it loads once."""
    # Ray runs one task per CPU, so a task must not use more.
    torch.set_num_threads(1)
    recogniser = None if task.transcribe is None else recognition.build(task.transcribe, task.language)
    return Classifier(task.model), recogniser


def _write(
    destination: Path,
    name: str,
    answered: Sequence[tuple[str, Answer]],
    rejected: Sequence[tuple[str, Rejection]],
    tasks: Tasks,
) -> None:
    if rejected:
        table = answers.rejected_table([each for _, each in rejected], [key for key, _ in rejected])
        answers.write_part(destination, "rejected", name, table)
    if answered:
        table = answer_table([each for _, each in answered], tasks, {answers.KEY: [key for key, _ in answered]})
        answers.write_part(destination, "answers", name, table)
