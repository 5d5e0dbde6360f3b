"""IEMOCAP from its folder to a checked protocol: speakers, and the corpus's own alignments first."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fgcme import prepared
from pipelines import cli
from tests import small_iemocap
from tests.speech import say

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

MISSING, BROKEN = "Ses01F_impro01_F000", "Ses03M_script01_1b_M001"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, with one alignment missing and one broken."""
    root = tmp_path_factory.mktemp("iemocap") / "IEMOCAP_full_release"
    turns = {turn.name: turn for turn in small_iemocap.write(root)}
    (root / turns[MISSING].path("ForcedAlignment", ".wdseg")).unlink()
    broken = root / turns[BROKEN].path("ForcedAlignment", ".wdseg")
    broken.write_text(broken.read_text()[:60])
    return root


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    """The tree, prepared."""
    folder = root.parent / "prepared"
    assert cli.main(["prepare", "iemocap", "--root", str(root), f"prepare.folder={folder}"]) == 0
    return folder


def part_of(root: Path, folder: Path, sessions: Iterable[int]) -> Path:
    """A tree of some sessions, whose text files may be changed; what is in it is prepared already."""
    copy = folder / "IEMOCAP_full_release"
    for session in sessions:
        shutil.copytree(root / f"Session{session}" / "dialog", copy / f"Session{session}" / "dialog")
        (copy / f"Session{session}" / "sentences").symlink_to(root / f"Session{session}" / "sentences")
    return copy


@pytest.fixture
def again(folder: Path, tmp_path: Path) -> Path:
    """A copy of the prepared tree, to be prepared further."""
    return Path(shutil.copytree(folder, tmp_path / "again"))


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    parts = (folder / "utterances").glob("*.parquet")
    return {row["id"]: row for part in parts for row in pq.ParquetFile(part).read().to_pylist()}


def test_every_rated_turn_is_prepared_with_its_label_speaker_and_ratings(folder: Path) -> None:
    found = rows(folder)
    turns = small_iemocap.turns()
    assert sorted(found) == sorted(turn.name for turn in turns)
    for turn in turns:
        row = found[turn.name]
        letter = turn.name.rpartition("_")[2][0]
        assert (row["raw_label"], row["speaker"]) == (turn.label, f"Ses{turn.session:02d}_{letter}")
        assert (row["session"], row["dialog"]) == (f"Session{turn.session}", turn.dialog)
        assert row["act"] == ("impro" if "impro" in turn.name else "script")
        assert [row[name] for name in ("valence", "arousal", "dominance")] == pytest.approx([2.5, 3.0, 3.6667])
        assert row["text"] == f"{turn.text.capitalize()}."
        assert row["words"] == turn.text.split()


def test_sphinx_aligns_turns_whose_own_alignment_is_missing_or_damaged(folder: Path) -> None:
    found = rows(folder)
    assert {name for name, row in found.items() if row["alignment"] != "imported"} == {MISSING, BROKEN}
    assert {found[name]["alignment"] for name in (MISSING, BROKEN)} == {"sphinx"}
    assert prepared.count_alignments(folder) == {"imported": len(found) - 2, "sphinx": 2}
    row = found["Ses04M_script01_1b_M003"]
    _, onsets = say("he is not coming home again", voice="en-us+m4")
    assert row["begin"] == [round(100 * onset) for _, onset in onsets]
    assert row["end"][:-1] == row["begin"][1:]
    # -100 a frame, in units of Sphinx-3.
    assert row["alignment_score"] == pytest.approx(-100 * math.log(1.0003))


def test_a_repaired_alignment_is_read_the_next_time(root: Path, again: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = next(turn for turn in small_iemocap.turns() if turn.name == BROKEN)
    path = root / broken.path("ForcedAlignment", ".wdseg")
    damaged = path.read_text()
    samples, onsets = say(broken.text, voice="en-us+m3")
    path.write_text(small_iemocap.word_segmentation(onsets, len(samples) // 160 - 2))
    try:
        assert cli.main(["prepare", "iemocap", "--root", str(root), f"prepare.folder={again}"]) == 0
    finally:
        path.write_text(damaged)
    assert "utterances: 55 (1 prepared now, 54 before" in capfd.readouterr().out
    assert prepared.count_alignments(again)["sphinx"] == 1


def test_another_alignment_method_ignores_the_corpus_s_alignments(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "uniform"
    overrides = [f"prepare.folder={folder}", "prepare.alignment.method=uniform"]
    assert cli.main(["prepare", "iemocap", "--root", str(part_of(root, tmp_path, [1])), *overrides]) == 0
    assert prepared.count_alignments(folder) == {"uniform": 11}


def test_check_fails_on_counts_unlike_the_protocol_s_unless_allowed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["check", "iemocap", f"prepare.folder={folder}"]
    assert cli.main(arguments) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "mismatch: 10 utterances of angry where the protocol has 1103" in text
    assert "mismatch: 9 utterances of session Session1 where the protocol has 1085" in text
    assert "left out: 5 x label xxx" in text
    assert "left out: 5 x label fru" in text
    assert "alignment: 43 imported (95.6 %), 2 sphinx (4.4 %)" in text
    assert cli.main([*arguments, "protocol.allow_missing=true"]) == 0


@pytest.mark.parametrize(("act", "shared"), [("impro", "0.0 %"), ("script", "100.0 %")])
def test_scripted_texts_are_shared_between_parts_and_improvised_ones_are_not(
    folder: Path, act: str, shared: str, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [f"prepare.folder={folder}", f"protocol.name=iemocap/4class-{act}", "protocol.allow_missing=true"]
    assert cli.main(["check", "iemocap", *overrides]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "Ses02_F" in line]
    assert len(lines) == 1
    assert lines[0].count(shared) == 3


def test_a_missing_session_is_named_before_anything_is_trained(
    root: Path, again: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = part_of(root, tmp_path, [1, 2, 3, 5])
    overrides = [f"prepare.folder={again}", f"storage.path={tmp_path / 'storage'}"]
    assert cli.main(["prepare", "iemocap", "--root", str(part), *overrides]) == 0
    assert cli.main(["train", "iemocap", *overrides, f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("fgcme: iemocap/4class-session: no utterance of session Session4; ")
    assert message.endswith("or set protocol.allow_missing=true")
    assert not (tmp_path / "mlflow.db").exists()
    assert cli.main(["check", "iemocap", *overrides]) == 1
    assert "mismatch: no utterance of session Session4" in capsys.readouterr().out


def test_a_truncated_evaluation_is_reported_with_file_and_line(
    root: Path, again: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part = part_of(root, tmp_path, [1])
    turn = small_iemocap.turns([1])[1]
    evaluation = part / turn.file("EmoEvaluation")
    content = evaluation.read_text()
    evaluation.write_text(content[: content.index(turn.name) + len(turn.name)])
    overrides = [f"prepare.folder={again}", f"storage.path={tmp_path / 'storage'}"]
    assert cli.main(["prepare", "iemocap", "--root", str(part), *overrides]) == 2
    printed = capfd.readouterr()
    assert "of the corpus is rejected, above prepare.max_rejected=0.05" in printed.err.splitlines()[-1]
    assert f"bad_line: 1, such as {turn.file('EmoEvaluation')}:7: {turn.file('EmoEvaluation')}: line 7 " in printed.out
    assert f"no_label: 5, such as {turn.name}: {turn.file('EmoEvaluation')} has no label" in printed.out


@pytest.mark.parametrize("part", ["dialog/transcriptions", "dialog", "."])
def test_an_incomplete_tree_is_refused_in_one_line(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "IEMOCAP_full_release"
    small_iemocap.write(root, sessions=[1], speech=False)
    (root / "Session1" / part).rename(tmp_path / "elsewhere")
    assert cli.main(["prepare", "iemocap", "--root", str(root), f"storage.path={tmp_path / 'storage'}"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(root) in message
