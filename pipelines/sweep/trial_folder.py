"""The folder in which a trial keeps what it needs to resume, and what all trials of a sweep share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgcme.experiment import Experiment
from fgcme.files import exists, read_bytes, read_text, write_text
from pipelines.sweep.search import NUMBER

FAILURE = "failure"
"""Metric of a report: why the trial cannot be trained."""
NOTE = "note"
"""Metric of a report: a sentence for the user."""


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial, in the storage that all nodes share.

    Attributes:
        path: of the folder, which is named after the trial.
    """

    path: Path

    @property
    def name(self) -> str:
        """The trial's number; in a population, Ray Tune's id of the trial."""
        return self.path.name

    @property
    def run_id_file(self) -> Path:
        """Holds the id of the trial's MLflow run."""
        return self.path / "run"

    @property
    def run_open_marker(self) -> Path:
        """Exists until the trial's MLflow run is ended."""
        return self.path / "open"

    @property
    def configuration(self) -> Path:
        """Holds the settings that were drawn for the trial."""
        return self.path / "configuration.json"

    @property
    def state(self) -> Path:
        """Holds all that is needed to resume after the last saved epoch."""
        return self.path / "state.pt"

    @property
    def start_counter(self) -> Path:
        """Holds one byte for each start since the trial last made progress."""
        return self.path / "starts"

    @property
    def last_report(self) -> Path:
        """Holds the last report of a trial that has ended."""
        return self.path / "last.json"

    def stack_file(self, rank: int = 0) -> Path:
        """Where a worker's stack is written if an epoch takes too long; empty or missing otherwise."""
        return self.path / f"hang-{rank}"

    @property
    def node_file(self) -> Path:
        """Holds the id of the node on which the trial has started last."""
        return self.path / "node"

    @property
    def losses_log(self) -> Path:
        """Holds what Ray said each time that the trial lost its process or machine."""
        return self.path / "losses.log"

    def node(self) -> str:
        """The id of the node on which the trial has started last; empty if that is not known."""
        return read_text(self.node_file) if exists(self.node_file) else ""

    @property
    def reports_file(self) -> Path:
        """Holds the report of each epoch, as the trial sends them to the driver, one JSON object a line."""
        return self.path / "reports.jsonl"

    def add_report(self, report: Mapping[str, Any]) -> None:
        """Keep the report of an epoch; it outlives the driver, which may be killed before it receives it."""
        with self.reports_file.open("ab") as file:
            # The line before may have been cut short with the process that wrote it.
            file.write(b"\n" + json.dumps(dict(report)).encode())

    def reports(self) -> list[dict[str, Any]]:
        """The reports of all epochs, in order; of an epoch that was trained twice, the last."""
        found: dict[int, dict[str, Any]] = {}
        with suppress(FileNotFoundError):
            for line in read_bytes(self.reports_file).splitlines():
                with suppress(ValueError):
                    report = json.loads(line)
                    found[report["epoch"]] = report
        return [found[epoch] for epoch in sorted(found)]

    def settings(self) -> dict[str, Any] | None:
        """The settings that were drawn for the trial; None if it has not begun."""
        try:
            settings: dict[str, Any] = json.loads(read_text(self.configuration))
        except FileNotFoundError:
            return None
        return settings

    def run_id(self) -> str:
        """The id of the trial's MLflow run.

        Raises:
            FileNotFoundError: it has none yet.
        """
        return read_text(self.run_id_file)

    def has_hung(self) -> bool:
        """Whether an epoch took too long in any worker."""
        return any(path.stat().st_size for path in self.path.glob("hang-*"))

    def count_start(self) -> int:
        """Count a start; returns the starts since the trial last made progress."""
        with self.start_counter.open("ab") as file:
            file.write(b".")
            return file.tell()

    def made_progress(self) -> None:
        """Reset the count of starts, because an epoch was saved since."""
        self.start_counter.unlink(missing_ok=True)

    def read_last_report(self) -> dict[str, Any] | None:
        """The last report of a trial that has ended; None if it has not, or the file is damaged."""
        try:
            report: dict[str, Any] = json.loads(read_text(self.last_report))
        except (FileNotFoundError, ValueError):
            return None
        return report

    def end(self, report: Mapping[str, Any]) -> None:
        """Mark the trial as ended: save its last report."""
        write_text(self.last_report, json.dumps(dict(report)))

    def delete_state(self) -> None:
        """Delete what the trial needed to resume, once it has ended."""
        empty = [path for path in self.path.glob("hang-*") if not path.stat().st_size]
        for path in (self.state, self.start_counter, self.node_file, *empty):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.path / "train", ignore_errors=True)

    def delete(self) -> None:
        """Delete the folder with all files in it."""
        shutil.rmtree(self.path)


def trial_folders(folder: Path) -> list[TrialFolder]:
    """The folders of all trials of a sweep that have one."""
    return [TrialFolder(path) for path in folder.glob("*")]


def ended_trials(folder: Path) -> int:
    """How many trials of a sweep have ended."""
    return sum(trial.last_report.exists() for trial in trial_folders(folder))


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share.

    Attributes:
        experiment: what their configurations vary.
        corpus_folder: of the prepared corpus.
        corpus_hash: content of the corpus for which the sweep was planned.
        trials_folder: holds the trials' folders.
    """

    experiment: Experiment
    corpus_folder: Path
    corpus_hash: str
    trials_folder: Path

    @property
    def is_population(self) -> bool:
        """Whether the trials are a population, whose good members are copied and varied as they train."""
        return self.experiment.tune.scheduler == "pbt"

    def folder_of(self, trial_id: str, configuration: Mapping[str, Any]) -> TrialFolder:
        """The folder of a trial.

        It is named after the trial's number: a resumed search gives a trial the same number again, and so finds its
        folder. Members of a population copy each other's configurations, numbers included; their folders are named
        after Ray Tune's id.

        Args:
            trial_id: Ray Tune's id of the trial.
            configuration: dotted settings and the trial's number.
        """
        name = trial_id if self.is_population else configuration[NUMBER]
        return TrialFolder(self.trials_folder / str(name))
