"""A prepared corpus is an input of a run, by its name and by what it holds."""

from __future__ import annotations

import json
from dataclasses import replace

from fgcme.tracking import RunDataset, Tracker, dataset_input

DATASET = RunDataset("demo", "c0ffee", "/prepared/demo", "training", "demo/4class")


def test_a_run_has_the_corpus_as_its_input(tracker: Tracker) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("demo"), "run")
    tracker.log_dataset(run, DATASET)
    (given,) = tracker.client.get_run(run).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("demo", "c0ffee")
    assert json.loads(given.dataset.source) == {"uri": "file:///prepared/demo"}
    assert json.loads(given.dataset.profile) == {"protocol": "demo/4class"}
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}


def test_a_corpus_whose_place_is_not_known_has_none() -> None:
    assert dataset_input(replace(DATASET, folder="")).dataset.source == "{}"
