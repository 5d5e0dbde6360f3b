from __future__ import annotations

import csv
import json
from dataclasses import replace

import pytest

from fgcme.data import Tasks
from fgcme.report.predictions import Answer, csv_header, to_csv, to_json, to_table, to_textgrid
from fgcme.serving.prediction import Prediction
from fgcme.serving.unheard import Unheard


@pytest.fixture
def answer() -> Answer:
    return Answer(
        audio="a, b.wav",
        begin=0.0,
        end=1.5,
        prediction=Prediction(
            label="calm",
            probabilities={"calm": 0.75, "happy": 0.25},
            words=["the", 'd"oor'],
            begin=[0.2, 0.5],
            end=[0.5, 1.1],
            contributions=[1.25, -0.0412],
            base=-0.11,
            alignment="sphinx",
            text='the "door"',
            words_from="recognised by sphinx",
            unheard=Unheard(unknown_words=("d,oor",), spread=True),
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
    rows = list(csv.DictReader(f"{csv_header(Tasks(['calm', 'happy']))}\n{to_csv(answer)}".splitlines()))
    assert [row["unit"] for row in rows] == ["utterance", "word", "word"]
    assert [row["text"] for row in rows] == ['the "door"', "the", 'd"oor']
    assert [row["label"] for row in rows] == ["calm", "", ""]
    assert {row["audio"] for row in rows} == {"a, b.wav"}
    assert [row["base"] for row in rows] == ["-0.1100", "", ""]
    assert [row["contribution"] for row in rows] == ["", "1.2500", "-0.0412"]
    assert [row["calm"] for row in rows] == ["0.750000", "", ""]
    assert (rows[0]["begin"], rows[0]["end"]) == ("0.00", "1.50")
    assert [row["words_from"] for row in rows] == ["recognised by sphinx", "", ""]
    assert rows[0]["notes"].startswith("words that the model does not know: d,oor; ") and rows[1]["notes"] == ""


def test_tiers_of_a_textgrid_cover_the_whole_duration_without_gaps(answer: Answer) -> None:
    lines = [line.strip() for line in to_textgrid([answer], 1.5).splitlines()]
    assert lines[:2] == ['File type = "ooTextFile"', 'Object class = "TextGrid"']
    tiers = "\n".join(lines).split('class = "IntervalTier"')[1:]
    assert len(tiers) == 4
    for tier in tiers:
        fields = [line.partition(" = ") for line in tier.splitlines() if " = " in line]
        begins = [float(value) for key, _, value in fields if key == "xmin"][1:]
        ends = [float(value) for key, _, value in fields if key == "xmax"][1:]
        assert begins[0] == 0
        assert ends[-1] == 1.5
        assert begins[1:] == ends[:-1]


def test_a_textgrid_has_words_what_each_contributes_and_the_utterance_s_emotion(answer: Answer) -> None:
    grid = to_textgrid([answer], 1.5)
    texts = [line.partition(" = ")[2] for line in grid.splitlines() if line.strip().startswith("text = ")]
    assert texts[:-1] == ['""', '"the"', '"d""oor"', '""', '""', '"+1.25"', '"-0.04"', '""', '"calm"']
    assert texts[-1].startswith('"words that the model does not know: d,oor; the words could not be aligned')
    names = [line.partition(" = ")[2] for line in grid.splitlines() if line.strip().startswith("name = ")]
    assert names == ['"words"', '"contribution"', '"emotion"', '"notes"']


def test_a_textgrid_has_no_tier_of_notes_where_there_is_nothing_to_note(answer: Answer) -> None:
    clear = replace(answer, prediction=replace(answer.prediction, unheard=Unheard()))
    assert "notes" not in to_textgrid([clear], 1.5) and "note" not in to_table(clear)


def test_the_table_ranks_the_emotions_and_says_what_each_word_contributes(answer: Answer) -> None:
    lines = to_table(answer).splitlines()
    assert lines[0] == "a, b.wav  calm"
    assert lines[1].split() == ["calm", "75%", "happy", "25%"]
    assert lines[2].strip() == "words recognised by sphinx, aligned by sphinx:"
    assert lines[3].split() == ["0.20", "-", "0.50", "s", "the", "+1.2"]
    assert lines[4].split() == ["0.50", "-", "1.10", "s", 'd"oor', "0.0"]
    assert lines[5].strip() == "from −0.1 to +1.1 = calm 75 %"
    assert lines[6].strip() == "note: words that the model does not know: d,oor"
    assert lines[7].strip().startswith("note: the words could not be aligned")


def test_a_model_without_contributions_says_nothing_of_single_words(answer: Answer) -> None:
    without = replace(answer, prediction=replace(answer.prediction, contributions=[], base=None))
    assert to_table(without).splitlines()[-3].endswith('d"oor')
    utterance, first, _ = csv.reader(to_csv(without).splitlines())
    assert utterance[-4:] == ["", "", "0.750000", "0.250000"] and utterance[5] == "calm"
    assert first[-4:] == ["", "", "", ""] and first[5] == ""
    assert 'name = "contribution"' not in to_textgrid([without], 1.5)
    content = json.loads(to_json(without))
    assert content["notes"][0] == "words that the model does not know: d,oor"
    assert content["base"] is None and content["words"][0]["contribution"] is None


def test_a_word_that_was_not_heard_has_no_contribution_beside_others_that_have(answer: Answer) -> None:
    cut = replace(answer, prediction=replace(answer.prediction, contributions=[1.25, None]))
    assert to_table(cut).splitlines()[4].endswith('d"oor')
    assert [
        row["contribution"] for row in csv.DictReader(f"{csv_header(Tasks(['c', 'h']))}\n{to_csv(cut)}".splitlines())
    ] == [
        "",
        "1.2500",
        "",
    ]
    assert '"-0.04"' not in to_textgrid([cut], 1.5)
    assert [word["contribution"] for word in json.loads(to_json(cut))["words"]] == [1.25, None]


def test_times_of_an_utterance_of_a_longer_recording_are_those_of_the_recording(answer: Answer) -> None:
    later = replace(answer, begin=10.0, end=11.5)
    content = json.loads(to_json(later))
    assert (content["begin"], content["end"], content["words"][1]["begin"]) == (10.0, 11.5, 10.5)
    rows = list(csv.DictReader(f"{csv_header(Tasks(['calm', 'happy']))}\n{to_csv(later)}".splitlines()))
    assert [(row["begin"], row["end"]) for row in rows] == [("10.00", "11.50"), ("10.20", "10.50"), ("10.50", "11.10")]
    table = to_table(later).splitlines()
    assert table[0] == "a, b.wav  10.00 - 11.50 s  calm" and table[3].split()[:3] == ["10.20", "-", "10.50"]


def test_a_textgrid_has_all_utterances_of_a_recording_and_nothing_between_them(answer: Answer) -> None:
    grid = to_textgrid([answer, replace(answer, begin=2.0, end=3.5)], 5.0)
    emotion = grid.split('name = "emotion"')[1].split("item [")[0]
    texts = [line.partition(" = ")[2] for line in emotion.splitlines() if line.strip().startswith("text = ")]
    assert texts == ['"calm"', '""', '"calm"', '""']
    assert grid.count("xmax = 5.000000") >= 5
