"""An ONNX file answers as the model does, whatever an utterance's size, or there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from fgcme.data import Tasks
from fgcme.errors import UserError
from fgcme.export import onnx_file
from fgcme.export.graph import Graph
from fgcme.export.onnx_file import TOLERANCE, compare, write_onnx
from fgcme.export.random_utterances import random_utterances
from tests.fgcme.export.fitted_variants import CLASSES, WORDS, fitted_variant

# A trace could go wrong in each: segments, what is beside them, LSTMs over frames, attention, counts of words.
TRACED = [
    "recommended",
    "softmax",
    "even_speech",
    "late_fusion",
    "learned_alignment",
    "ctc_alignment",
    "framewise_text",
]


@pytest.mark.parametrize("name", TRACED)
def test_onnxruntime_answers_as_torch(name: str, tmp_path: Path) -> None:
    comparison = write_onnx([fitted_variant(name)], tmp_path / "model.onnx")
    assert (comparison.utterances, comparison.size) == (200, (tmp_path / "model.onnx").stat().st_size)
    assert comparison.difference < TOLERANCE
    assert all(seconds > 0 for seconds in comparison.seconds.values())


def test_the_file_says_what_it_takes_and_what_it_answers(tmp_path: Path) -> None:
    members = [fitted_variant("fgcme", seed) for seed in range(2)]
    write_onnx(members, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    told = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
    assert list(told["inputs"]) == [each.name for each in session.get_inputs()] == ["frames", "begin", "end", "words"]
    assert [each.shape for each in session.get_inputs()] == [["frames", 8], ["words"], ["words"], ["words"]]
    assert told["classes"] == CLASSES and told["words"] == sorted(WORDS[:9])
    assert told["prepare"]["features"]["kind"] == "log_mel"
    words = [told["words"].index("word3") + 2]
    given = {"frames": np.zeros((9, 8), np.float32), "begin": [2], "end": [5], "words": words}
    logits, probabilities = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    assert probabilities.sum() == pytest.approx(1) and probabilities.argmax() == logits.argmax()


@pytest.mark.parametrize("classes", [[], CLASSES], ids=["ratings", "classes and ratings"])
def test_ratings_are_an_output_on_their_own_scales(classes: list[str], tmp_path: Path) -> None:
    tasks = Tasks(classes, {"valence": (1, 5), "arousal": (1, 7)})
    members = [fitted_variant("fgcme", seed, tasks=tasks) for seed in range(2)]
    assert write_onnx(members, tmp_path / "model.onnx").difference < TOLERANCE
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    outputs = ["logits", "probabilities", "ratings"] if classes else ["ratings"]
    assert [each.name for each in session.get_outputs()] == outputs
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["dimensions"]) == {"valence": [1, 5], "arousal": [1, 7]}
    utterance = next(random_utterances(Graph(members), 1))
    with torch.no_grad():
        mean = torch.cat(
            [network(batch).logits for (network, _), batch in zip(members, utterance.batches, strict=True)]
        )
    *_, ratings = session.run(None, {name: tensor.numpy() for name, tensor in utterance.given.items()})
    np.testing.assert_allclose(ratings, tasks.unscaled(mean.mean(0)[len(classes) :].numpy()), rtol=1e-4)


def test_a_file_that_answers_otherwise_is_found_out_and_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    members = [fitted_variant("fgcme")]
    write_onnx(members, path)
    model = onnx.load(str(path))
    (bias,) = [each for each in model.graph.initializer if each.name.endswith("classify.bias")]
    bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + np.float32(0.01)).tobytes()
    onnx.save(model, str(tmp_path / "wrong.onnx"))
    assert compare(Graph(members), members, tmp_path / "wrong.onnx").difference == pytest.approx(0.01, abs=1e-4)
    before = path.read_bytes()
    monkeypatch.setattr(onnx_file, "TOLERANCE", 1e-12)
    with pytest.raises(UserError, match=r"not written: ONNX differs from the model by .* over 200 random utterances"):
        write_onnx(members, path)
    assert path.read_bytes() == before and {each.name for each in tmp_path.iterdir()} == {"model.onnx", "wrong.onnx"}


def test_threads_are_as_before(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    write_onnx([fitted_variant("mean")], tmp_path / "model.onnx")
    assert torch.get_num_threads() == threads
