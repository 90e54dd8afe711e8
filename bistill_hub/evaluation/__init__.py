"""Scores: every model of a pair goes through the same code, on the source and on the target language."""
