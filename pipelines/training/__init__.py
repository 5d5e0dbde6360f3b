"""Trainings of folds: the jobs, the runner that starts them, what their processes do, their state and failures."""
