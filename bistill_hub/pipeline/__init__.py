"""A run: the stages of a recipe in order, each leaving a folder with a manifest."""
