"""A corpus as manifests of Lhotse: the package itself reads them, and so does the corpus of that name."""

from pathlib import Path

import pytest

from fgcme.corpora.lhotse import find
from fgcme.interchange import PreparedUtterance, Told
from fgcme.interchange.lhotse import UNREAD, write
from tests.fgcme.interchange.spoken import with_files
from tests.odd_utterances import ABOUT, as_listed

lhotse = pytest.importorskip("lhotse")


@pytest.fixture
def there(tmp_path: Path) -> list[PreparedUtterance]:
    return with_files(tmp_path)


def test_lhotse_reads_recordings_and_supervisions_with_all_their_values(
    tmp_path: Path, there: list[PreparedUtterance]
) -> None:
    told = Told()
    write(there, tmp_path, ABOUT, told)
    recordings = lhotse.RecordingSet.from_file(tmp_path / "recordings.jsonl.gz")
    supervisions = lhotse.SupervisionSet.from_file(tmp_path / "supervisions.jsonl.gz")
    lhotse.validate_recordings_and_supervisions(recordings, supervisions)
    assert len(recordings) == 4 and told.counts == {}
    for expected, found in zip(there, supervisions, strict=True):
        assert (found.id, found.text, found.speaker, found.gender) == (
            expected.id,
            expected.text,
            expected.speaker,
            expected.sex,
        )
        assert (found.start, found.end, found.language) == (expected.start, expected.end, "German")
        assert (found.custom["emotion"], found.custom.get("session")) == (expected.label, expected.session)
        assert found.custom.get("alignment_score") == expected.alignment_score
        words = (found.alignment or {}).get("word", [])
        assert [word.symbol for word in words] == [word.text for word in expected.words]
        assert [word.end for word in words] == pytest.approx([expected.start + word.end for word in expected.words])
    cut = lhotse.CutSet.from_manifests(recordings, supervisions).trim_to_supervisions()[2]
    assert cut.load_audio().shape == (1, 12_000)
    # Lhotse leaves the times of words those of the recording.
    assert cut.supervisions[0].alignment["word"][0].start == pytest.approx(2.1)


def test_the_corpus_lists_the_same_utterances_with_their_words(tmp_path: Path, there: list[PreparedUtterance]) -> None:
    write(there, tmp_path, ABOUT, Told())
    listing = find(tmp_path)
    assert listing.rejections == []
    assert listing.utterances == [as_listed(utterance) for utterance in there]


def test_a_file_that_cannot_be_opened_costs_its_utterances_and_is_told(
    tmp_path: Path, there: list[PreparedUtterance]
) -> None:
    Path(there[2].audio).write_bytes(b"no sound")
    told = Told()
    write(there, tmp_path, ABOUT, told)
    assert told.counts == {UNREAD: 2} and told.examples == {UNREAD: "long@2"}
    assert len(lhotse.SupervisionSet.from_file(tmp_path / "supervisions.jsonl.gz")) == 3
