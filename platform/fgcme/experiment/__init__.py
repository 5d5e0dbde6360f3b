"""What an experiment is: its settings, read from YAML and overrides; search spaces, ablations, named variants."""
