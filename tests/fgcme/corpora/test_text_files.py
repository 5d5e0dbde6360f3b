"""Text files of corpora: every encoding that they have, and what of a table is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.corpora.text_files import read_rows, read_sentences, read_text
from fgcme.errors import UserError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
def test_text_is_read_in_the_encoding_that_it_has(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text.txt"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    path.write_bytes(mark + "it’s über".encode(encoding))
    assert read_text(path, "mend it") == "it’s über"


def test_what_is_no_unicode_is_in_the_given_encoding(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("他对谁都".encode("gb18030"))
    assert read_text(path, "mend it", fallback="gb18030") == "他对谁都"


def test_a_file_that_cannot_be_read_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); mend it"):
        read_text(tmp_path, "mend it")


def test_rows_are_numbered_by_their_lines_and_lack_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(' name , text\n\na,"two\nlines"\nb\nc,x,too much\n')
    assert read_rows(path, ("name", "text"), "mend it") == [
        (4, {"name": "a", "text": "two\nlines"}),
        (5, {"name": "b", "text": ""}),
        (6, {"name": "c", "text": "x"}),
    ]


def test_a_table_that_is_missing_or_lacks_a_column_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"table\.tsv: no such file; mend it"):
        read_rows(tmp_path / "table.tsv", ("name",), "mend it", "\t")
    (tmp_path / "table.tsv").write_text("name,text\n")
    with pytest.raises(UserError, match=r"table\.tsv: has no column name, text; mend it"):
        read_rows(tmp_path / "table.tsv", ("name", "text"), "mend it", "\t")


def test_a_table_with_a_value_beyond_all_measure_is_refused_with_where_it_begins(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("name\na\n" + "b" * 200_000)
    with pytest.raises(UserError, match=r"table\.csv: line 2 cannot be read \(field larger than"):
        read_rows(tmp_path / "table.csv", ("name",), "mend it")


def test_sentences_are_those_with_a_text(tmp_path: Path) -> None:
    (tmp_path / "sentences.csv").write_text("code,text\na1,say it\na2,\n")
    assert read_sentences(tmp_path, "SAVEE") == {"a1": "say it"}
