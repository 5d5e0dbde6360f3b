"""A graph as an ONNX file: written, compared with the model on random utterances, and timed.

PyTorch's tracing exporter writes it. What a trace would get wrong, a size taken for a constant, the comparison finds: a
file that answers otherwise than the model is not left behind.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fgcme.errors import UserError
from fgcme.export.graph import MEANINGS, Graph
from fgcme.export.random_utterances import RandomUtterance, random_utterances
from fgcme.files import atomic_write
from fgcme.model import Network
from fgcme.serving.fitted import ModelSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

UTTERANCES = 200
TOLERANCE = 1e-4
_OPSET = 18


@dataclass(frozen=True)
class Comparison:
    """An ONNX file beside the model that it was made of.

    Attributes:
        utterances: random ones that both were asked about.
        difference: the largest of a logit, or of a rating on its own scale.
        seconds: median time of an answer, by `torch` and by `onnxruntime`, on one thread.
        size: of the file, in bytes.
        what: the difference is of.
    """

    utterances: int
    difference: float
    seconds: dict[str, float]
    size: int
    what: str = "a logit"


def write_onnx(members: Sequence[tuple[Network, ModelSpec]], path: Path) -> Comparison:
    """Write a model, or an ensemble, as an ONNX file that takes any number of frames and words.

    Beside the graph the file holds, as metadata, what its inputs mean, the classes, the ratings with
    their scales, the words and how speech was
    prepared.

    Args:
        members: as `fgcme.serving.ensemble.load` returns them.
        path: of the file; replaced if it exists.

    Raises:
        UserError: ONNX is not installed, the model cannot be one graph, or the file answers otherwise than the model.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"--onnx needs the package {error.name}: install fgcme with its extra, `fgcme[onnx]`") from None
    graph = Graph(members).eval()
    with atomic_write(path) as partial:
        _trace(graph, partial)
        model = onnx.load(str(partial))
        onnx.helper.set_model_props(model, _metadata(graph))
        onnx.checker.check_model(model, full_check=True)
        partial.write_bytes(model.SerializeToString())
        comparison = compare(graph, members, partial)
        if not comparison.difference <= TOLERANCE:
            raise UserError(
                f"{path}: not written: ONNX differs from the model by {comparison.difference:.1e} in "
                f"{comparison.what}, over {comparison.utterances} random utterances, where {TOLERANCE:.0e} is allowed"
            )
    return comparison


def compare(graph: Graph, members: Sequence[tuple[Network, ModelSpec]], path: Path) -> Comparison:
    """Ask an ONNX file and its model about the same random utterances.

    Args:
        graph: of the model.
        members: the model.
        path: of the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        differences, seconds = [], []
        for utterance in random_utterances(graph, UTTERANCES):
            expected, by_torch = _by_torch(graph, members, utterance)
            found, by_onnx = _by_onnx(session, graph, utterance)
            differences.append(float(np.abs(found - expected).max()))
            seconds.append((by_torch, by_onnx))
    finally:
        torch.set_num_threads(threads)
    medians = [statistics.median(column) for column in zip(*seconds, strict=True)]
    # Of differences of which one is not a number, the maximum is none either.
    largest = float(np.max(differences))
    names = ("torch", "onnxruntime")
    what = "a logit or a rating" if len(graph.outputs) > 2 else ("a logit" if graph.tasks.classes else "a rating")
    return Comparison(len(differences), largest, dict(zip(names, medians, strict=True)), path.stat().st_size, what)


@torch.no_grad()
def _by_torch(
    graph: Graph, members: Sequence[tuple[Network, ModelSpec]], utterance: RandomUtterance
) -> tuple[np.ndarray, float]:
    """The logits and the ratings that the members give together, and how long they take."""
    start = time.perf_counter()
    answers = [network(batch).logits for (network, _), batch in zip(members, utterance.batches, strict=True)]
    answered = graph.answer(torch.cat(answers).mean(0))
    seconds = time.perf_counter() - start
    return _compared(graph, [each.numpy() for each in answered]), seconds


def _by_onnx(session: InferenceSession, graph: Graph, utterance: RandomUtterance) -> tuple[np.ndarray, float]:
    given: dict[str, Any] = {name: tensor.numpy() for name, tensor in utterance.given.items()}
    start = time.perf_counter()
    answered = session.run(graph.outputs, given)
    seconds = time.perf_counter() - start
    return _compared(graph, answered), seconds


def _compared(graph: Graph, answered: Sequence[np.ndarray]) -> np.ndarray:
    """The logits and the ratings of an answer; probabilities follow from the former."""
    named = zip(graph.outputs, answered, strict=True)
    return np.concatenate([values for name, values in named if name != "probabilities"])


def _trace(graph: Graph, path: Path) -> None:
    # One of several frames and words: a trace of one word would miss what more of them need.
    *_, example = random_utterances(graph, 12)
    sized: dict[str, dict[int, str]] = {
        name: {0: "frames" if name == "frames" else "words"} for name in graph.inputs if name != "speech"
    }
    with warnings.catch_warnings():
        # It warns of being the older exporter, and of LSTMs with several utterances at once, of which there are none.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            tuple(example.given.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=sized,
            opset_version=_OPSET,
            dynamo=False,
        )


def _metadata(graph: Graph) -> dict[str, str]:
    """What a reader of the file needs besides the graph; each value is JSON."""
    spec = graph.spec
    content: dict[str, Any] = {
        "inputs": {name: MEANINGS[name] for name in graph.inputs},
        "classes": spec.classes,
        "dimensions": spec.dimensions,
        "words": graph.words,
        "prepare": spec.prepare.model_dump(mode="json"),
        "acoustic": spec.model.acoustic.model_dump(mode="json"),
        "frame_limit": spec.frame_limit,
    }
    return {name: json.dumps(value) for name, value in content.items()}
