"""One training, epoch by epoch, and its losses; without Ray or MLflow."""
