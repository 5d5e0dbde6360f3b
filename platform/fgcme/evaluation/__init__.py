"""Metrics, cross-validation, and the comparison of variants."""
