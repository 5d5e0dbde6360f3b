"""Preparing on Ray Data: only missing utterances are prepared, each is stored once, and rejections are reported."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import soundfile

from fgcme import prepared
from fgcme.data import SpeechCorpus
from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from pipelines import cli, prepare
from pipelines.runs.corpus import locate_prepared, prepared_folder
from tests.integration.conftest import PATIENCE, descendants, wait_for
from tests.speech import say
from tests.text_encoder import save_text_encoder

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

TEXT = "dogs are sitting by the door"


class Corpus:
    """A manifest corpus on disk: one spoken sentence, listed as many times as a test needs."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.rows = [
            {
                "id": f"u{number:03d}",
                "audio": "speech.wav",
                "text": TEXT,
                "label": "sad",
                "speaker": f"{number % 4:02d}",
            }
            for number in range(count)
        ]
        folder.mkdir()
        soundfile.write(folder / "speech.wav", say(TEXT)[0], 16_000)

    def experiment(self, **prepare_settings: Any) -> Experiment:
        manifest = self.folder / "list.csv"
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "audio", "text", "label", "speaker", "start", "end"])
            writer.writeheader()
            writer.writerows(self.rows)
        return parse_experiment(
            {
                "name": "mine",
                "corpus": {"kind": "manifest", "manifest": str(manifest)},
                "protocol": {"name": "mine"},
                "prepare": prepare_settings,
                "storage": {"path": str(self.folder / "storage")},
            }
        )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return Corpus(tmp_path / "corpus", count=6)


def wdseg(edge: int) -> str:
    """An alignment of the words, the first two of which meet at a frame."""
    edges = (0, edge, 36, 42, 48, 54, 60)
    spans = zip(edges[:-1], edges[1:], TEXT.upper().split(), strict=True)
    lines = [f"{begin} {end - 1} -100 {word}" for begin, end, word in spans]
    return "\n".join(["SFrm EFrm SegAScr Word", *lines, "Total score: -600", ""])


def rows(folder: Path, kind: str = "utterances") -> list[dict[str, Any]]:
    found = [row for path in (folder / kind).glob("*.parquet") for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted(found, key=lambda row: str(row["id"]))


def test_a_corpus_is_prepared_counted_and_described(corpus: Corpus, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = corpus.experiment()
    summary = prepare.run(experiment, next_command="fgcme train mine.yaml")
    assert (summary.utterances, summary.newly_prepared, summary.aligned) == (6, 6, {"sphinx": 6})
    assert locate_prepared(experiment) == summary.folder
    assert [row["id"] for row in rows(summary.folder)] == [row["id"] for row in corpus.rows]
    assert rows(summary.folder)[1]["speaker"] == "01"
    description = prepared.read_description(summary.folder)
    assert description.counts == {"utterances": 6, "rejected": 0, "aligned.sphinx": 6}
    assert description.corpus_hash == prepared.corpus_hash(summary.folder, description.settings_hash)
    printed = capfd.readouterr()
    assert "utterances 6/6" in printed.err
    assert "rejected" not in printed.err
    assert "6 sphinx" in printed.out
    assert printed.out.endswith("next: fgcme train mine.yaml\n")


def test_preparing_again_changes_only_new_changed_and_removed_utterances(corpus: Corpus) -> None:
    folder = prepare.run(corpus.experiment(), verbose=False).folder
    untouched = {path: path.stat().st_mtime_ns for path in folder.glob("utterances/*.parquet")}
    first_hash = prepared.read_description(folder).corpus_hash
    os.utime(corpus.folder / "speech.wav", (0, 0))
    assert prepare.run(corpus.experiment(), verbose=False).newly_prepared == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("utterances/*.parquet")} == untouched
    assert prepared.read_description(folder).corpus_hash == first_hash

    corpus.rows[2]["label"] = "happy"
    del corpus.rows[4]
    corpus.rows.append({**corpus.rows[0], "id": "u999"})
    summary = prepare.run(corpus.experiment(), verbose=False)
    assert (summary.utterances, summary.newly_prepared) == (6, 2)
    labels = {row["id"]: row["raw_label"] for row in rows(folder)}
    assert labels == {row["id"]: row["label"] for row in corpus.rows}
    assert prepared.read_description(folder).corpus_hash != first_hash


def test_a_rejected_utterance_is_reported_and_retried(corpus: Corpus, capfd: pytest.CaptureFixture[str]) -> None:
    corpus.rows[3]["audio"] = "other.wav"
    summary = prepare.run(corpus.experiment(max_rejected=0.5))
    assert [(rejection.id, rejection.reason) for rejection in summary.rejected] == [("u003", "missing")]
    assert "missing: 1, such as u003" in capfd.readouterr().out
    assert [row["stage"] for row in rows(summary.folder, "rejected")] == ["read"]

    soundfile.write(corpus.folder / "other.wav", say(TEXT)[0], 16_000)
    summary = prepare.run(corpus.experiment(max_rejected=0.5), verbose=False)
    assert (summary.utterances, summary.newly_prepared, summary.rejected) == (6, 1, [])
    assert rows(summary.folder, "rejected") == []


def test_too_many_rejections_fail_and_keep_the_prepared_utterances(corpus: Corpus) -> None:
    for row in corpus.rows[:2]:
        row["audio"] = "silent.wav"
    soundfile.write(corpus.folder / "silent.wav", np.zeros(16_000), 16_000)
    experiment = corpus.experiment(max_rejected=0.3)
    with pytest.raises(
        UserError, match=r"33\.3% of the corpus is rejected, above prepare\.max_rejected=0\.3.*rejected"
    ):
        prepare.run(experiment, verbose=False)
    assert len(rows(prepared_folder(experiment))) == 4
    assert {row["reason"] for row in rows(prepared_folder(experiment), "rejected")} == {"silent"}
    assert prepare.run(corpus.experiment(max_rejected=0.34), verbose=False).newly_prepared == 0


def test_manifest_rows_without_a_value_count_as_rejected(corpus: Corpus) -> None:
    corpus.rows[0]["label"] = ""
    with pytest.raises(UserError, match=r"16\.7% of the corpus is rejected"):
        prepare.run(corpus.experiment(), verbose=False)


def test_a_corpus_with_no_prepared_utterance_fails(corpus: Corpus) -> None:
    (corpus.folder / "speech.wav").unlink()
    with pytest.raises(UserError, match="no utterance could be prepared"):
        prepare.run(corpus.experiment(max_rejected=1.0), verbose=False)


def test_a_worker_s_error_about_settings_reaches_the_user_in_one_line(corpus: Corpus) -> None:
    nowhere = corpus.folder / "nowhere"
    with pytest.raises(UserError, match="nowhere") as caught:
        prepare.run(corpus.experiment(alignment={"method": "ctc", "checkpoint": str(nowhere)}), verbose=False)
    assert "\n" not in str(caught.value)


def test_rows_whose_audio_cannot_be_reached_stay_and_the_verb_fails(
    corpus: Corpus, capfd: pytest.CaptureFixture[str]
) -> None:
    audio = corpus.folder / "audio"
    audio.mkdir()
    (corpus.folder / "speech.wav").rename(audio / "speech.wav")
    for row in corpus.rows:
        row["audio"] = "audio/speech.wav"
    folder = prepare.run(corpus.experiment(), verbose=False).folder
    before = rows(folder)

    audio.rename(corpus.folder / "renamed")
    # Gone from the list: its row goes, whether its audio can be reached or not.
    del corpus.rows[5]
    settings = corpus.folder / "experiment.yaml"
    settings.write_text(corpus.experiment().to_yaml())
    capfd.readouterr()
    assert cli.main(["prepare", str(settings)]) == 2
    printed = capfd.readouterr()
    assert "5 utterances kept whose audio or imported alignment cannot be reached: audio/speech.wav" in printed.out
    assert re.search(r"5 utterances kept .*, such as audio/speech\.wav: mount its disk", printed.err)
    assert rows(folder) == before[:5]
    assert len(SpeechCorpus(locate_prepared(corpus.experiment()))) == 5

    (corpus.folder / "renamed").rename(audio)
    assert prepare.run(corpus.experiment(), verbose=False).newly_prepared == 0


def aligned_elsewhere(corpus: Corpus) -> tuple[Path, Experiment]:
    """A folder with an alignment of each utterance, and the experiment that imports them."""
    folder = corpus.folder / "alignments"
    folder.mkdir()
    for row in corpus.rows:
        (folder / f"{row['id']}.wdseg").write_text(wdseg(20))
    return folder, corpus.experiment(alignment={"method": "imported", "folder": str(folder)})


def test_a_corrected_alignment_makes_its_row_anew_and_no_other(corpus: Corpus) -> None:
    folder, experiment = aligned_elsewhere(corpus)
    prepared_now = prepare.run(experiment, verbose=False).folder
    before = SpeechCorpus(prepared_now)

    (folder / "u003.wdseg").write_text(wdseg(30))
    assert prepare.run(experiment, verbose=False).newly_prepared == 1
    after = SpeechCorpus(prepared_now)
    assert after.description.corpus_hash != before.description.corpus_hash
    ends = [after.spans(index)[1].tolist() for index in range(6)]
    assert ends == [[edge, 36, 42, 48, 54, 60] for edge in (20, 20, 20, 30, 20, 20)]
    assert prepare.run(experiment, verbose=False).newly_prepared == 0


def test_a_row_whose_imported_alignment_is_gone_stays_and_the_verb_fails(corpus: Corpus) -> None:
    folder, experiment = aligned_elsewhere(corpus)
    prepared_now = prepare.run(experiment, verbose=False).folder
    before = rows(prepared_now)
    (folder / "u003.wdseg").rename(folder / "renamed.wdseg")
    with pytest.raises(UserError, match=r"1 utterance kept whose audio or imported alignment cannot be reached"):
        prepare.run(experiment, verbose=False)
    assert rows(prepared_now) == before
    (folder / "renamed.wdseg").rename(folder / "u003.wdseg")
    assert prepare.run(experiment, verbose=False).newly_prepared == 0


def test_moved_segments_are_made_anew_and_trained_on(corpus: Corpus) -> None:
    for row in corpus.rows:
        row |= {"start": 0.0, "end": 0.8}
    uniform = corpus.experiment(alignment={"method": "uniform"})
    folder = prepare.run(uniform, verbose=False).folder
    before = [SpeechCorpus(folder).frames(index).copy() for index in range(6)]

    corpus.rows[2] |= {"start": 0.1, "end": 0.9}
    assert prepare.run(corpus.experiment(alignment={"method": "uniform"}), verbose=False).newly_prepared == 1
    after = SpeechCorpus(folder)
    same = [np.array_equal(after.frames(index), before[index]) for index in range(6)]
    assert same == [True, True, False, True, True, True]


def test_a_corpus_that_was_copied_elsewhere_needs_no_preparing(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = prepare.run(corpus.experiment(), verbose=False).folder
    description, before = prepared.read_description(folder), rows(folder)
    # With its prepared corpus, which belongs to the list's old place.
    shutil.copytree(corpus.folder, tmp_path / "copy")
    os.utime(tmp_path / "copy" / "speech.wav", (0, 0))
    corpus.folder = tmp_path / "copy"
    damaged = shutil.copytree(folder, tmp_path / "copy" / "storage" / "prepared" / "damaged")
    for part in damaged.glob("utterances/*.parquet"):
        part.write_bytes(part.read_bytes()[:-20])
    summary = prepare.run(corpus.experiment())
    assert (summary.utterances, summary.newly_prepared) == (6, 0)
    assert summary.folder.parent == tmp_path / "copy" / "storage" / "prepared" and rows(summary.folder) == before
    printed = capfd.readouterr().out
    assert f"6 utterances are the same as in {summary.folder.parent / folder.name}" in printed
    assert f"rows of {damaged} cannot be copied: " in printed
    assert prepared.read_description(locate_prepared(corpus.experiment())).counts == description.counts


@pytest.mark.survival
def test_a_killed_preparation_resumes(tmp_path: Path) -> None:
    experiment = Corpus(tmp_path / "corpus", count=400).experiment()
    settings = tmp_path / "experiment.yaml"
    settings.write_text(experiment.to_yaml())
    code = (
        "import sys; from fgcme.experiment import load_experiment\n"
        "from pipelines import prepare; prepare.run(load_experiment(sys.argv[1]))"
    )
    # The killed Ray leaves files here; the path is short, because a socket's path must be.
    temporary = tempfile.TemporaryDirectory(prefix="kill-", ignore_cleanup_errors=True)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment["TMPDIR"] = temporary.name
    driver = subprocess.Popen([sys.executable, "-c", code, str(settings)], env=environment, stderr=subprocess.DEVNULL)
    folder = prepared_folder(experiment)

    def three_parts() -> bool:
        assert driver.poll() is None, "the driver ended before it could be killed"
        return len(list(folder.glob("utterances/*.parquet"))) >= 3

    wait_for(three_parts, every=0.02)
    ray_processes = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    # They end with the driver, a moment later.
    _, left = psutil.wait_procs(ray_processes, timeout=PATIENCE)
    assert left == []
    temporary.cleanup()
    with pytest.raises(UserError, match=re.compile("utterances are not prepared yet")):
        locate_prepared(experiment)
    survived = rows(folder)

    summary = prepare.run(experiment, verbose=False)
    assert summary.utterances == 400
    assert 0 < summary.newly_prepared < 400
    assert [row["id"] for row in rows(folder)] == [f"u{number:03d}" for number in range(400)]
    assert all(row in rows(folder) for row in survived)
    assert len(list(folder.glob("utterances/*.parquet"))) == 1, "small parts are merged"
    assert not list(folder.rglob("*.partial"))
    assert prepared.read_description(locate_prepared(experiment)).counts["utterances"] == 400


def test_copies_are_prepared_beside_their_utterances_and_once(
    corpus: Corpus, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = prepare.run(corpus.experiment(), verbose=False)
    summary = prepare.run(corpus.experiment(copies={"speed": [1.1, 0.9]}))
    printed = capfd.readouterr().out
    assert f"{plain.folder} has other copies: a row holds its copies, so all utterances are prepared anew" in printed
    assert "utterances: 6, each at 3 speeds (6 prepared now" in printed
    again = prepare.run(corpus.experiment(copies={"speed": [0.9, 1.1]}), verbose=False)
    assert (again.folder, again.newly_prepared) == (summary.folder, 0)
    description = prepared.read_description(summary.folder)
    assert description.copies == [0.9, 1.1] and description.counts["utterances"] == 6
    assert description.corpus_hash != prepared.read_description(plain.folder).corpus_hash
    for one, other in zip(rows(plain.folder), rows(summary.folder), strict=True):
        assert one["content_hash"] != other["content_hash"]
        assert {name: other[name] for name in one if name != "content_hash"} == {
            name: value for name, value in one.items() if name != "content_hash"
        }
    copied = SpeechCorpus(summary.folder)
    slow, fast = (copied.frame_count(recording) for recording in copied.recordings(np.array([0]))[1:])
    assert slow > copied.frame_count(0) > fast and len(copied) == 6


def test_a_text_encoder_is_prepared_counted_and_asked_once(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Four pieces of the sentence's nine: the rest is cut.
    encoder = save_text_encoder(tmp_path / "encoder", positions=6)
    settings: dict[str, Any] = {
        "alignment": {"method": "uniform"},
        "text": {"checkpoint": str(encoder), "layers": [1, 3]},
    }
    summary = prepare.run(corpus.experiment(**settings))
    opened = SpeechCorpus(summary.folder)
    assert (opened.word_layers, opened.word_feature_size) == (2, 32)
    read = opened.encoded_words(0).any(1)
    assert read.tolist() == [True] * int(read.sum()) + [False] * int((~read).sum()) and 0 < read.sum() < 6
    assert summary.cut_words == 6 * int((~read).sum())
    assert prepared.read_description(summary.folder).counts["cut_words"] == summary.cut_words
    assert f"0 without a piece of its vocabulary, {summary.cut_words} beyond the length" in capfd.readouterr().out
    # The encoder counts by what it holds, not by where it lies.
    moved = shutil.move(encoder, tmp_path / "moved")
    again = prepare.run(corpus.experiment(**settings | {"text": settings["text"] | {"checkpoint": str(moved)}}))
    assert (again.folder, again.newly_prepared, again.cut_words) == (summary.folder, 0, summary.cut_words)
    with pytest.raises(UserError, match=r"prepare\.text\.layers 9: .* has 0 to 3"):
        prepare.run(corpus.experiment(text={"checkpoint": str(moved), "layers": [9]}), verbose=False)
