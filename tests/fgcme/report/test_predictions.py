from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from fgcme.report.predictions import Answer, csv_header, to_csv, to_json, to_table, to_textgrid
from fgcme.serving.fitted import Prediction


@pytest.fixture
def answer() -> Answer:
    return Answer(
        audio="a, b.wav",
        text='the "door"',
        duration=1.5,
        prediction=Prediction(
            label="calm",
            probabilities={"calm": 0.75, "happy": 0.25},
            words=["the", 'd"oor'],
            begin=[0.2, 0.5],
            end=[0.5, 1.1],
            word_probabilities=[{"calm": 0.9, "happy": 0.1}, {"calm": 0.4, "happy": 0.6}],
            word_gates=[{"semantic": 0.5}, {"semantic": 0.6}],
            alignment="sphinx",
        ),
    )


def test_json_is_one_line_with_everything(answer: Answer) -> None:
    line = to_json(answer)
    assert "\n" not in line
    content = json.loads(line)
    assert content["audio"] == "a, b.wav"
    assert content["label"] == "calm"
    assert content["words"][1] == {
        "word": 'd"oor',
        "begin": 0.5,
        "end": 1.1,
        "probabilities": {"calm": 0.4, "happy": 0.6},
        "gates": {"semantic": 0.6},
    }


def test_csv_has_a_row_for_the_utterance_and_one_for_each_word(answer: Answer) -> None:
    rows = list(csv.DictReader(f"{csv_header(['calm', 'happy'])}\n{to_csv(answer)}".splitlines()))
    assert [row["unit"] for row in rows] == ["utterance", "word", "word"]
    assert [row["text"] for row in rows] == ['the "door"', "the", 'd"oor']
    assert [row["label"] for row in rows] == ["calm", "calm", "happy"]
    assert {row["audio"] for row in rows} == {"a, b.wav"}
    assert float(rows[2]["happy"]) == 0.6
    assert (rows[0]["begin"], rows[0]["end"]) == ("0.00", "1.50")


def test_tiers_of_a_textgrid_cover_the_whole_duration_without_gaps(answer: Answer) -> None:
    lines = [line.strip() for line in to_textgrid(answer).splitlines()]
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    tiers = "\n".join(lines).split('class = "IntervalTier"')[1:]
    assert len(tiers) == 3
    for tier in tiers:
        fields = [line.partition(" = ") for line in tier.splitlines() if " = " in line]
        begins = [float(value) for key, _, value in fields if key == "xmin"][1:]
        ends = [float(value) for key, _, value in fields if key == "xmax"][1:]
        assert begins[0] == 0
        assert ends[-1] == 1.5
        assert begins[1:] == ends[:-1]


def test_a_textgrid_has_words_their_emotions_and_the_utterances(answer: Answer) -> None:
    grid = to_textgrid(answer)
    texts = [line.partition(" = ")[2] for line in grid.splitlines() if line.strip().startswith("text = ")]
    assert texts == ['""', '"the"', '"d""oor"', '""', '""', '"calm"', '"happy"', '""', '"calm"']


def test_the_table_ranks_the_emotions_and_times_the_words(answer: Answer) -> None:
    lines = to_table(answer).splitlines()
    assert lines[0] == "a, b.wav  calm"
    assert lines[1].split() == ["calm", "75%", "happy", "25%"]
    assert "sphinx" in lines[2]
    assert lines[4].split() == ["0.50", "-", "1.10", "s", 'd"oor', "happy", "60%"]


def test_a_model_without_word_logits_has_no_emotions_of_words(answer: Answer) -> None:
    unworded = replace(answer, prediction=replace(answer.prediction, word_probabilities=[{}, {}]))
    assert to_table(unworded).splitlines()[-1].endswith('d"oor')
    utterance, first, _ = csv.reader(to_csv(unworded).splitlines())
    assert utterance[-2:] == ["0.750000", "0.250000"] and utterance[5] == "calm"
    assert first[-2:] == ["", ""] and first[5] == ""
    assert 'text = ""' in to_textgrid(unworded)
