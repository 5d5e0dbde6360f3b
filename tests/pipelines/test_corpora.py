"""`fgcme corpora`: the list, and fetching a corpus from its makers."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fgcme.corpora import ravdess
from fgcme.corpora.catalogue import CORPORA
from fgcme.corpora.contract import Counts, Download
from pipelines import cli


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server with a RAVDESS of two recordings; returns the folder to work in."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("Actor_01/03-01-06-01-02-01-01.wav", "Actor_02/03-01-06-01-02-01-02.wav"):
            archive.writestr(name, b"sound")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "speech.zip").write_bytes(content.getvalue())
    digest = hashlib.md5(content.getvalue(), usedforsecurity=False).hexdigest()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{running.server_port}/speech.zip"
        small = Download(url, "speech.zip", len(content.getvalue()), digest)
        monkeypatch.setattr(
            ravdess, "CORPUS", replace(ravdess.CORPUS, downloads=(small,), expected=Counts(utterances=2, speakers=2))
        )
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        yield tmp_path / "work"
        running.shutdown()


def test_the_list_says_what_each_corpus_is_and_which_can_be_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["corpora"]) == 0
    text = capsys.readouterr().out
    for corpus in CORPORA.values():
        assert f"{corpus.name}: {corpus.title}\n  language {corpus.language}\n  size     {corpus.size}\n" in text
        assert f"  licence  {corpus.licence}\n  citation {corpus.citation}\n  get it   {corpus.obtain}\n" in text
        assert (f"fgcme corpora get {corpus.name}`" in text) == bool(corpus.downloads)


def test_a_corpus_is_fetched_unpacked_and_counted_and_a_second_call_fetches_nothing(
    offered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["corpora", "get", "ravdess"]) == 0
    text = capsys.readouterr().out
    assert "licence  CC BY-NC-SA 4.0" in text
    assert "corpora/ravdess: 2 utterances of 2 speakers\nnext: fgcme prepare ravdess --root corpora/ravdess\n" in text
    assert sorted(path.name for path in (offered / "corpora/ravdess").iterdir()) == ["Actor_01", "Actor_02"]
    (offered.parent / "served" / "speech.zip").unlink()
    assert cli.main(["corpora", "get", "ravdess"]) == 0
    assert "2 utterances of 2 speakers" in capsys.readouterr().out


def test_another_folder_may_be_named_and_a_copy_that_lost_a_file_is_made_whole(
    offered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["corpora", "get", "ravdess", "--output", "else where"]) == 0
    (offered / "else where/Actor_01/03-01-06-01-02-01-01.wav").unlink()
    assert cli.main(["corpora", "get", "ravdess", "--output", "else where"]) == 0
    assert "next: fgcme prepare ravdess --root 'else where'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["get", "iemocap"], "iemocap: not a corpus that a program may fetch for you; ask for the full release at"),
        (["get", "ravdes"], "ravdes: no such corpus; name one of demo, ravdess"),
        (["get"], "name a corpus"),
        (["list"], "invalid choice"),
    ],
)
def test_what_cannot_be_fetched_is_refused_with_the_way_out(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert cli.main(["corpora", *words]) != 0
    except SystemExit as ended:
        assert ended.code != 0
    assert sentence in capsys.readouterr().err


def test_every_address_is_a_public_one_of_the_makers() -> None:
    downloads = [download for corpus in CORPORA.values() for download in corpus.downloads]
    assert {download.url.split("/")[2] for download in downloads} == {"zenodo.org"}
    assert all(len(bytes.fromhex(download.md5)) == 16 for download in downloads)
