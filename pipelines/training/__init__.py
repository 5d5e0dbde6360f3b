"""Trainings of folds: as the driver sees them, and what their processes do."""
