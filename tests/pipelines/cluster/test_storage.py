from pathlib import Path

import pytest

from fgcme.errors import UserError
from pipelines.cluster import storage_folder, writable_folder
from tests import small_corpus


def test_a_relative_folder_becomes_absolute_and_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert writable_folder(small_corpus.experiment(storage={"path": "results/mine"})) == tmp_path / "results" / "mine"
    assert (tmp_path / "results" / "mine").is_dir()


@pytest.mark.parametrize("address", ["s3://bucket", "gs://bucket/results", "abfss://container@account/results"])
def test_a_bucket_is_refused_and_the_message_says_what_to_give_instead(address: str) -> None:
    refusal = rf"storage\.path={address} is an address, not a folder.*Give a folder that all nodes mount, on NFS, EFS"
    with pytest.raises(UserError, match=refusal):
        storage_folder(small_corpus.experiment(storage={"path": address}))


def test_a_folder_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"storage\.path: .*file/results cannot be written to"):
        writable_folder(small_corpus.experiment(storage={"path": str(tmp_path / "file" / "results")}))
