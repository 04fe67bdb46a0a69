"""MLflow: runs, what it has been told, and the registry with its gate."""
