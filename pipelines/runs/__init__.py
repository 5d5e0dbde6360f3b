"""MLflow runs of all verbs: how they are opened, tagged, resumed and reproduced."""
