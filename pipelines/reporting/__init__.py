"""Reports of ablations and cross-validations: the recorded run, examples of its predictions, the files."""

from pipelines.reporting.ratings import collect_ratings, write_ratings
from pipelines.reporting.recorded_run import RecordedRun, read_run
from pipelines.reporting.results import collect_results, write_results

__all__ = ["RecordedRun", "collect_ratings", "collect_results", "read_run", "write_ratings", "write_results"]
