"""MLflow's model registry: fitted models become versions of a named model, and are found again by alias or number."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError
from fgcme.serving.classifier import FITTED_ARTIFACT, find_fitted_folder, package_model
from fgcme.tracking import Tracker, mlflow_message, require_store, resolve_uri

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,199}")
_ALIAS = re.compile(r"[A-Za-z0-9][\w-]{0,199}")
_RESERVED_ALIAS = re.compile(r"latest|v?\d+", re.IGNORECASE)
_REGISTERED = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_ADDRESSES = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN/model or a folder"
_OF_RUN = re.compile(r"runs:/(?P<run>[^/]+)/(?P<path>.+)")


def check_names(name: str, alias: str | None) -> None:
    """Refuse names that the registry, or the address `models:/name@alias`, cannot hold.

    Raises:
        UserError: says what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"model name {name!r}: use letters, digits, `.`, `_` and `-`, beginning with a letter or digit")
    if alias is None:
        return
    if not _ALIAS.fullmatch(alias):
        raise UserError(f"alias {alias!r}: use letters, digits, `_` and `-`, beginning with a letter or digit")
    if _RESERVED_ALIAS.fullmatch(alias):
        raise UserError(
            f"alias {alias!r} could be taken for a version, and MLflow reserves it; use one such as champion"
        )


def log_model(tracker: Tracker, run_id: str, folder: Path, name: str = "model") -> LoggedModel:
    """Package a fitted model for serving and keep it in MLflow, as an output of a run.

    Every call makes a model of its own: what is registered never changes afterwards.

    Args:
        tracker: of the run's store.
        run_id: the run that fitted the model.
        folder: of the fitted model.
        name: what MLflow shows.

    Returns:
        What MLflow knows of it.
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
            tracker.client.log_model_artifacts(model_id, str(destination))
    except BaseException:
        tracker.client.finalize_logged_model(model_id, "FAILED")
        raise
    return tracker.client.finalize_logged_model(model_id, "READY")


def create_model_version(
    tracker: Tracker,
    name: str,
    alias: str | None,
    model: LoggedModel,
    tags: Mapping[str, str],
    description: str,
) -> int:
    """Make a logged model the next version of a registered model, which is made if need be.

    Args:
        tracker: of the store.
        name: of the registered model.
        alias: to point at the new version; whatever it pointed at loses it.
        model: as `log_model` gives it.
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
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        version = client.create_model_version(
            name,
            # Not `models:/<id>`: MLflow would look that up in the process's default store.
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


def download_model(model_uri: str, tracking_uri: str | None, destination: Path) -> Path:
    """The folder of the fitted model that an address means.

    Args:
        model_uri: `models:/name@alias`, `models:/name/version`, `runs:/id/model`, or a folder that holds a fitted model
            or a packaged one.
        tracking_uri: the setting, see `fgcme.tracking.resolve_uri`; a folder needs none.
        destination: an empty folder for what has to be copied.

    Raises:
        UserError: there is no such model; says which there are.
    """
    if model_uri.startswith("models:"):
        return _fetch_registered(model_uri, _reader(tracking_uri), destination)
    if of_run := _OF_RUN.fullmatch(model_uri):
        tracker = _reader(tracking_uri)
        run_id = tracker.find_run(of_run["run"]).info.run_id
        if not tracker.has_artifact(run_id, of_run["path"]):
            raise UserError(
                f"run {run_id} keeps no {of_run['path']!r} (of a cross-validation the folds keep models); "
                f"{_listing(tracker)}"
            )
        found = find_fitted_folder(tracker.download_artifact(run_id, of_run["path"], destination))
    elif re.match(r"\w+:/", model_uri):
        raise UserError(f"{model_uri}: give {_ADDRESSES}")
    else:
        found = find_fitted_folder(Path(model_uri))
    if found is None:
        raise UserError(f"{model_uri}: holds no fitted model; give {_ADDRESSES}")
    return found


def _reader(tracking_uri: str | None) -> Tracker:
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    return Tracker(uri)


def _fetch_registered(model_uri: str, tracker: Tracker, destination: Path) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    wanted = _REGISTERED.fullmatch(model_uri)
    if wanted is None:
        raise UserError(f"{model_uri}: write models:/NAME@ALIAS or models:/NAME/VERSION; {_listing(tracker)}")
    name, version = wanted["name"], wanted["version"]
    try:
        if wanted["alias"]:
            version = tracker.client.get_model_version_by_alias(name, wanted["alias"]).version
        else:
            tracker.client.get_model_version(name, version)
    except MlflowException:
        raise UserError(f"{model_uri} is not registered at {tracker.uri}; {_listing(tracker)}") from None
    try:
        location = tracker.client.get_model_version_download_uri(name, version)
        local = download_artifacts(
            artifact_uri=f"{location}/artifacts/{FITTED_ARTIFACT}", dst_path=str(destination), tracking_uri=tracker.uri
        )
    except (MlflowException, OSError) as error:
        raise UserError(
            f"{model_uri}: its files are gone, or fgcme did not register it ({mlflow_message(error)})"
        ) from None
    return Path(local)


def _listing(tracker: Tracker) -> str:
    """What there is, for somebody who asked for what there is not."""
    registered = tracker.client.search_registered_models(max_results=20)
    if not registered:
        return "nothing is registered; register a run with `fgcme register RUN --name NAME --alias champion`"
    listed = []
    for model in registered:
        aliases = [f"models:/{model.name}@{alias}" for alias in sorted(model.aliases)]
        newest = max((int(version.version) for version in model.latest_versions), default=None)
        listed += aliases or ([f"models:/{model.name}/{newest}"] if newest else [])
    return f"registered: {', '.join(listed)}"
