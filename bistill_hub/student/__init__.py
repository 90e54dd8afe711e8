"""Phase 0: the student is cut out of the teacher (vocabulary, layers)."""
