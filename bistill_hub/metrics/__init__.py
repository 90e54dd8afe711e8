"""Metrics as `evaluate.Metric` modules that work offline."""
