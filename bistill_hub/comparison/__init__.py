"""The student beside its baselines and ablations: recipes derived from the pair's, one queue, one table, one figure."""
