"""YAML files and values: keys as text, no key twice, refusals in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment.yaml_text import as_yaml, parse_yaml, quoted, read_yaml


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- a\n- b\n", "holds no keys and values"),
        ("", "holds no keys and values"),
        ("name: [\n", "line 2: not valid YAML"),
        ("a: b: c\n", "line 1: not valid YAML: mapping values are not allowed here"),
        ("\x00", "not valid YAML"),
        ("day: 2024-13-01\n", "not valid YAML: month must be in 1..12"),
        ("name: x\ncorpus: {kind: demo}\nname: y\n", "line 3: `name` is there twice: keep one of them"),
        ("name: x\nmodel:\n  pooling: {kind: mean}\n  pooling: {margin: 3}\n", "line 4: `pooling` is there twice"),
        ("1: a\n'1': b\n", "line 2: `1` is there twice"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_in_one_line_that_names_it(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as refusal:
        read_yaml(path)
    assert str(refusal.value).startswith(f"{path}: ") and sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: no such file"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be read"):
        read_yaml(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Müller\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.yaml: cannot be read"):
        read_yaml(tmp_path / "latin.yaml")


def test_inherited_keys_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "inheriting.yaml"
    path.write_text("first: &f {a: 1, b: 2}\nsecond: {<<: *f, b: 3, 1: x}\n")
    assert read_yaml(path)["second"] == {"a": 1, "b": 3, "1": "x"}


def test_keys_are_text_and_values_are_not() -> None:
    assert parse_yaml("{1: 1, no: no, 2024-06-01: x}") == {"1": 1, "no": False, "2024-06-01": "x"}


@pytest.mark.parametrize("value", [True, None, 3, 0.5, "mean"])
def test_a_value_is_shown_so_that_yaml_reads_it_back(value: object) -> None:
    assert parse_yaml(as_yaml(value)) == value
    assert parse_yaml(quoted(value)) == value
