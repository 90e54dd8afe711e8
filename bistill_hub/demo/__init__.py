"""A miniature world in four languages, and a tiny multilingual teacher that was pre-trained on it."""
