"""The contract, for every corpus in the catalogue: how to get it, and that it is listed without opening audio."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from fgcme.corpora import Listing, Rejection, Utterance
from fgcme.corpora.catalogue import CORPORA
from fgcme.corpora.contract import set_aside_known_bad
from fgcme.corpora.demo import synthesise
from fgcme.data import assign_folds, split_fold
from fgcme.data.protocol import UtteranceTable, named_protocols
from fgcme.errors import UserError
from tests import small_iemocap
from tests.small_corpora import TREES


def write_demo(root: Path) -> None:
    synthesise(root, utterances=4, seed=0)


def write_ravdess(root: Path) -> None:
    for actor in ("01", "02"):
        folder = root / f"Actor_{actor}"
        folder.mkdir(parents=True)
        for emotion in ("03", "04"):
            (folder / f"03-01-{emotion}-01-02-01-{actor}.wav").touch()


def write_emodb(root: Path) -> None:
    (root / "wav").mkdir(parents=True)
    for name in ("03a01Fa", "08b10Wb", "16a02Tc"):
        (root / "wav" / f"{name}.wav").touch()


def write_iemocap(root: Path) -> None:
    small_iemocap.write(root, sessions=[1, 4], speech=False)


def write_manifest(root: Path) -> None:
    root.mkdir()
    rows = [f"speech/{number}.wav,hello there,sad,0{number}\n" for number in range(3)]
    (root / "manifest.csv").write_text("audio,text,label,speaker\n" + "".join(rows))
    (root / "speech").mkdir()
    for number in range(3):
        (root / "speech" / f"{number}.wav").touch()


def write_audformat(root: Path) -> None:
    audformat = pytest.importorskip("audformat")
    database = audformat.Database("some")
    files = [f"speech/{number}.wav" for number in range(3)]
    database["files"] = audformat.Table(audformat.filewise_index(files))
    for column, values in (("emotion", ["sad"] * 3), ("transcription", ["hello there"] * 3), ("speaker", list("123"))):
        database["files"][column] = audformat.Column()
        database["files"][column].set(values)
    database.save(str(root))
    (root / "speech").mkdir()
    for file in files:
        (root / file).touch()


def write_lhotse(root: Path) -> None:
    pytest.importorskip("lhotse")
    (root / "speech").mkdir(parents=True)
    recordings, supervisions = [], []
    for number in range(3):
        name, file = f"speech/{number}", f"speech/{number}.wav"
        (root / file).touch()
        source = {"type": "file", "channels": [0], "source": file}
        sound = {"sampling_rate": 16_000, "num_samples": 16_000, "duration": 1.0}
        recordings.append({"id": name, "sources": [source], **sound})
        said = {"text": "hello there", "speaker": str(number), "custom": {"emotion": "sad"}}
        supervisions.append({"id": name, "recording_id": name, "start": 0.0, "duration": 1.0, **said})
    for kind, lines in (("recordings", recordings), ("supervisions", supervisions)):
        (root / f"{kind}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


WRITE: dict[str, Callable[[Path], None]] = {
    "demo": write_demo,
    "ravdess": write_ravdess,
    "emodb": write_emodb,
    "iemocap": write_iemocap,
    "iemocap_raters": write_iemocap,
    "manifest": write_manifest,
    "audformat": write_audformat,
    "lhotse": write_lhotse,
    **{name: tree.write for name, tree in TREES.items()},
}


def audio_files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.wav"))


def make_unreadable(paths: Iterable[Path]) -> None:
    """Replace files by broken links: the names stay, and opening one is an error."""
    for path in paths:
        path.unlink()
        path.symlink_to(path.with_suffix(".nowhere"))


@pytest.fixture(params=list(CORPORA))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def root(name: str, tmp_path: Path) -> Path:
    """A small copy of a corpus."""
    WRITE[name](tmp_path / "corpus")
    return tmp_path / "corpus"


@pytest.fixture
def listing(name: str, root: Path) -> Listing:
    return CORPORA[name].find(root)


def test_says_how_to_get_it_how_to_cite_it_and_what_its_licence_is(name: str) -> None:
    corpus = CORPORA[name]
    assert corpus.name == name
    assert all(
        text.strip()
        for text in (corpus.title, corpus.language, corpus.licence, corpus.citation, corpus.size, corpus.obtain)
    )


def test_finds_every_recording_of_a_complete_copy(root: Path, listing: Listing) -> None:
    assert listing.rejections == []
    assert sorted(root / utterance.audio for utterance in listing.utterances) == audio_files(root)


def test_describes_each_utterance_as_the_contract_says(listing: Listing) -> None:
    assert len({utterance.id for utterance in listing.utterances}) == len(listing.utterances)
    for utterance in listing.utterances:
        assert all([utterance.id, utterance.text, utterance.raw_label, utterance.speaker])
        assert "\\" not in utterance.audio
        assert not Path(utterance.audio).is_absolute()


def test_lists_the_same_without_opening_any_audio(name: str, root: Path, listing: Listing) -> None:
    make_unreadable(audio_files(root))
    assert CORPORA[name].find(root) == listing


def test_lists_in_the_same_order_wherever_the_copy_lies(name: str, tmp_path: Path, listing: Listing) -> None:
    elsewhere = tmp_path / "elsewhere"
    WRITE[name](elsewhere)
    found = CORPORA[name].find(elsewhere)
    assert ([*found.utterances], found.rejections) == ([*listing.utterances], listing.rejections)


@pytest.mark.parametrize("exists", [False, True], ids=["a missing folder", "an empty folder"])
def test_refuses_a_folder_without_the_corpus_by_its_name(name: str, exists: bool, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    if exists:
        nowhere.mkdir()
    with pytest.raises(UserError, match="nowhere") as refused:
        CORPORA[name].find(nowhere)
    assert "\n" not in str(refused.value)


def test_a_known_bad_recording_is_set_aside_with_its_reason_and_the_others_stay_in_order() -> None:
    good = [Utterance(name, f"{name}.wav", "hello", "sad", "01") for name in ("a", "c")]
    bad = Utterance("b", "b.wav", "hello", "sad", "02")
    stranger = Rejection("x", "x.txt", "list", "not_of_corpus", "no recording")
    listing = set_aside_known_bad(Listing([good[0], bad, good[1]], [stranger]), {"b": "holds silence", "d": "cut"})
    assert [*listing.utterances] == good
    assert listing.rejections == [Rejection("b", "b.wav", "list", "known_bad", "holds silence"), stranger]


@pytest.mark.parametrize("name", TREES)
def test_lists_labels_speakers_and_texts_as_its_files_say(listing: Listing, name: str) -> None:
    found = {each.id: (each.raw_label, each.speaker, each.text) for each in listing.utterances}
    assert found | TREES[name].listed == found


@pytest.mark.parametrize("name", TREES)
def test_rejects_what_spoils_a_copy_with_its_reason_and_lists_the_rest_unchanged(
    name: str, tmp_path: Path, listing: Listing
) -> None:
    TREES[name].write(tmp_path / "spoilt", spoilt=True)
    spoilt = CORPORA[name].find(tmp_path / "spoilt")
    assert {each.id: each.reason for each in spoilt.rejections} == TREES[name].rejected
    assert all(each.message for each in spoilt.rejections)
    assert [each.id for each in spoilt.utterances] == [each.id for each in listing.utterances]


def test_knows_nothing_bad_that_a_listing_would_not_set_aside(name: str, listing: Listing) -> None:
    assert not set(CORPORA[name].known_bad) & {each.id for each in listing.utterances}


def test_its_protocols_are_for_labels_and_speakers_that_it_has(name: str, listing: Listing) -> None:
    # Those of several raters stand side by side.
    labels = {label for each in listing.utterances for label in each.raw_label.split(";")}
    for protocol in (each for each in named_protocols().values() if each.corpus == name and name in TREES):
        assert set(protocol.labels or {}) <= labels
        assigned = assign_folds(protocol, table_of(listing), allow_missing=True)
        assert not [each for each in assigned.mismatches if "no utterance" in each]
        speakers = np.array([each.speaker for each in listing.utterances])
        for fold in range(assigned.fold_count):
            split = split_fold(assigned, fold)
            train, dev, test = (set(speakers[part].tolist()) for part in (split.train, split.dev, split.test))
            assert train and dev and test
            assert protocol.shared_speakers or not (train & dev or train & test or dev & test)


def test_its_official_protocol_is_one_of_its_own_with_three_parts(name: str) -> None:
    official = CORPORA[name].official_protocol
    if official is not None:
        assert named_protocols()[official].corpus == name
        assert named_protocols()[official].parts is not None


def test_no_protocol_expects_more_than_the_corpus_has(name: str) -> None:
    expected = CORPORA[name].expected
    for protocol in named_protocols().values():
        if protocol.corpus == name and protocol.expected is not None:
            assert expected is not None
            assert sum(protocol.expected.values()) - sum(protocol.may_lack.values()) <= expected.utterances


def table_of(listing: Listing) -> UtteranceTable:
    """What a protocol needs to know of a listing."""
    utterances = [*listing.utterances]
    return UtteranceTable(
        ids=[each.id for each in utterances],
        raw_labels=[each.raw_label for each in utterances],
        speakers=[each.speaker for each in utterances],
        sessions=[each.session for each in utterances],
        acts=[each.act for each in utterances],
        ratings={
            name: np.array([getattr(each, name) for each in utterances], np.float64)
            for name in ("valence", "arousal", "dominance")
        },
    )
