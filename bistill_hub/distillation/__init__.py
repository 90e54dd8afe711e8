"""Phases 1 and 2: the student learns from its teacher."""
