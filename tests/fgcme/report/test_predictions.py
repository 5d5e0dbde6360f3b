from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from fgcme.report.predictions import Answer, csv_header, to_csv, to_json, to_table, to_textgrid
from fgcme.serving.prediction import Prediction


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
            contributions=[1.25, -0.0412],
            base=-0.11,
            alignment="sphinx",
        ),
    )


def test_json_is_one_line_with_everything(answer: Answer) -> None:
    line = to_json(answer)
    assert "\n" not in line
    content = json.loads(line)
    assert content["audio"] == "a, b.wav"
    assert (content["label"], content["base"]) == ("calm", -0.11)
    assert content["words"][1] == {
        "word": 'd"oor',
        "begin": 0.5,
        "end": 1.1,
        "contribution": -0.0412,
    }


def test_csv_has_a_row_for_the_utterance_and_one_for_each_word(answer: Answer) -> None:
    rows = list(csv.DictReader(f"{csv_header(['calm', 'happy'])}\n{to_csv(answer)}".splitlines()))
    assert [row["unit"] for row in rows] == ["utterance", "word", "word"]
    assert [row["text"] for row in rows] == ['the "door"', "the", 'd"oor']
    assert [row["label"] for row in rows] == ["calm", "", ""]
    assert {row["audio"] for row in rows} == {"a, b.wav"}
    assert [row["base"] for row in rows] == ["-0.1100", "", ""]
    assert [row["contribution"] for row in rows] == ["", "1.2500", "-0.0412"]
    assert [row["calm"] for row in rows] == ["0.750000", "", ""]
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


def test_a_textgrid_has_words_what_each_contributes_and_the_utterance_s_emotion(answer: Answer) -> None:
    grid = to_textgrid(answer)
    texts = [line.partition(" = ")[2] for line in grid.splitlines() if line.strip().startswith("text = ")]
    assert texts == ['""', '"the"', '"d""oor"', '""', '""', '"+1.25"', '"-0.04"', '""', '"calm"']
    names = [line.partition(" = ")[2] for line in grid.splitlines() if line.strip().startswith("name = ")]
    assert names == ['"words"', '"contribution"', '"emotion"']


def test_the_table_ranks_the_emotions_and_says_what_each_word_contributes(answer: Answer) -> None:
    lines = to_table(answer).splitlines()
    assert lines[0] == "a, b.wav  calm"
    assert lines[1].split() == ["calm", "75%", "happy", "25%"]
    assert "sphinx" in lines[2]
    assert lines[3].split() == ["0.20", "-", "0.50", "s", "the", "+1.2"]
    assert lines[4].split() == ["0.50", "-", "1.10", "s", 'd"oor', "0.0"]
    assert lines[5].strip() == "from −0.1 to +1.1 = calm 75 %"


def test_a_model_without_contributions_says_nothing_of_single_words(answer: Answer) -> None:
    without = replace(answer, prediction=replace(answer.prediction, contributions=[], base=None))
    assert to_table(without).splitlines()[-1].endswith('d"oor')
    utterance, first, _ = csv.reader(to_csv(without).splitlines())
    assert utterance[-4:] == ["", "", "0.750000", "0.250000"] and utterance[5] == "calm"
    assert first[-4:] == ["", "", "", ""] and first[5] == ""
    assert 'name = "contribution"' not in to_textgrid(without)
    content = json.loads(to_json(without))
    assert content["base"] is None and content["words"][0]["contribution"] is None
