"""The report of a sweep, finished or not, and the pictures that it keeps with its run."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgcme.data import resolve_protocol
from fgcme.errors import UserError
from fgcme.experiment import Experiment, Space, parse_stored
from fgcme.report.sweep.page import SweepPictures, sweep_html, sweep_pictures
from fgcme.report.sweep.spreadsheet import trials_csv
from fgcme.report.sweep.trials import State, SweepData, Trial
from fgcme.report.theme import LIGHT, to_png
from fgcme.tracking import Tracker
from pipelines.runs import records
from pipelines.runs.provenance import provenance_of
from pipelines.runs.reproduce import Repetition, repeat_sweep

if TYPE_CHECKING:
    from mlflow.entities import Run

KIND = "sweep"


@dataclass(frozen=True)
class RecordedSweep:
    """A sweep, read back.

    Attributes:
        sweep: its trials.
        repetition: the commands and files that repeat it, with its best configuration if there is one already.
    """

    sweep: SweepData
    repetition: Repetition


def pictures_of_sweep(tracker: Tracker, run: str) -> None:
    """Log pictures of a sweep and a table of its trials as artifacts of its run: `figures/*.png`, `trials.csv`.

    A picture that cannot be drawn, or a store that cannot be read, is one printed line and no error: `fgcme report` can
    make the pictures at any time.

    Args:
        tracker: where the run is recorded.
        run: id of the sweep's run.
    """
    try:
        sweep = read_sweep(tracker, tracker.find_run(run)).sweep
    except UserError as error:
        print(f"no pictures of the sweep ({error}); make them with `fgcme report {run}`", flush=True)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _draw(folder, sweep)
        tracker.log_artifact(run, folder)


def flat_settings(experiment: Experiment) -> dict[str, Any]:
    """The experiment's settings by their dotted names; where ratings alone are learnt, the score is their CCC."""
    tasks = resolve_protocol(experiment.protocol, experiment.corpus.kind).tasks
    return experiment.flat() | ({} if tasks.classes else {"training.score": "ccc"})


def read_sweep(tracker: Tracker, run: Run) -> RecordedSweep:
    """Read a sweep back, in whatever state it is.

    Raises:
        UserError: its experiment or its space is not kept with the run.
    """
    experiment = parse_stored(tracker.load_yaml(run.info.run_id, "experiment.yaml"), f"run {run.info.run_id}")
    space = Space.model_validate(tracker.load_json(run.info.run_id, "space.json"))
    best = None
    if tracker.has_artifact(run.info.run_id, "best.yaml"):
        best = parse_stored(tracker.load_yaml(run.info.run_id, "best.yaml"), f"run {run.info.run_id}, best.yaml")
    title = run.data.tags.get("fgcme.space", run.info.run_name)
    repetition = repeat_sweep(experiment, title.removeprefix(f"{experiment.name}-"), space, best)
    empty = SweepData(
        provenance=provenance_of(run, experiment, [*repetition.commands, "fgcme report latest"]),
        protocol=records.protocol_label(experiment),
        space=space,
        settings=flat_settings(experiment),
        trials=[],
        cost=run.data.tags.get("fgcme.cost", ""),
    )
    return RecordedSweep(replace(empty, trials=_trials(empty, tracker, run)), repetition)


def write_sweep(folder: Path, recorded: RecordedSweep) -> None:
    """Write the page, its figures and the files that go with it into a new folder."""
    folder.mkdir(parents=True)
    made, light = _draw(folder, recorded.sweep)
    page = sweep_html(recorded.sweep, made, light, "best.yaml" in recorded.repetition.files)
    for name, text in {"index.html": page, **recorded.repetition.files}.items():
        (folder / name).write_text(text, encoding="utf-8")


def _draw(folder: Path, sweep: SweepData) -> tuple[SweepPictures, dict[str, bytes]]:
    """Write the table of trials and the figures, and print why a figure cannot be drawn."""
    made = sweep_pictures(sweep)
    light = {picture.name: to_png(picture, LIGHT) for picture in made}
    (folder / "figures").mkdir()
    for name, picture in light.items():
        (folder / "figures" / f"{name}.png").write_bytes(picture)
    (folder / "trials.csv").write_text(trials_csv(sweep), encoding="utf-8")
    for sentence in made.missing.values():
        print(f"  {sentence}", flush=True)
    return made, light


def _trials(sweep: SweepData, tracker: Tracker, run: Run) -> list[Trial]:
    """The trials of a sweep, in the order in which they started."""
    children = [child for child in tracker.child_runs(run.info.run_id) if child.data.tags.get("fgcme.kind") == "trial"]
    # A trial proposed just before the sweep was killed may have been proposed again with the same number.
    latest = {child.data.tags.get("fgcme.trial", child.info.run_id): child.info.run_id for child in children}
    kept = [child for child in children if child.info.run_id in latest.values()]
    return [_trial(sweep, tracker, child, run.info.status == "RUNNING") for child in kept]


def _trial(sweep: SweepData, tracker: Tracker, run: Run, is_running: bool) -> Trial:
    texts = run.data.params
    history = tracker.metric_history(run.info.run_id, "dev/objective")
    epochs = max((step for step, _ in history), default=0)
    most = int(texts.get("training.epochs", sweep.settings["training.epochs"]))
    states: dict[str, State] = {
        "FINISHED": "finished" if epochs >= most else "stopped early",
        "FAILED": "failed",
        "KILLED": "interrupted",
    }
    state = states.get(run.info.status, "running" if is_running else "interrupted")
    scores = [value for _, value in history if math.isfinite(value)]
    return Trial(
        name=run.info.run_name,
        run=run.info.run_id,
        state=state,
        configuration=sweep.drawn(texts),
        # The last value is that of the best epoch by training.score; it may have been higher before.
        score=scores[-1] if scores and state != "failed" else None,
        epochs=epochs,
        seconds=(run.info.end_time - run.info.start_time) / 1000 if run.info.end_time else None,
        cost=run.data.metrics.get("cost"),
        reason=run.data.tags.get("fgcme.failure", ""),
    )
