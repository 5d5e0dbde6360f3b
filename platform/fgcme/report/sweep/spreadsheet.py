"""A sweep's trials as CSV for further work: scores between 0 and 1, with all digits."""

from __future__ import annotations

from fgcme.report.spreadsheet import written
from fgcme.report.sweep.summary import caveats
from fgcme.report.sweep.trials import SweepData


def trials_csv(sweep: SweepData) -> str:
    """One row a trial, in the order in which they began; a parameter that was not drawn is empty."""
    header = ["protocol", "caveats", "trial", "run", "state", "reason", "score", "epochs", "seconds"]
    header += [sweep.cost, "pareto_front"] if sweep.cost else []
    said = " ".join(caveats(sweep))
    rows = []
    for trial in sweep.trials:
        row: list[object] = [sweep.protocol, said, trial.name, trial.run, trial.state, trial.reason]
        row += ["" if value is None else value for value in (trial.score, trial.epochs, trial.seconds)]
        if sweep.cost:
            row += ["" if trial.cost is None else trial.cost, trial in sweep.front]
        rows.append([*row, *(_cell(trial.configuration.get(name, "")) for name in sweep.space.parameters)])
    return written([*header, *sweep.space.parameters], rows)


def _cell(value: object) -> object:
    return "null" if value is None else value
