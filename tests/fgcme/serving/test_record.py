"""An answer as nested values, ready for JSON."""

from __future__ import annotations

from dataclasses import replace

from fgcme.serving.needs import Needs
from fgcme.serving.prediction import Prediction
from fgcme.serving.record import model_signature, to_record
from fgcme.serving.unheard import Unheard


def test_a_record_has_the_utterance_s_values_and_each_word_s_own() -> None:
    prediction = Prediction(
        label="happy",
        probabilities={"calm": 0.2, "happy": 0.8},
        words=["the", "door"],
        begin=[0.1, 0.5],
        end=[0.4, 0.9],
        contributions=[-0.25, 1.5],
        base=0.125,
        alignment="sphinx",
        text="The door!",
        words_from="recognised by sphinx",
        unheard=Unheard(30.0, 2.5, ("door",), ("the",)),
    )
    assert to_record(prediction) == {
        "label": "happy",
        "probabilities": {"calm": 0.2, "happy": 0.8},
        "base": 0.125,
        "alignment": "sphinx",
        "text": "The door!",
        "words_from": "recognised by sphinx",
        "unheard": {"seconds": 2.5, "words": ["door"], "unknown_words": ["the"]},
        "notes": [
            "2.50 s after 30 s were not heard, and 1 word in them: door",
            "words that the model does not know: the",
        ],
        "words": [
            {"word": "the", "begin": 0.1, "end": 0.4, "contribution": -0.25},
            {"word": "door", "begin": 0.5, "end": 0.9, "contribution": 1.5},
        ],
    }
    without = to_record(replace(prediction, contributions=[], base=None))
    assert without["base"] is None and [word["contribution"] for word in without["words"]] == [None, None]


def test_a_served_model_declares_the_columns_of_a_record() -> None:
    record = to_record(Prediction("calm", {"calm": 1.0}, [], [], [], [], None, "none"))
    signature = model_signature(Needs(sound=True, text=False))
    assert signature.outputs.input_names() == list(record)
    # What the model does without is optional.
    assert [(each.name, each.required) for each in signature.inputs] == [("audio", True), ("text", False)]
