"""The catalogue knows every corpus, and finds where an experiment's corpus lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from fgcme.corpora.catalogue import CORPORA, find_corpus
from fgcme.errors import UserError
from fgcme.experiment import CorpusSettings
from tests import small_iemocap

NAME = "03-01-06-01-02-01-12.wav"


def test_the_catalogue_lists_the_supported_corpora() -> None:
    assert [*CORPORA, "several"] == list(get_args(CorpusSettings.model_fields["kind"].annotation))
    assert {name: corpus.name for name, corpus in CORPORA.items()} == {name: name for name in CORPORA}
    assert "unheard of" not in CORPORA


def test_listing_the_names_imports_no_corpus() -> None:
    code = (
        "import sys; from fgcme.corpora.catalogue import CORPORA; list(CORPORA);"
        "sys.exit('fgcme.corpora.demo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_root_in_the_settings_overrides_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, environment = tmp_path / "given", tmp_path / "environment"
    for folder in (given, environment):
        folder.mkdir()
        (folder / NAME).touch()
    monkeypatch.setenv("RAVDESS_ROOT", str(environment))
    assert find_corpus(CorpusSettings(kind="ravdess"), tmp_path)[0] == environment
    root, listing = find_corpus(CorpusSettings(kind="ravdess", root=str(given)), tmp_path)
    assert root == given
    assert len(listing.utterances) == 1


def test_without_a_root_the_refusal_says_how_to_get_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAVDESS_ROOT", raising=False)
    with pytest.raises(UserError, match=r"corpus\.root is not set: .*--root.*RAVDESS_ROOT"):
        find_corpus(CorpusSettings(kind="ravdess"), tmp_path)


def test_every_corpus_names_its_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_iemocap.write(tmp_path, sessions=[4], speech=False)
    monkeypatch.setenv("IEMOCAP_ROOT", str(tmp_path))
    root, listing = find_corpus(CorpusSettings(kind="iemocap"), tmp_path)
    assert root == tmp_path
    assert {utterance.session for utterance in listing.utterances} == {"Session4"}


def test_a_manifest_s_root_is_its_own_folder_or_the_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANIFEST_ROOT", raising=False)
    manifest = tmp_path / "lists" / "all.csv"
    manifest.parent.mkdir()
    manifest.write_text("audio,text,label,speaker\na.wav,b,c,d\n")
    assert find_corpus(CorpusSettings(kind="manifest", manifest=str(manifest)), tmp_path)[0] == manifest.parent
    assert (
        find_corpus(CorpusSettings(kind="manifest", manifest=str(manifest), root=str(tmp_path)), tmp_path)[0]
        == tmp_path
    )
    below = CorpusSettings(kind="manifest", manifest="lists/all.csv", root=str(tmp_path))
    assert len(find_corpus(below, tmp_path)[1].utterances) == 1
    with pytest.raises(UserError, match=r"corpus\.manifest is not set"):
        find_corpus(CorpusSettings(kind="manifest"), tmp_path)


def test_the_demo_corpus_is_synthesised_below_the_storage(tmp_path: Path) -> None:
    settings = CorpusSettings(kind="demo", utterances=4, seed=3)
    root, listing = find_corpus(settings, tmp_path)
    assert root == tmp_path / "corpora" / "demo-4-3"
    assert len(listing.utterances) == 4
    assert all((root / utterance.audio).is_file() for utterance in listing.utterances)
    assert find_corpus(settings, tmp_path) == (root, listing)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder with a RAVDESS and an EMO-DB of few recordings, the latter with times of words."""
    for name in ("ravdess/Actor_12/03-01-06-01-02-01-12.wav", "ravdess/notes.txt", "emodb/wav/03a01Fa.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "emodb" / "words.json").write_text('{"03a01Fa": []}')
    return tmp_path


def test_several_corpora_are_one_whose_names_keep_all_apart(two: Path, tmp_path: Path) -> None:
    root, listing = find_corpus(
        CorpusSettings(kind="several", corpora=["ravdess", "emodb"], root=str(two)), tmp_path / "storage"
    )
    one, other = listing.utterances
    assert root == two
    assert (one.id, one.raw_label, one.speaker) == ("ravdess/03-01-06-01-02-01-12", "ravdess/fearful", "ravdess/12")
    assert (other.id, other.raw_label, other.speaker) == ("emodb/03a01Fa", "emodb/F", "emodb/03")
    assert (one.dialog, other.dialog, one.session) == ("ravdess/statement-02", "emodb/a01", None)
    assert all((root / each.audio).is_file() for each in listing.utterances)
    assert (one.alignment, other.alignment) == (None, "emodb/words.json")
    assert "ravdess/notes.txt" in {each.id for each in listing.rejections}


def test_several_corpora_may_lie_in_several_places(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ravdess", "emodb"):
        monkeypatch.setenv(f"{name.upper()}_ROOT", str(two / name))
    root, listing = find_corpus(CorpusSettings(kind="several", corpora=["emodb", "ravdess"]), two / "storage")
    assert [root / each.audio for each in listing.utterances] == [
        two / "emodb/wav/03a01Fa.wav",
        two / "ravdess/Actor_12/03-01-06-01-02-01-12.wav",
    ]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["ravdess"], "at least two corpora, and each once"),
        (["ravdess", "ravdess"], "at least two corpora, and each once"),
        (["ravdess", "manifest"], "manifest cannot be among several; name some of ravdess"),
        (["ravdess", "savee"], r"savee: no such folder"),
    ],
)
def test_several_that_cannot_be_one_are_refused(two: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        find_corpus(CorpusSettings(kind="several", corpora=names, root=str(two)), two / "storage")
