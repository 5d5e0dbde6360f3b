from __future__ import annotations

import csv
import io

from fgcme.report.sweep.spreadsheet import trials_csv
from tests.fgcme.report.sweep.sample_sweep import mixed, sweep


def test_every_trial_is_a_row_with_all_its_digits() -> None:
    made = mixed()
    rows = list(csv.DictReader(io.StringIO(trials_csv(made))))
    assert [row["trial"] for row in rows] == [each.name for each in made.trials]
    for row, each in zip(rows, made.trials, strict=True):
        assert row["score"] == ("" if each.score is None else repr(each.score))
        assert (row["state"], row["reason"], row["run"]) == (each.state, each.reason, each.run)
        assert float(row["parameters"]) == each.cost
        assert row["pareto_front"] == str(each in made.front)
        for name in made.space.parameters:
            assert (row[name] == "") == (name not in each.configuration)
        assert row["training.gradient_clip"] in ("null", "5.0")
        assert "optimistic by selection" in row["caveats"]


def test_a_sweep_of_one_objective_has_no_cost_and_one_of_no_trials_has_a_header() -> None:
    assert "pareto_front" not in trials_csv(mixed(cost=""))
    assert trials_csv(sweep()).splitlines()[0].startswith("protocol,caveats,trial,run,state,reason,score")
