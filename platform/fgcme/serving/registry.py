"""MLflow's model registry: stores fitted models as versions of a named model, and finds them by alias or number."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError
from fgcme.serving.classifier import FITTED_ARTIFACT, find_fitted_folder, package_model, require_contained
from fgcme.tracking import (
    RunDataset,
    RunReader,
    Tracker,
    dataset_input,
    mlflow_message,
    require_store,
    resolve_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
PREVIOUS = "previous"
CARD_FILE = "README.md"
"""Of a package: the model card, by the name that the Hugging Face hub gives it."""

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,199}")
_ALIAS = re.compile(r"[A-Za-z0-9][\w-]{0,199}")
_RESERVED_ALIAS = re.compile(r"latest|v?\d+", re.IGNORECASE)
_REGISTERED_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_ADDRESSES = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder"
_RUN_URI = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")


def check_names(name: str, alias: str | None) -> None:
    """Refuse names that the registry, or the address `models:/name@alias`, cannot hold.

    Args:
        name: of the registered model.
        alias: of a version; None for no alias.

    Raises:
        UserError: a name is not allowed; says what is.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"model name {name!r}: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit")
    if alias is None:
        return
    if not _ALIAS.fullmatch(alias):
        raise UserError(f"alias {alias!r}: use letters, digits, `_` and `-`, beginning with a letter or digit")
    if _RESERVED_ALIAS.fullmatch(alias):
        raise UserError(
            f"alias {alias!r} could be taken for a version, and MLflow reserves it; use another, such as champion"
        )


def log_model(tracker: Tracker, run_id: str, folder: Path, name: str, card: str) -> LoggedModel:
    """Package a fitted model for serving and store it in MLflow, as an output of a run.

    Every call creates a new logged model, so a registered one never changes.

    Args:
        tracker: of the run's store.
        run_id: the run that fitted the model.
        folder: of the fitted model.
        name: of the logged model, as MLflow shows it.
        card: what the package says about itself, its README.md.
    """
    from mlflow.models import Model

    experiment = tracker.client.get_run(run_id).info.experiment_id
    logged = tracker.client.create_logged_model(experiment, name=name, source_run_id=run_id)
    model_id = logged.model_id
    try:
        with tempfile.TemporaryDirectory() as staging:
            destination = Path(staging) / "model"
            description = Model(
                artifact_path=logged.artifact_location, run_id=run_id, model_uuid=model_id, model_id=model_id
            )
            package_model(folder, destination, description)
            (destination / CARD_FILE).write_text(card, encoding="utf-8")
            tracker.client.log_model_artifacts(model_id, str(destination))
    except BaseException:
        tracker.client.finalize_logged_model(model_id, "FAILED")
        raise
    return tracker.client.finalize_logged_model(model_id, "READY")


def link_metrics(tracker: Tracker, model: LoggedModel, metrics: Mapping[str, float], dataset: RunDataset) -> None:
    """Record metrics as those of a logged model on a dataset, in the run that it comes from.

    Args:
        tracker: of the store.
        model: as `log_model` returns it.
        metrics: by name.
        dataset: that they are of; it becomes an input of the run.
    """
    from mlflow.entities import Metric

    now, run = time.time_ns() // 1_000_000, str(model.source_run_id)
    of_model = {"model_id": model.model_id, "dataset_name": dataset.name, "dataset_digest": dataset.digest}
    tracker.client.log_inputs(run, [dataset_input(dataset)])
    tracker.client.log_batch(run, [Metric(name, value, now, 0, **of_model) for name, value in metrics.items()])


def create_model_version(
    tracker: Tracker,
    name: str,
    alias: str | None,
    model: LoggedModel,
    tags: Mapping[str, str],
    description: str,
) -> int:
    """Make a logged model the next version of a registered model.

    Args:
        tracker: of the store.
        name: of the registered model; created if it does not exist.
        alias: to set on the new version; the version that had it loses it.
        model: as `log_model` returns it.
        tags: of the version.
        description: of the version, in Markdown.

    Returns:
        The version's number.

    Raises:
        UserError: the registry refuses.
    """
    from mlflow.exceptions import MlflowException

    client = tracker.client
    try:
        create_registered_model(tracker, name)
        version = client.create_model_version(
            name,
            # MLflow would look `models:/<id>` up in the process's default store.
            source=model.artifact_location,
            run_id=model.source_run_id,
            tags=dict(tags),
            description=description,
            model_id=model.model_id,
        ).version
        if alias is not None:
            client.set_registered_model_alias(name, alias, str(version))
    except MlflowException as error:
        raise UserError(f"{name} cannot be registered at {tracker.uri}: {mlflow_message(error)}") from None
    return int(version)


def create_registered_model(tracker: Tracker, name: str, description: str | None = None) -> bool:
    """Create a registered model, if there is none of this name; returns whether there was none.

    Args:
        tracker: of the store.
        name: of the model.
        description: of a new one.

    Raises:
        MlflowException: the registry refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        tracker.client.create_registered_model(name, description=description)
    except MlflowException as error:
        # It is there already, perhaps since a moment ago.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def registered_version(reader: RunReader, name: str, version: str) -> ModelVersion:
    """A version of a registered model.

    Args:
        reader: of the store.
        name: of the registered model.
        version: its number, or an alias that it has.

    Raises:
        UserError: there is none; lists the registered models.
    """
    from mlflow.exceptions import MlflowException

    try:
        if version.isdecimal():
            return reader.client.get_model_version(name, version)
        return reader.client.get_model_version_by_alias(name, version)
    except MlflowException:
        raise UserError(f"{name} has no version {version} at {reader.uri}; {_list_registered(reader)}") from None


def aliased(reader: RunReader, name: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that has an alias; None where none has.

    Args:
        reader: of the store.
        name: of the registered model.
        alias: such as `CHAMPION`.

    Raises:
        UserError: there is no such model; lists those that there are.
    """
    from mlflow.exceptions import MlflowException

    try:
        version = reader.client.get_registered_model(name).aliases.get(alias)
    except MlflowException:
        raise UserError(f"{name} is not registered at {reader.uri}; {_list_registered(reader)}") from None
    return None if version is None else reader.client.get_model_version(name, version)


@contextmanager
def moving_aliases(tracker: Tracker, name: str, patience: float = 60) -> Iterator[None]:
    """Let one process at a time, on any machine, compare a model's versions and move its aliases.

    MLflow moves an alias whatever it was before; but it creates no registered model twice, so a second one stands for
    the lock while the block runs.

    Args:
        tracker: of the store.
        name: of the registered model.
        patience: seconds to wait for another process.

    Raises:
        UserError: another process has not ended after that time; says how to remove what a killed one has left.
    """
    lock, deadline, waits = f"{name}.moving-aliases", time.monotonic() + patience, False
    while not create_registered_model(tracker, lock, f"the aliases of {name} are being moved"):
        if time.monotonic() > deadline:
            raise UserError(
                f"{name}: another process has been moving its aliases for {patience:.0f} s; if it was killed, delete "
                f"the registered model {lock} at {tracker.uri}"
            )
        if not waits:
            print(f"{name}: waiting for another process that moves its aliases", flush=True)
        waits = True
        time.sleep(0.2)
    try:
        yield
    finally:
        tracker.client.delete_registered_model(lock)


def download_model(model_uri: str, tracking_uri: str | None, destination: Path) -> Path:
    """Find the fitted model that an address means, and download it unless it is in a folder already.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model`, or a folder with a fitted model or a
            packaged one.
        tracking_uri: the setting, see `fgcme.tracking.resolve_uri`; not used for a folder.
        destination: an empty folder to download into.

    Returns:
        The folder of the fitted model.

    Raises:
        UserError: there is no such model; lists the registered ones.
    """
    if model_uri.startswith("models:"):
        return _download(model_uri, _open_reader(tracking_uri), f"artifacts/{FITTED_ARTIFACT}", destination)
    if match := _RUN_URI.fullmatch(model_uri):
        reader = _open_reader(tracking_uri)
        run_id = reader.find_run(match["run"]).info.run_id
        if not reader.has_artifact(run_id, match["path"]):
            raise UserError(
                f"run {run_id} has no artifact {match['path']!r} (in a cross-validation, the folds have the models); "
                f"{_list_registered(reader)}"
            )
        found = find_fitted_folder(reader.download_artifact(run_id, match["path"], destination))
    elif re.match(r"\w+:/", model_uri):
        raise UserError(f"{model_uri}: give {_ADDRESSES}")
    elif not Path(model_uri).is_dir():
        raise UserError(f"{model_uri}: no such folder; give {_ADDRESSES}")
    else:
        found = find_fitted_folder(Path(model_uri))
    if found is None:
        raise UserError(f"{model_uri}: holds no fitted model; give {_ADDRESSES}")
    if found.name == FITTED_ARTIFACT and (found.parents[1] / "MLmodel").exists():
        require_contained(found)
    return found


def read_card(model_uri: str, tracking_uri: str | None) -> str | None:
    """The model card of a registered version, or of a folder; None where there is none.

    Args:
        model_uri: as `download_model` takes it, which has found the model.
        tracking_uri: the setting, see `fgcme.tracking.resolve_uri`; not used for a folder.
    """
    if not model_uri.startswith("models:"):
        path = Path(model_uri) / CARD_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else None
    with tempfile.TemporaryDirectory() as scratch, suppress(UserError):
        return _download(model_uri, _open_reader(tracking_uri), CARD_FILE, Path(scratch)).read_text(encoding="utf-8")
    return None


def _open_reader(tracking_uri: str | None) -> RunReader:
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    return RunReader(uri)


def _download(model_uri: str, reader: RunReader, path: str, destination: Path) -> Path:
    """Download a file or folder of a registered version's package."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    match = _REGISTERED_URI.fullmatch(model_uri)
    if match is None:
        raise UserError(f"{model_uri}: write models:/NAME@ALIAS or models:/NAME/VERSION; {_list_registered(reader)}")
    name, version = match["name"], match["version"]
    try:
        if match["alias"]:
            version = reader.client.get_model_version_by_alias(name, match["alias"]).version
        else:
            reader.client.get_model_version(name, version)
    except MlflowException:
        raise UserError(f"{model_uri} is not registered at {reader.uri}; {_list_registered(reader)}") from None
    try:
        location = reader.client.get_model_version_download_uri(name, version)
        local = download_artifacts(
            artifact_uri=f"{location}/{path}",
            dst_path=str(destination),
            tracking_uri=reader.client.tracking_uri,
        )
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{model_uri}: its files are gone, or it was not registered by `fgcme register` ({mlflow_message(error)})"
        ) from None
    return Path(local)


def _list_registered(reader: RunReader) -> str:
    """The models that are registered, for a user who asked for another."""
    addresses = []
    for model in reader.client.search_registered_models(max_results=20):
        by_alias = [f"models:/{model.name}@{alias}" for alias in sorted(model.aliases)]
        newest = max((int(version.version) for version in model.latest_versions), default=None)
        addresses += by_alias or ([f"models:/{model.name}/{newest}"] if newest else [])
    if not addresses:
        return "no model is registered yet: register a run with `fgcme register RUN --name NAME --alias champion`"
    return f"registered: {', '.join(addresses)}"
