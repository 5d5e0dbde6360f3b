"""A sweep over a search space on Ray Tune and Optuna."""
