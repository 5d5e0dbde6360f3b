"""MLflow runs, written at once or once their server is back."""
