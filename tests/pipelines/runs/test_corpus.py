"""Where a prepared corpus is, whether it is complete, and what a protocol leaves out of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fgcme import prepared
from fgcme.corpora.contract import Rejection
from fgcme.errors import NotPreparedError, UserError
from fgcme.experiment import Experiment, parse_experiment
from pipelines.cluster import changing
from pipelines.runs import records
from pipelines.runs.corpus import (
    corpus_in_use,
    feature_settings,
    load_assigned_corpus,
    locate_prepared,
    prepared_elsewhere,
    prepared_folder,
    prepared_with_other_copies,
    with_absolute_encoder,
)
from tests import small_corpus
from tests.speech_encoder import save_encoder


def experiment(folder: Path, **protocol: object) -> Experiment:
    return small_corpus.experiment(prepare={"folder": str(folder)}, protocol=protocol)


def ravdess(storage: Path | str, **sections: Any) -> Experiment:
    content = {"name": "x", "corpus": {"kind": "ravdess"}, "protocol": {"name": "p"}, "storage": {"path": str(storage)}}
    return parse_experiment(content | sections)


def test_the_folder_follows_from_the_settings_that_decide_the_features(tmp_path: Path) -> None:
    plain = prepared_folder(ravdess(tmp_path))
    assert plain.parent == tmp_path / "prepared"
    assert plain.name.startswith("ravdess-")
    same: list[dict[str, Any]] = [
        {"corpus": {"kind": "ravdess", "root": "/elsewhere"}},
        {"prepare": {"max_rejected": 0.5}},
        {"prepare": {"copies": {"speed": []}}},
        {"prepare": {"text": {"layers": [1]}}},
        {"model": {"semantic": {"input": "table"}}},
        {"training": {"epochs": 3}},
        {"name": "y"},
    ]
    other: list[dict[str, Any]] = [
        {"prepare": {"features": {"bins": 80}}},
        {"prepare": {"alignment": {"method": "uniform"}}},
        {"prepare": {"text": {"checkpoint": "a/name-on-the-hub"}}},
        {"prepare": {"text": {"checkpoint": "a/name-on-the-hub", "layers": [1]}}},
        {"prepare": {"copies": {"speed": [0.9]}}},
        {"prepare": {"copies": {"speed": [0.9, 1.1]}}},
        {"corpus": {"kind": "demo"}},
        {"corpus": {"kind": "demo", "seed": 1}},
        {"corpus": {"kind": "demo", "utterances": 8}},
        {"corpus": {"kind": "manifest", "manifest": "a/list.csv"}},
        {"corpus": {"kind": "manifest", "manifest": "b/list.csv"}},
    ]
    assert {prepared_folder(ravdess(tmp_path, **changes)) for changes in same} == {plain}
    assert len({plain, *(prepared_folder(ravdess(tmp_path, **changes)) for changes in other)}) == len(other) + 1


def test_a_folder_with_a_model_counts_by_its_content(tmp_path: Path) -> None:
    def folder_of(checkpoint: Path | str) -> str:
        features = {"kind": "speech_encoder", "checkpoint": str(checkpoint)}
        alignment = {"method": "ctc", "checkpoint": "a/name-on-the-hub"}
        prepare = {"features": features, "alignment": alignment, "text": {"checkpoint": str(checkpoint)}}
        return prepared_folder(ravdess(tmp_path, prepare=prepare)).name

    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1234")
    before = folder_of(model)
    assert folder_of(shutil.copytree(model, tmp_path / "copy")) == before
    (model / "model.safetensors").write_bytes(b"1235!")
    assert len({before, folder_of(model), folder_of("a/name-on-the-hub")}) == 3


def test_corpora_that_differ_only_in_where_things_lie_are_found(tmp_path: Path) -> None:
    def manifest(folder: str, bins: int = 40) -> Experiment:
        corpus = {"kind": "manifest", "manifest": f"{folder}/list.csv", "root": folder}
        return ravdess(tmp_path, corpus=corpus, prepare={"features": {"bins": bins}})

    small_corpus.write_description(manifest("a", bins=8))
    small_corpus.write_description(ravdess(tmp_path))
    (tmp_path / "prepared" / "damaged").mkdir()
    (tmp_path / "prepared" / "damaged" / "corpus.json").write_text("{")
    assert prepared_elsewhere(manifest("a")) == []
    folder = small_corpus.write_description(manifest("a"))
    assert (prepared_elsewhere(manifest("a")), prepared_elsewhere(manifest("b"))) == ([], [folder])


def test_a_named_folder_is_used_and_relative_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepared_folder(ravdess("results")).parent == tmp_path / "results" / "prepared"
    assert prepared_folder(ravdess("results", prepare={"folder": "mine"})) == tmp_path / "mine"


def test_a_corpus_that_is_not_prepared_says_how_to_prepare_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ravdess is not prepared yet; run `fgcme prepare` with the same settings"):
        locate_prepared(ravdess(tmp_path))


def test_a_corpus_prepared_with_other_settings_names_the_closest(tmp_path: Path) -> None:
    small_corpus.write_description(ravdess(tmp_path, prepare={"features": {"bins": 80}}))
    small_corpus.write_description(
        ravdess(tmp_path, prepare={"features": {"bins": 20}, "alignment": {"method": "uniform"}})
    )
    with pytest.raises(UserError) as caught:
        locate_prepared(ravdess(tmp_path))
    message = str(caught.value)
    assert "not prepared with these settings, but with others in ravdess-" in message
    assert "prepare.features.bins is 80 there and 40 here; use those settings, or prepare with these; run" in message


def test_a_named_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    small_corpus.write_description(ravdess(tmp_path, prepare={"folder": str(tmp_path / "mine")}))
    with pytest.raises(
        UserError,
        match=r"mine: holds a corpus prepared with other settings: prepare\.features\.bins is 40 there and 8 here; "
        r"use those settings; or set prepare\.folder",
    ):
        locate_prepared(ravdess(tmp_path, prepare={"folder": str(tmp_path / "mine"), "features": {"bins": 8}}))


def test_a_corpus_prepared_in_part_is_not_trained_on(tmp_path: Path) -> None:
    small_corpus.write_description(ravdess(tmp_path), pending=3)
    with pytest.raises(UserError, match="3 utterances are not prepared yet"):
        locate_prepared(ravdess(tmp_path))


def test_a_complete_corpus_is_located(tmp_path: Path) -> None:
    folder = small_corpus.write_description(ravdess(tmp_path))
    assert locate_prepared(ravdess(tmp_path)) == folder


def test_a_corpus_that_does_not_fit_names_its_most_frequent_rejection(tmp_path: Path) -> None:
    folder = small_corpus.write(tmp_path / "corpus")
    wanted = experiment(folder, name="mine", labels={"happy": "happy", "bored": "bored"}, folds=4)
    with pytest.raises(UserError, match=r"no utterance of class bored; .*protocol\.allow_missing=true$"):
        load_assigned_corpus(wanted)
    evaluation = "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt"
    rejections = [
        Rejection(f"{evaluation}:15", evaluation, "list", "bad_line", f"{evaluation}: line 15 is damaged: `[6.29`"),
        *(Rejection(name, "x.wav", "list", "no_label", f"{evaluation} has no label for {name}") for name in "ab"),
    ]
    prepared.write_part(folder, "rejected", "listing", prepared.rejected_table(rejections))
    with pytest.raises(UserError, match=f"class bored; .*; not prepared: 2 x no_label, .*{evaluation}") as refused:
        load_assigned_corpus(wanted)
    assert "\n" not in str(refused.value)


def test_a_protocol_of_another_corpus_shows_in_what_is_left_out_and_allowed(tmp_path: Path) -> None:
    # The protocol knows only two of the emotions and three of the speakers, and asks for others.
    folder = small_corpus.write(tmp_path / "corpus", speakers=8, each=8)
    wanted = experiment(
        folder,
        name="mine",
        labels={"neutral": "neutral", "happy": "happy", "bored": "bored"},
        folds=[["s0"], ["s1"], ["s2", "absent"]],
    )
    with pytest.raises(UserError, match="no utterance of speaker absent; no utterance of class bored"):
        load_assigned_corpus(wanted)
    allowing = wanted.model_copy(update={"protocol": wanted.protocol.model_copy(update={"allow_missing": True})})
    _, corpus, assignment = load_assigned_corpus(allowing)
    first, *others = records.describe_participants(allowing, corpus, assignment, "3 folds x 1 seeds")
    assert first == "mine: 12 of 64 utterances, 3 classes; 3 folds x 1 seeds"
    assert others == [
        "  left out: 16 x label sad",
        "  left out: 16 x label angry",
        *(f"  left out: 4 x speaker s{number} in no fold" for number in range(3, 8)),
        "  allowed: no utterance of speaker absent",
        "  allowed: no utterance of class bored",
    ]


def test_a_prepared_corpus_in_use_is_not_changed(tmp_path: Path) -> None:
    wanted = experiment(small_corpus.write(tmp_path / "corpus", each=4))
    refusal = pytest.raises(UserError, match="it is in use by another driver")
    with corpus_in_use(wanted), refusal, changing(tmp_path / "corpus", "it"):
        pass
    refusal = pytest.raises(UserError, match="prepared corpus corpus is being changed by another driver")
    with changing(tmp_path / "corpus", "it"), refusal, corpus_in_use(wanted):
        pass


def test_a_folder_without_a_prepared_corpus_stays_as_it_is_when_it_is_to_be_used(tmp_path: Path) -> None:
    folder = tmp_path / "prepared" / "here"
    folder.mkdir(parents=True)
    refusal = pytest.raises(UserError, match="is not prepared yet")
    with refusal, corpus_in_use(experiment(folder)):
        load_assigned_corpus(experiment(folder))
    assert list(folder.iterdir()) == []


def test_another_corpus_s_damage_does_not_hide_that_this_one_is_not_prepared(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "corpus.json").write_text("{damaged")
    with pytest.raises(NotPreparedError, match="is not prepared yet"):
        locate_prepared(experiment(tmp_path / "here"))


def test_corpora_of_log_mel_frames_stay_where_older_versions_prepared_them(tmp_path: Path) -> None:
    assert prepared_folder(ravdess(tmp_path)).name == "ravdess-66068e33"
    layers = ravdess(tmp_path, prepare={"features": {"layers": [1, 2], "padded": True}})
    assert prepared_folder(layers) == prepared_folder(ravdess(tmp_path)), "they are the encoder's alone"
    encoder: dict[str, Any] = {"kind": "speech_encoder", "checkpoint": "a/name-on-the-hub"}
    changes: list[dict[str, Any]] = [{}, {"layers": [1, 2]}, {"layers": "all"}, {"padded": True}]
    folders = {prepared_folder(ravdess(tmp_path, prepare={"features": encoder | change})) for change in changes}
    assert len(folders) == len(changes)


def test_corpora_that_differ_in_their_copies_alone_are_found(tmp_path: Path) -> None:
    plain, copied = (ravdess(tmp_path, prepare={"copies": {"speed": speeds}}) for speeds in ([], [0.9, 1.1]))
    small_corpus.write_description(plain)
    small_corpus.write_description(ravdess(tmp_path, prepare={"features": {"bins": 80}}))
    assert prepared_with_other_copies(copied) == [prepared_folder(plain)]
    assert prepared_with_other_copies(plain) == prepared_elsewhere(copied) == []
    with pytest.raises(NotPreparedError, match=r"prepare\.copies\.speed is not set there and \[0\.9, 1\.1\] here"):
        locate_prepared(copied)


def test_a_corpus_without_copies_has_the_settings_of_versions_that_had_none(tmp_path: Path) -> None:
    assert not [name for name in feature_settings(ravdess(tmp_path)) if "copies" in name]


def test_layers_that_what_is_prepared_does_not_enter_are_refused_before_anything_starts(tmp_path: Path) -> None:
    encoder = save_encoder("hubert", tmp_path / "hubert")
    features = {"kind": "speech_encoder", "checkpoint": encoder, "layers": [3]}
    described = ravdess(tmp_path, prepare={"features": features}, model={"acoustic": {"trained_layers": 1}})
    small_corpus.write_description(described)
    with pytest.raises(UserError, match=r"trained_layers 1: .* set prepare\.features\.layers=\[2\], or add 2 to them"):
        load_assigned_corpus(described)


def test_workers_find_the_encoder_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hubert").mkdir()

    def checkpoint(name: str) -> str | None:
        features = {"kind": "speech_encoder", "checkpoint": name}
        return with_absolute_encoder(ravdess(tmp_path, prepare={"features": features})).prepare.features.checkpoint

    assert checkpoint("hubert") == str(tmp_path / "hubert")
    assert checkpoint("hub/name") == "hub/name"
    plain = ravdess(tmp_path)
    assert with_absolute_encoder(plain) == plain
