"""Tracking, registry and serving over real servers, each started once."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fgcme import audio
from fgcme.errors import UserError
from fgcme.serving.classifier import Classifier
from fgcme.serving.registry import moving_aliases
from fgcme.tracking import Tracker, prepare_store
from pipelines.cluster.session import free_port
from pipelines.predict import predict
from pipelines.register import register
from tests.fitted_model import save_fitted, write_audio
from tests.store import make_tracker, record_cross_validation
from tests.text_encoder import save_text_encoder

pytestmark = pytest.mark.integration


@contextmanager
def _server(folder: Path, health: str, *arguments: str, **environment: str) -> Iterator[str]:
    """Run `mlflow ARGUMENTS` on a free port until the block ends; yields its address once it is healthy."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            # MLflow finds uvicorn on PATH; its job runner is slow to start and not needed.
            env={
                **os.environ,
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                **environment,
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not _is_up(address + health):
                log_text = (folder / "server.log").read_text(errors="replace")
                assert process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(0.2)
            yield address
        finally:
            # End the whole process group: its leader may already be gone.
            for ending in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(process.pid, ending)
                    process.wait(timeout=20)


def _is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _post(address: str, body: object) -> tuple[int, Any]:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_runs_and_models_on_a_server_are_read_from_other_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("server", "laptop"):
        (tmp_path / name).mkdir()
    database = make_tracker(tmp_path / "server").uri
    arguments = ["server", "--backend-store-uri", database, "--artifacts-destination", str(tmp_path / "kept")]
    with _server(tmp_path / "server", "/health", *arguments, "--workers", "1") as address:
        prepare_store(address)
        tracker = Tracker(address, artifacts=tmp_path / "laptop" / "artifacts")
        parent, folds = record_cross_validation(tracker, tmp_path / "laptop", [0.4, 0.6])
        assert tracker.find_run("latest").info.run_id == parent
        registered = register("demo train", "speech", "champion", address)
        assert registered.run == folds[1]
        # A server creates no registered model twice, whoever asks: that is the lock of promotions.
        refusal = pytest.raises(UserError, match="another process has been moving its aliases")
        with moving_aliases(tracker, "speech"), refusal, moving_aliases(Tracker(address), "speech", patience=0):
            pass
        recording = write_audio(tmp_path / "a.wav")
        capsys.readouterr()
        assert predict("models:/speech@champion", [recording], ["dogs"], "json", tracking_uri=address) == 0
        assert json.loads(capsys.readouterr().out)["label"]
        # A model takes its text encoder along.
        encoder = save_text_encoder(tmp_path / "laptop" / "encoder")
        tags = {"fgcme.kind": "fold", "fgcme.corpus_hash": "c0ffee"}
        run = tracker.create_run(tracker.get_or_create_experiment("demo"), "encoded", tags=tags)
        fitted = save_fitted(tmp_path / "laptop" / "encoded", text_encoder=encoder)
        tracker.log_artifact(run, fitted, "model")
        tracker.end_run(run, "FINISHED")
        expected = Classifier(fitted).predict(audio.read(recording), "the dogs")
        register(run, "encoded", "champion", address)
        shutil.rmtree(encoder)
        capsys.readouterr()
        assert predict("models:/encoded@champion", [recording], ["the dogs"], "json", tracking_uri=address) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["probabilities"] == pytest.approx(expected.probabilities, rel=1e-5)
    assert not (tmp_path / "laptop" / "artifacts").exists(), "a server's artifacts belong to the server"


def test_a_registered_model_is_served_over_http(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    tags = {"fgcme.kind": "fold", "fgcme.corpus_hash": "c0ffee"}
    run = tracker.create_run(tracker.get_or_create_experiment("demo"), "hears or reads", tags=tags)
    fitted = save_fitted(tmp_path / "fitted", modality_dropout=True)
    tracker.log_artifact(run, fitted, "model")
    tracker.end_run(run, "FINISHED")
    registered = register(run, "speech", "champion", tracker.uri)
    recording = write_audio(tmp_path / "a.wav")
    classifier, samples = Classifier(fitted), audio.read(recording)
    expected, heard = classifier.predict(samples, "the dogs"), classifier.predict(samples, None)
    sound = base64.b64encode(recording.read_bytes()).decode()

    def rows(*data: list[str | None]) -> dict[str, Any]:
        return {"dataframe_split": {"columns": ["audio", "text"], "data": list(data)}}

    arguments = ["models", "serve", "-m", registered.uri, "--env-manager", "local"]
    (tmp_path / "server").mkdir()
    with _server(tmp_path / "server", "/ping", *arguments, MLFLOW_TRACKING_URI=tracker.uri) as address:
        status, answer = _post(f"{address}/invocations", rows([sound, "the dogs"]))
        assert status == 200, answer
        (row,) = answer["predictions"]
        assert row["label"] == expected.label
        assert row["probabilities"] == pytest.approx(expected.probabilities, rel=1e-5)
        assert [word["word"] for word in row["words"]] == ["the", "dogs"]
        # The same question in `inputs`, by rows and by columns.
        for inputs in ([{"audio": sound, "text": "the dogs"}], {"audio": [sound], "text": ["the dogs"]}):
            assert _post(f"{address}/invocations", {"inputs": inputs}) == (200, answer)
        # This model does without a text, which may be left out.
        alone = {"dataframe_split": {"columns": ["audio"], "data": [[sound]]}}
        for question in (alone, rows([sound, None]), {"inputs": [{"audio": sound}]}):
            status, answer = _post(f"{address}/invocations", question)
            assert status == 200, answer
            assert answer["predictions"][0]["probabilities"] == pytest.approx(heard.probabilities, rel=1e-5)
        damaged = base64.b64encode(b"no sound").decode()
        status, answer = _post(f"{address}/invocations", rows([sound, "the dogs"], [damaged, "the dogs"]))
        assert status == 400
        assert "row 1: the audio is damaged" in answer["message"]
        # The server accepts the input example that MLflow stores with the model.
        example = next(tmp_path.glob("artifacts/**/serving_input_example.json"))
        status, answer = _post(f"{address}/invocations", json.loads(example.read_text()))
        assert status == 200, answer
