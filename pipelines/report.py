"""Report: a sweep, or a finished ablation or cross-validation, as one page and its tables and figures as files.

All numbers are computed anew from what the run keeps, so a report can be made wherever the run can be read. Only the
pictures of single utterances need the prepared corpus; without it the page says so.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fgcme.errors import UserError
from fgcme.report.formatting import count
from fgcme.tracking import Tracker, require_store, resolve_uri
from pipelines.reporting import collect_ratings, collect_results, read_run, write_ratings, write_results
from pipelines.sweep import report as sweep_report

if TYPE_CHECKING:
    from mlflow.entities import Run

ARTIFACTS = "report"


def report(run: str, output: Path | None = None, tracking_uri: str | None = None) -> Path:
    """Write the report of a run into a folder, and keep it with the run.

    Args:
        run: id, beginning of an id, name or `latest`; of `fgcme ablate`, `fgcme train` or `fgcme tune`.
        output: the folder; `report-<first letters of the id>` in the working directory by default.
        tracking_uri: where the run is recorded, see `fgcme.tracking.resolve_uri`.

    Returns:
        The page.

    Raises:
        UserError: there is no such run, it cannot be reported on or is not finished, or the folder cannot be written
            to.
    """
    uri = resolve_uri(tracking_uri)
    require_store(uri)
    tracker = Tracker(uri)
    found = tracker.find_run(run)
    is_sweep = found.data.tags.get("fgcme.kind") == sweep_report.KIND
    write_into = _sweep_writer(tracker, found) if is_sweep else _results_writer(tracker, found)
    folder = Path(f"report-{found.info.run_id[:8]}") if output is None else output
    _require_writable(folder)
    with tempfile.TemporaryDirectory() as scratch:
        # Written apart first: other files of the user's folder must not be kept with the run.
        written = Path(scratch) / ARTIFACTS
        write_into(written)
        try:
            shutil.copytree(written, folder, dirs_exist_ok=True)
        except (OSError, shutil.Error) as error:
            raise _not_writable(folder, _reason(error)) from None
        tracker.log_artifact(found.info.run_id, written, ARTIFACTS)
    page = folder / "index.html"
    print(f"{page}, and with run {found.info.run_id} under {ARTIFACTS}/; open it in a browser")
    return page


def _sweep_writer(tracker: Tracker, run: Run) -> Callable[[Path], None]:
    """Read a sweep; return the function that writes its report into a new folder."""
    recorded = sweep_report.read_sweep(tracker, run)

    def write_into(folder: Path) -> None:
        print(f"{run.info.run_name}: figures of {recorded.sweep.census}", flush=True)
        sweep_report.write_sweep(folder, recorded)

    return write_into


def _results_writer(tracker: Tracker, run: Run) -> Callable[[Path], None]:
    """Read an ablation or a cross-validation; return the function that writes its report into a new folder."""
    recorded = read_run(tracker, run)

    def write_into(folder: Path) -> None:
        print(f"{run.info.run_name}: intervals of {count(len(recorded.variants), 'variant')}", flush=True)
        if recorded.tasks.dimensions:
            # Beside the page of the classes, where there are any.
            page = "ratings.html" if recorded.classes else "index.html"
            write_ratings(folder, collect_ratings(tracker, recorded), recorded.repetition, page)
            if not recorded.classes:
                return
            print(f"  {', '.join(recorded.tasks.dimensions)}: {page}")
        content = collect_results(tracker, recorded)
        print("figures", flush=True)
        write_results(folder, content, recorded.repetition)
        if content.examples_note:
            print(f"  {content.examples_note}")

    return write_into


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _not_writable(folder, _reason(error)) from None


def _not_writable(folder: Path, reason: str) -> UserError:
    return UserError(f"{folder}: cannot be written to ({reason}); choose another folder with --output")


def _reason(error: OSError) -> str:
    """Why something could not be written; of several files, the first."""
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2]).partition("] ")[2].partition(":")[0]
    return str(error.strerror)
