"""GloVe text files: what is read of them, and what is said of broken ones."""

from pathlib import Path

import numpy as np
import pytest

from fgcme.data.word_vectors import read_vectors
from fgcme.errors import UserError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_holds_a_word_and_its_values(tmp_path: Path) -> None:
    path = write(tmp_path, "dogs 0.5 -1\nelse 9 9\nkids 2 3e-1\ndéjà 1 2\n")
    vectors = read_vectors(path, 2, ["kids", "door", "dogs", "déjà"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, np.array([[2, 0.3], [np.nan] * 2, [0.5, -1], [1, 2]], np.float32))


def test_a_token_may_hold_spaces(tmp_path: Path) -> None:
    """As `. . .` and `at name@domain.com` of glove.840B do: values are counted from the end of the line."""
    path = write(tmp_path, ". . . 1 2\nat name@domain.com 3 4\n. 5 6\nat 7 8\n")
    assert read_vectors(path, 2, ["at", ". . ."]).tolist() == [[7, 8], [1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dogs 0.5 -1\nkids 2\n", "line 2 has 1 values where model.semantic.embedding is 2"),
        ("dogs 0.5 -1\n\n", "line 2 has -1 values where"),
        ("dogs 0.5 -1\nelse 0.5 -1 4\n", "line 2 has 3 values where model.semantic.embedding is 2"),
        ("else 1 2\ndogs 0.5 x\n", "line 2 cannot be read as a word vector"),
        ("else 1 2\nelse 1 2\nkids 0.5 nan\n", "line 3 holds a value that is no finite number"),
        ("kids 1e99 2\n", "line 1 holds a value that is no finite number"),
        ("\0\1", "line 1 has 0 values"),
    ],
)
def test_an_error_names_the_file_and_the_broken_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        read_vectors(path, 2, ["dogs", "kids"])
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_an_error_names_the_missing_file_and_its_setting(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.txt", tmp_path):
        with pytest.raises(UserError, match="cannot be read as word vectors") as error:
            read_vectors(path, 2, ["dogs"])
        assert str(error.value).startswith(f"model.semantic.vectors: {path}")
