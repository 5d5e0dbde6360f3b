"""A fitted model on disk, as a classifier, and in the MLflow registry."""
