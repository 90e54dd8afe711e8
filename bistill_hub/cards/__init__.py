"""The evaluation card of a pair: facts gathered from a run's records, rendered by a template."""
