"""Tables as people have them: separators, header forms, encodings, blank rows, broken quotes."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fgcme.corpora.table import Row, columns_of, rows_of
from fgcme.errors import UserError

WANTED = ("audio", "text", "label")


def rows(path: Path, content: str | bytes) -> list[Row]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(rows_of(path, WANTED))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_header_tells_the_separator_and_may_have_capitals_and_blanks(tmp_path: Path, separator: str) -> None:
    lines = [["Audio", " TEXT ", "label"], ["a.wav", '"one, two; three"', "x"]]
    (row,) = rows(tmp_path / "a.csv", "\n".join(map(separator.join, lines)))
    assert row == Row(1, {"audio": "a.wav", "text": "one, two; three", "label": "x"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_are_read(tmp_path: Path, encoding: str) -> None:
    (row,) = rows(tmp_path / "a.csv", "audio,text,label\na,héllo,x\n".encode(encoding))
    assert row.values["text"] == "héllo"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_byte_that_is_not_utf_8_stops_no_other_row(tmp_path: Path, suffix: str) -> None:
    csv = "audio,text,label\na,h\xe9llo,x\nb,hello,y\n"
    lines = '{"audio": "a", "text": "h\xe9llo"}\n{"audio": "b", "text": "hello"}\n'
    first, second = rows(tmp_path / f"a.{suffix}", (csv if suffix == "csv" else lines).encode("latin-1"))
    assert first.values["text"] == "h\udce9llo" and second.values["text"] == "hello"


def test_empty_rows_are_none_but_keep_their_number(tmp_path: Path) -> None:
    found = rows(tmp_path / "a.csv", "audio,text,label,,\na,b,c,,\n,,,,\n\nd,e,f\n , ,\n,,,,\n")
    assert [(row.number, row.values["audio"], row.error) for row in found] == [(1, "a", None), (4, "d", None)]


@pytest.mark.parametrize("text", ["audio,text,label,text\na,b,c,d\n", "audio,text,label,Text\na,b,c,d\n"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=r"a\.csv: column text is there twice"):
        columns_of(tmp_path / "a.csv", WANTED)
    # What nobody reads may be there twice, as the empty columns of a spreadsheet are.
    (tmp_path / "a.csv").write_text("audio,text,label,note,note,,\n")
    assert columns_of(tmp_path / "a.csv", WANTED)[:3] == list(WANTED)


def test_a_parquet_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["audio", "text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="column text is there twice"):
        columns_of(tmp_path / "a.parquet", WANTED)


@pytest.mark.parametrize("broken", ['c,"he said "hi"" fine,x', 'c,"never closed,x'])
def test_a_broken_quote_costs_its_row_and_names_its_line(tmp_path: Path, broken: str) -> None:
    found = rows(tmp_path / "a.csv", f'audio,text,label\na,"two\nlines",x\n{broken}\nd,fine,"x"\n')
    assert [row.values.get("text") for row in found] == ["two\nlines", None, "fine"]
    assert [row.number for row in found] == [1, 2, 3]
    assert found[1].error is not None and found[1].error.message.startswith("line 4 has a quote")


def test_a_row_with_more_values_than_columns_is_bad_unless_they_are_empty(tmp_path: Path) -> None:
    first, second = rows(tmp_path / "a.csv", "audio,text,label\na,b,c,,\nd,e,f,g\n")
    assert first.error is None
    assert second.error is not None and "more values than the header" in second.error.message


@pytest.mark.parametrize(
    "line", ["{oops", "[1]", '{"text": 1, "text": 2}', '{"text": ' + "9" * 5_000 + "}", "[" * 9_999]
)
def test_a_bad_line_of_json_costs_itself(tmp_path: Path, line: str) -> None:
    first, second, third = rows(tmp_path / "a.jsonl", f'{{"audio": "a"}}\n{line}\n{{"audio": "b"}}\n')
    assert first.error is third.error is None
    assert second.number == 2 and second.error is not None and second.error.message.startswith("line 2 is not")


def test_whatever_is_damaged_is_rows_or_one_refusal(tmp_path: Path) -> None:
    chance = random.Random(0)
    for suffix in ("csv", "jsonl", "parquet"):
        path = tmp_path / f"a.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table({name: ["a", "b"] for name in WANTED}), path)
        elif suffix == "csv":
            path.write_text('audio,text,label\na,"b ""c""",d\ne,f,g\n')
        else:
            path.write_text('{"audio": "a", "text": "b", "label": "c"}\n' * 2)
        content = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(content)
            for _ in range(chance.choice([1, 3, 20])):
                place = chance.randrange(len(damaged))
                damaged[place : place + chance.choice([0, 1, 5])] = chance.choice(
                    [b'"', b"\n", b"\0", b"\xff", b",", b"{"]
                )
            path.write_bytes(damaged)
            try:
                columns_of(path, WANTED)
                assert all(isinstance(row, Row) for row in rows_of(path, WANTED))
            except UserError as error:
                assert "\n" not in str(error) and path.name in str(error)
