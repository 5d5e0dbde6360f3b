"""Recordings are predicted one by one; a bad one costs one line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme.errors import UserError
from pipelines.predict import predict
from tests.fitted_model import CLASSES, save_fitted, write_audio
from tests.speech import say


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_fitted(tmp_path_factory.mktemp("model")))


def test_all_files_share_one_text_or_each_has_its_own(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write_audio(tmp_path / f"{number}.wav", seed=number) for number in range(2)]

    def words(texts: list[str]) -> list[list[str]]:
        assert predict(model, files, texts, "json") == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [[word["word"] for word in line["words"]] for line in lines]

    assert words(["the dogs"]) == [["the", "dogs"], ["the", "dogs"]]
    assert words(["the dogs", "by the door"]) == [["the", "dogs"], ["by", "the", "door"]]


def test_only_a_model_with_modality_dropout_answers_without_a_text(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_audio(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"reads words as well as sound: say what is said with --text .*--transcribe"):
        predict(model, [file], [])
    either = str(save_fitted(tmp_path / "either", modality_dropout=True))
    assert predict(either, [file], [], "json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["text"] == "" and answer["words"] == [] and set(answer["probabilities"]) == set(CLASSES)
    for output in ("table", "csv", "textgrid"):
        assert predict(either, [file], [], output) == 0  # type: ignore[arg-type]


def test_what_nobody_has_written_down_is_recognised(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, _ = say("we are going home", voice="en-us+f3")
    file = tmp_path / "a.wav"
    soundfile.write(file, samples, 16_000)
    assert predict(model, [file], [], "json", transcribe="sphinx") == 0
    recognised = json.loads(capsys.readouterr().out)
    assert recognised["words_from"] == "recognised by sphinx" and recognised["text"] == "we are going home"
    assert predict(model, [file], ["the dogs"], "json", transcribe="sphinx") == 0
    assert json.loads(capsys.readouterr().out)["words_from"] == "given"
    with pytest.raises(UserError, match="--transcribe nowhere: no speech recogniser"):
        predict(model, [file], [], transcribe="nowhere")


def test_bad_files_are_one_line_each_and_the_others_are_predicted(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_audio(tmp_path / "whole.wav").read_bytes()
    contents = {
        "text.wav": b"this is a text, not a recording\n",
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        "cut.wav": whole[: len(whole) // 2],
        "empty.wav": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / name for name in [*contents, "missing.wav", "whole.wav"]]
    assert predict(model, files, ["the dogs"], "csv") == 1
    printed = capsys.readouterr()
    errors = printed.err.splitlines()
    assert len(errors) == 5
    for line, name in zip(errors, [*contents, "missing.wav"], strict=True):
        assert name in line
    assert "git lfs pull" in errors[1]
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["unit"] for row in rows] == ["utterance", "word", "word"]
    assert all(row["audio"].endswith("whole.wav") for row in rows)
    assert list(rows[0])[-3:] == CLASSES


def test_what_is_odd_about_a_recording_is_said_beside_its_answer(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    soundfile.write(tmp_path / "odd.wav", 32_768 * noise, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "ordinary.wav", np.stack([noise, noise], axis=1), 48_000)
    assert predict(model, [tmp_path / "odd.wav", tmp_path / "ordinary.wav"], ["the dogs"], "json") == 0
    odd, ordinary = (json.loads(line)["notes"] for line in capsys.readouterr().out.splitlines())
    assert (odd, ordinary) == (["scaled from the range of integers"], [])


def test_a_text_without_words_fails_its_own_file_only(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write_audio(tmp_path / f"{number}.wav") for number in range(2)]
    assert predict(model, files, ["...", "dogs"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(str(files[0]))
    assert printed.out.startswith(str(files[1]))


def test_normalisation_by_recording_instead_of_speaker_is_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_fitted(tmp_path / "model")
    content = json.loads((folder / "model.json").read_text())
    content["model"]["acoustic"]["normalisation"] = "speaker"
    (folder / "model.json").write_text(json.dumps(content))
    files = [write_audio(tmp_path / f"{number}.wav") for number in range(2)]
    assert predict(str(folder), files, ["dogs"], "json") == 0
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert "each recording is normalised by itself" in printed.err
    assert len(printed.out.splitlines()) == 2


def test_textgrids_go_into_a_folder_and_a_single_one_may_be_printed(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write_audio(tmp_path / f"{number}.wav") for number in range(2)]
    assert predict(model, files, ["the dogs"], "textgrid", tmp_path / "grids" / "new") == 0
    for number in range(2):
        assert 'text = "dogs"' in (tmp_path / "grids" / "new" / f"{number}.TextGrid").read_text()
    capsys.readouterr()
    assert predict(model, files[:1], ["the dogs"], "textgrid") == 0
    assert capsys.readouterr().out.startswith('File type = "ooTextFile"')


def test_that_words_have_no_contributions_is_reported_once_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_fitted(tmp_path / "model", average_word=False)
    files = [write_audio(tmp_path / f"{number}.wav") for number in range(2)]
    assert predict(str(folder), files, ["dogs"], "json") == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("no contributions of words: the model was fitted by a version")
    assert len(printed.err.splitlines()) == 1
    assert {json.loads(line)["base"] for line in printed.out.splitlines()} == {None}


@pytest.mark.parametrize(
    ("files", "texts", "output", "folder", "message"),
    [
        ([], ["a"], "table", None, "no audio is given"),
        (["a.wav", "b.wav", "c.wav"], ["a", "b"], "table", None, "2 texts for 3 files"),
        (["a.wav"], [" "], "table", None, "a.wav: its text is empty"),
        (["a.wav", "b.wav"], ["a"], "textgrid", None, "--output FOLDER"),
        (["x/a.wav", "y/a.wav"], ["a"], "textgrid", "grids", "2 recordings would be written to grids/a.TextGrid"),
        (["a.wav"], ["a"], "json", "grids", "--output takes a folder or FILE.parquet, and no --format but textgrid"),
        (["a.wav"], ["a"], "textgrid", "a.parquet", "--output takes a folder or FILE.parquet"),
    ],
)
def test_wrong_arguments_are_refused_before_the_model_is_loaded(
    files: list[str], texts: list[str], output: str, folder: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predict(
            "models:/nowhere@champion",
            [Path(file) for file in files],
            texts,
            output,  # type: ignore[arg-type]
            None if folder is None else Path(folder),
            "http://127.0.0.1:9",
        )


def test_predicting_imports_neither_ray_nor_for_a_folder_mlflow(model: str, tmp_path: Path) -> None:
    recording = write_audio(tmp_path / "a.wav")
    code = (
        "import sys; from pathlib import Path; from pipelines.predict import predict;"
        f"assert predict({model!r}, [Path({str(recording)!r})], ['dogs']) == 0;"
        "sys.exit(' '.join({'ray', 'mlflow', 'optuna', 'transformers'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_a_parquet_file_gets_all_answers_and_lines_say_what_was_passed_over(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(2):
        write_audio(tmp_path / "in" / f"{number}.wav", seed=number)
    (tmp_path / "in" / "0.lab").write_text("the dogs")
    (tmp_path / "in" / "notes.md").write_text("")
    # Of one of them nobody knows what is said.
    assert predict(model, [tmp_path / "in"], destination=tmp_path / "new" / "a.parquet") == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == "passed over in folders, as no recordings: 1 .md"
    assert errors[1].startswith(str(tmp_path / "in" / "1.wav")) and "there is no text" in errors[1]
    (row,) = pq.read_table(tmp_path / "new" / "a.parquet").to_pylist()
    assert (row["text"], row["words_from"]) == ("the dogs", "given in 0.lab")


def test_a_length_or_a_number_of_workers_that_means_nothing_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--longest 0\.5: an utterance has at least 1 s"):
        predict(model, [tmp_path / "a.wav"], longest=0.5)
    with pytest.raises(UserError, match="--workers is for --output FOLDER"):
        predict(model, [tmp_path / "a.wav"], workers=2)
