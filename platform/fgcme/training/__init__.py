"""One training, epoch by epoch, and its losses; neither Ray nor MLflow."""
