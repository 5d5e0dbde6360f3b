from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from fgcme.errors import UserError
from fgcme.evaluation.predictions import PredictionsBySeed, require_same_test_data
from tests.fgcme.evaluation.sample_predictions import CLASSES, ablation


def test_predictions_are_arranged_by_seed_and_utterance_whatever_the_order_of_rows() -> None:
    table = ablation(np.random.default_rng(14), variants=1)["plain"]
    arranged = PredictionsBySeed.of("plain", table.take(np.random.default_rng(0).permutation(table.num_rows)), CLASSES)
    assert arranged.seeds.tolist() == [0, 1]
    rows = {(row["seed"], row["id"]): row for row in table.to_pylist()}
    for seed, predictions in zip(arranged.seeds, arranged.predictions, strict=True):
        for position, name in enumerate(arranged.ids):
            row = rows[seed, name]
            assert CLASSES[predictions[position]] == row["prediction"]
            assert CLASSES[arranged.labels[position]] == row["label"]
            assert (arranged.speakers[position], arranged.folds[position]) == (row["speaker"], row["fold"])


def refused(tables: dict[str, pa.Table]) -> str:
    """What the user reads when `variant1` cannot be compared with `plain`."""
    with pytest.raises(UserError) as caught:
        predictions = {name: PredictionsBySeed.of(name, table, CLASSES) for name, table in tables.items()}
        require_same_test_data("variant1", predictions["variant1"], "plain", predictions["plain"])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(table: pa.Table, column: str, values: dict[int, object]) -> pa.Table:
    """The table with other values in some rows of a column."""
    field = table.schema.field(column)
    rows = [values.get(row, value) for row, value in enumerate(table[column].to_pylist())]
    return table.set_column(table.schema.get_field_index(column), field, pa.array(rows, field.type))


@pytest.fixture
def tables() -> dict[str, pa.Table]:
    return ablation(np.random.default_rng(14), variants=2)


def test_a_variant_without_predictions_is_refused(tables: dict[str, pa.Table]) -> None:
    assert "variant variant1: there is no prediction" in refused({**tables, "variant1": tables["variant1"].slice(0, 0)})


def test_other_utterances_are_refused_with_their_number(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    other = changed(tables["variant1"], "id", {0: "x", count: "x", 1: "y", count + 1: "y"})
    assert "variant variant1: 4 utterances are only in it or only in plain" in refused({**tables, "variant1": other})


def test_other_labels_speakers_and_folds_are_refused_with_their_number(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    label = tables["plain"]["label"][0].as_py()
    other = next(name for name in CLASSES if name != label)
    relabelled = changed(tables["variant1"], "label", {0: other, count: other})
    assert "variant variant1: the labels of 1 utterances" in refused({**tables, "variant1": relabelled})
    moved = changed(tables["variant1"], "speaker", {0: "s004", count: "s004"})
    assert "variant variant1: the speakers of 1 utterances" in refused({**tables, "variant1": moved})
    folded = changed(tables["variant1"], "fold", {0: 9, count: 9})
    assert "variant variant1: the folds of 1 utterances" in refused({**tables, "variant1": folded})


def test_other_seeds_are_refused(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    message = refused({**tables, "variant1": tables["variant1"].slice(0, count)})
    assert "variant variant1: its seeds are [0], those of plain [0, 1]" in message


def test_a_missing_and_a_repeated_prediction_are_refused(tables: dict[str, pa.Table]) -> None:
    count = tables["plain"].num_rows // 2
    complaint = f"variant variant1: 1 of {count} utterances are not predicted once by each of its 2 seeds"
    assert complaint in refused({**tables, "variant1": tables["variant1"].slice(1)})
    repeated = pa.concat_tables([tables["variant1"], tables["variant1"].slice(0, 1)])
    assert complaint in refused({**tables, "variant1": repeated})


def test_a_label_that_differs_between_seeds_is_refused(tables: dict[str, pa.Table]) -> None:
    label = tables["plain"]["label"][0].as_py()
    other = changed(tables["variant1"], "label", {0: next(name for name in CLASSES if name != label)})
    assert "variant variant1: the label of 1 utterances differs from seed to seed" in refused(
        {**tables, "variant1": other}
    )


def test_an_unknown_class_is_refused(tables: dict[str, pa.Table]) -> None:
    other = changed(tables["variant1"], "prediction", {0: "bored"})
    assert "1 values of `prediction` are none of the classes calm, angry, sad" in refused({**tables, "variant1": other})
