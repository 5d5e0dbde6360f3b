"""Fitted models are stored in MLflow's registry and found again by address."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow.entities import LoggedModel

from fgcme.errors import UserError
from fgcme.serving import fitted
from fgcme.serving.classifier import package_model
from fgcme.serving.registry import (
    aliased,
    check_names,
    create_model_version,
    download_model,
    log_model,
    moving_aliases,
)
from fgcme.tracking import Tracker
from tests.fitted_model import save_fitted
from tests.store import make_tracker


@dataclass(frozen=True)
class Registry:
    """A store with one run that has a model, logged once.

    Attributes:
        tracker: of the store.
        run: id of the run, whose artifact `model` is the fitted model.
        model: the logged model.
    """

    tracker: Tracker
    run: str
    model: LoggedModel


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    tracker = make_tracker(folder)
    run = tracker.create_run(tracker.get_or_create_experiment("models"), "fold 2, seed 0")
    model_folder = save_fitted(folder / "fitted", fold=2)
    tracker.log_artifact(run, model_folder, "model")
    return Registry(tracker, run, log_model(tracker, run, model_folder, "speech", "a card"))


def fold_of(folder: Path) -> int:
    """The fold that a fitted model says it comes from."""
    return int(fitted.load(folder)[1].origin["fold"])


@pytest.mark.parametrize(
    ("name", "alias", "message"),
    [
        ("a/b", None, "model name 'a/b': use letters"),
        ("a:b", None, "model name 'a:b'"),
        ("a@b", None, "model name 'a@b'"),
        ("", None, "model name ''"),
        ("-a", None, "model name '-a'"),
        ("x" * 201, None, "model name 'x"),
        ("fine", "v1", "alias 'v1' could be taken for a version"),
        ("fine", "12", "alias '12' could be taken"),
        ("fine", "Latest", "alias 'Latest' could be taken"),
        ("fine", "a b", "alias 'a b': use letters"),
        ("fine", "a.b", r"alias 'a\.b'"),
        ("fine", "", "alias ''"),
    ],
)
def test_names_that_no_address_can_hold_are_refused(name: str, alias: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_names(name, alias)


@pytest.mark.parametrize(("name", "alias"), [("fgcme-ravdess", None), ("a.b_c-1", "champion"), ("1", "best_2")])
def test_names_that_an_address_can_hold_are_accepted(name: str, alias: str | None) -> None:
    check_names(name, alias)


def test_registrations_under_a_new_name_at_the_same_moment_all_become_versions(registry: Registry) -> None:
    together = threading.Barrier(3)

    def register(_: int) -> int:
        together.wait()
        return create_model_version(registry.tracker, "together", None, registry.model, {}, "")

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(register, range(3))) == [1, 2, 3]


def test_a_logged_model_is_an_output_of_its_run(registry: Registry) -> None:
    model = registry.tracker.client.get_logged_model(registry.model.model_id)
    assert (model.name, model.status, model.source_run_id) == ("speech", "READY", registry.run)


def test_a_model_that_cannot_be_packaged_is_marked_as_failed(registry: Registry, tmp_path: Path) -> None:
    experiment = registry.tracker.get_or_create_experiment("broken")
    run = registry.tracker.create_run(experiment, "run")
    with pytest.raises(UserError, match="not a fitted model"):
        log_model(registry.tracker, run, tmp_path, "speech", "a card")
    (model,) = registry.tracker.client.search_logged_models([experiment])
    assert model.status == "FAILED"


def test_a_version_has_its_tags_its_description_and_its_run(registry: Registry) -> None:
    tags = {"protocol": "demo/4class", "fold.dev_ua": "0.5000"}
    number = create_model_version(registry.tracker, "described", "champion", registry.model, tags, "**Demo**")
    version = registry.tracker.client.get_model_version("described", str(number))
    assert (number, version.run_id, version.source) == (1, registry.run, registry.model.artifact_location)
    assert (version.tags, version.description, version.aliases) == (tags, "**Demo**", ["champion"])


def test_a_new_version_takes_the_alias_from_the_old_one(registry: Registry) -> None:
    for expected, alias in ((1, "champion"), (2, None), (3, "champion")):
        assert create_model_version(registry.tracker, "moved", alias, registry.model, {}, "") == expected
    versions = [registry.tracker.client.get_model_version("moved", str(number)) for number in (1, 2, 3)]
    assert [version.aliases for version in versions] == [[], [], ["champion"]]
    assert registry.tracker.client.get_model_version_by_alias("moved", "champion").version == 3


def test_what_the_registry_refuses_is_one_line(registry: Registry) -> None:
    with pytest.raises(UserError, match=r"^no/name cannot be registered at sqlite:.*") as refusal:
        create_model_version(registry.tracker, "no/name", None, registry.model, {}, "")
    assert "\n" not in str(refusal.value)


def test_a_model_is_downloaded_by_version_by_alias_and_from_its_run(registry: Registry, tmp_path: Path) -> None:
    create_model_version(registry.tracker, "found", "champion", registry.model, {}, "")
    addresses = (
        "models:/found/1",
        "models:/found@champion",
        f"runs:/{registry.run}/model",
        "runs:/fold 2, seed 0/model",
    )
    for number, address in enumerate(addresses):
        destination = tmp_path / str(number)
        destination.mkdir()
        folder = download_model(address, registry.tracker.uri, destination)
        assert folder.is_relative_to(destination)
        assert fold_of(folder) == 2


def test_a_model_in_a_folder_needs_no_store(tmp_path: Path) -> None:
    model = save_fitted(tmp_path / "fitted", fold=3)
    package_model(model, tmp_path / "package")
    assert download_model(str(model), "http://127.0.0.1:1", tmp_path) == model
    assert fold_of(download_model(str(tmp_path / "package"), "http://127.0.0.1:1", tmp_path)) == 3


@pytest.mark.parametrize(
    "address", ["models:/best@challenger", "models:/best/99", "models:/nothing/1", "models:/best", "models:/best/@x"]
)
def test_a_model_that_is_not_registered_is_one_line_with_those_that_are(
    registry: Registry, tmp_path: Path, address: str
) -> None:
    create_model_version(registry.tracker, "best", "champion", registry.model, {}, "")
    create_model_version(registry.tracker, "without-alias", None, registry.model, {}, "")
    with pytest.raises(UserError, match=rf"^{address}.*registered: .*models:/best@champion") as refusal:
        download_model(address, registry.tracker.uri, tmp_path)
    assert "models:/without-alias/" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_empty_registry_says_how_to_register(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    nothing = r"no model is registered yet: register a run with `fgcme register RUN --name"
    with pytest.raises(UserError, match=nothing):
        download_model("models:/best@champion", tracker.uri, tmp_path)
    # What stands for the lock is no model.
    with pytest.raises(UserError, match=rf"^best is not registered at .*; {nothing}"), moving_aliases(tracker, "best"):
        aliased(tracker, "best", "champion")


def test_without_a_store_a_registered_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no MLflow database here"):
        download_model("models:/best@champion", f"sqlite:///{tmp_path}/mlflow.db", tmp_path)


def test_a_run_without_that_model_is_one_line(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no artifact 'weights' \(in a cross-validation, the folds have"):
        download_model(f"runs:/{registry.run}/weights", registry.tracker.uri, tmp_path)
    with pytest.raises(UserError, match="run 'nobody' is not recorded"):
        download_model("runs:/nobody/model", registry.tracker.uri, tmp_path)


@pytest.mark.parametrize("address", ["s3://bucket/model", "no/such/folder"])
def test_an_address_that_is_no_model_says_what_is(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{address}: .*models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model"):
        download_model(address, None, tmp_path)


def test_a_version_whose_files_are_gone_is_one_line(registry: Registry, tmp_path: Path) -> None:
    model = log_model(registry.tracker, registry.run, save_fitted(tmp_path / "fitted"), "gone", "a card")
    create_model_version(registry.tracker, "gone", None, model, {}, "")
    shutil.rmtree(model.artifact_location.removeprefix("file://"))
    with pytest.raises(UserError, match=r"^models:/gone/1: its files are gone, or .* `fgcme register`") as refusal:
        download_model("models:/gone/1", registry.tracker.uri, tmp_path)
    assert "\n" not in str(refusal.value)
